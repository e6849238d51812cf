"""A plan: what is asked for, made once; each path of its table is looked at once."""

from collections import Counter
from dataclasses import FrozenInstanceError

import pandas as pd
import pytest

from mmkeras.contracts.config import Access, parse_config, read_config
from mmkeras.table.manifest import read_table
from mmkeras.table.paths import Gate
from mmkeras.table.plan import Plan, check_rows, planned

pytest_plugins = "fixtures_tables"


@pytest.fixture
def plan(config, table) -> Plan:
    return planned(read_config(config), read_table(table))


@pytest.fixture
def gates(monkeypatch) -> list[Gate]:
    """Every gate that is made."""
    made, init = [], Gate.__init__

    def counted(gate, *given):
        made.append(gate)
        init(gate, *given)

    monkeypatch.setattr(Gate, "__init__", counted)
    return made


def test_a_plan_knows_its_rows_and_files(plan):
    assert [int(plan.rows(part).sum()) for part in ("train", "valid", "test")] == [
        int((plan.manifest.rows["split"] == part).sum()) for part in ("train", "valid", "test")
    ]
    assert set(plan.media) == {"photo", "voice"}
    with pytest.raises(FrozenInstanceError):
        plan.split = None


def test_plans_of_other_rows_and_columns_leave_the_first_as_it_is(plan):
    few = plan.config.model_copy(update={"columns": {"photo": plan.config.columns["photo"]}})
    judged = pd.Series("test", plan.split.index)
    other = plan.of_config(few).of_split(judged)
    assert set(other.media) == {"photo"}
    assert not other.rows("train").any() and plan.rows("train").any()
    assert other.manifest is plan.manifest
    assert other.identity["split"] != plan.identity["split"]
    assert other.identity["table"] == plan.identity["table"]


def test_the_table_of_a_plan_may_name_what_its_config_allows(config, table):
    asked = read_config(config, ["allow_outside=true"])
    assert planned(asked, read_table(table)).manifest.access == Access(allow_outside=True)
    manifest = read_table(table)
    assert planned(read_config(config), manifest).manifest is manifest


def test_one_gate_looks_at_each_path_once(config, table, gates, monkeypatch):
    looks, look = Counter(), Gate._look
    monkeypatch.setattr(Gate, "_look", lambda gate, path, *given: looks.update([path]) or look(gate, path, *given))
    plan = planned(read_config(config), read_table(table))
    check_rows(plan)
    check_rows(plan.of_split(pd.Series("train", plan.split.index)))
    assert len(gates) == 1
    assert set(looks) == set(plan.manifest.rows[["photo", "voice"]].to_numpy().ravel()) - {""}
    assert set(looks.values()) == {1}


def test_other_access_has_a_gate_of_its_own(tmp_path):
    (tmp_path / "table").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"a picture")
    manifest = read_table(pd.DataFrame({"photo": ["../a.jpg"]}), tmp_path / "table")
    assert manifest.gate is manifest.gate
    assert manifest.gate.fault("../a.jpg", takes_folders=False)
    assert not manifest.allowed(Access(allow_outside=True)).gate.fault("../a.jpg", takes_folders=False)


def test_a_plan_is_refused_before_a_file_is_looked_at(table, gates):
    settings = {"columns": {"photo": {"type": "image"}}, "targets": {"intnt": {"type": "classification"}}}
    with pytest.raises(ValueError, match='no column "intnt"; did you mean "intent"'):
        planned(parse_config(settings), read_table(table))
    assert not gates
