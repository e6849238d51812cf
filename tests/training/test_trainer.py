"""From a plan to a run: what is asked once, and never again."""

import pytest

from mmkeras.contracts.config import read_config
from mmkeras.table.manifest import read_table
from mmkeras.table.paths import Gate
from mmkeras.table.plan import planned
from mmkeras.train import train
from mmkeras.training import trainer

pytest_plugins = "fixtures_tables"


class Stopped(Exception):
    """The part of a training that reads the table is over."""


@pytest.fixture
def gates(monkeypatch) -> list[tuple]:
    """What each gate is made of; trainings stop where their network would be built."""
    made, init = [], Gate.__init__

    def counted(gate, *given):
        made.append(given)
        init(gate, *given)

    def stop(*_):
        raise Stopped

    monkeypatch.setattr(Gate, "__init__", counted)
    monkeypatch.setattr(trainer, "network_of", stop)
    return made


@pytest.mark.parametrize("policy", ["error", "missing"])
def test_a_training_has_one_gate(config, table, tmp_path, gates, policy):
    with pytest.raises(Stopped):
        train(str(config), [f"on_bad_file={policy}"], run=tmp_path / "run")
    assert len(gates) == 1


def test_a_training_of_a_guessed_table_has_one_gate(table, tmp_path, gates):
    with pytest.raises(Stopped):
        train(str(table), target="intent", run=tmp_path / "run")
    assert len(gates) == 1


def test_what_is_known_is_not_made_again(config, table, tmp_path, gates, monkeypatch):
    plan = planned(read_config(config), read_table(table))
    schema = plan.of_config(trainer.fit_schema(plan))
    (tmp_path / "known").mkdir()
    known = trainer.Fitted(schema, trainer.prepare_rows(schema, tmp_path / "known"))
    for name in ("fit_schema", "prepare_rows", "check_rows"):
        monkeypatch.setattr(trainer, name, lambda *_, **__: pytest.fail("is known already"))
    few = plan.config.model_copy(update={"columns": {"question": plan.config.columns["question"]}})
    with pytest.raises(Stopped):
        trainer.train_plan(plan.of_config(few), tmp_path / "run", known=known)
    assert trainer.Run(tmp_path / "run").schema.columns == {"question": schema.config.columns["question"]}


def test_columns_of_a_schema_stand_in_the_configs_order(config, tmp_path, gates):
    with pytest.raises(Stopped):
        train(str(config), run=tmp_path / "run")
    order = list(read_config(config).columns)
    assert order != sorted(order)
    assert list(trainer.Run(tmp_path / "run").schema.columns) == order
