"""Which fusion suits a table: what is trained, what is judged, what goes on after a stop, what the marks mean.

Most tests replace the training by one that writes a run folder in a moment; one comparison is real.
"""

import io
import json
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fixtures_tables import command, python

from mmkeras.base.words import duration
from mmkeras.compare import compare
from mmkeras.contracts.config import read_config
from mmkeras.contracts.registry import find
from mmkeras.evaluation import comparison_tables
from mmkeras.evaluation import trainings as module
from mmkeras.evaluation.trainings import Judged, Training
from mmkeras.table.manifest import Manifest
from mmkeras.table.plan import Plan

CLASSES = ("low", "mid", "top")
CONFIG = {
    "manifest": "table.csv",
    "columns": {"size": {"type": "number"}, "colour": {"type": "category"}},
    "fusion": {"type": "concat", "units": [7]},
    "targets": {"grade": {"type": "classification"}},
    "split": {"column": "part", "group": "maker"},
    "train": {"epochs": 1, "batch_size": 16, "learning_rate": 0.02},
}
# How often each model of the replaced training is right
SKILL = {"concat": 0.95, "gated": 0.94, "size alone": 0.6}
KILLED = """
import os, signal, sys
from mmkeras.compare import compare
from mmkeras.training.callbacks import Checkpoints

save, count = Checkpoints._save, 0

def save_and_die(self):
    global count
    save(self)
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints._save = save_and_die
compare(sys.argv[1], sys.argv[4:], out=sys.argv[2], fusions="concat,weighted", folds=2, alone=False)
"""


def write_config(folder, **changes):
    """90 rows of 30 makers in which both columns tell the grade, and their config; each fifth maker is for the test."""
    rng = np.random.default_rng(0)
    grade = rng.integers(0, 3, 90)
    maker = np.arange(90) // 3
    rows = pd.DataFrame({
        "size": np.round(grade + rng.normal(0, 0.4, 90), 3).astype(str),
        "colour": np.where(rng.random(90) < 0.8, np.take(["red", "blue", "green"], grade), "red"),
        "grade": np.take(CLASSES, grade),
        "price": np.round(10 * grade + rng.normal(0, 2, 90), 2).astype(str),
        "maker": [f"m{i}" for i in maker],
        "part": np.where(maker % 5 == 4, "test", "train"),
    })  # fmt: skip
    rows.loc[::11, "price"] = ""
    rows.to_csv(folder / "table.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False))
    return folder / "config.yaml"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "table").mkdir()
    return write_config(tmp_path / "table")


@pytest.fixture
def trained(monkeypatch):
    """Replaces the training; the list of (model, fold, seed) that were trained."""
    calls = []

    def train(training, fitted):
        calls.append((training.model, training.fold, training.seed))
        write_run(training, fitted.plan)

    monkeypatch.setattr(module, "_train", train)
    return calls


def write_run(training: Training, plan: Plan) -> None:
    """A run that is right as often as SKILL says."""
    rng = np.random.default_rng([training.fold, training.seed, *training.model.encode()])
    schema = training.config.model_copy(update={"targets": plan.config.targets})
    predictions, metrics = {}, {}
    for split in ("test", "valid"):
        rows = np.flatnonzero(plan.rows(split))
        for target, head in schema.targets.items():
            truth = head.encode_target(plan.manifest.rows[target].iloc[rows])
            if head.predicts == "numbers":
                predictions[f"{split} {target}"] = np.nan_to_num(truth) + rng.normal(0, 0.1, truth.shape)
            else:
                said = np.where(rng.random(len(rows)) < SKILL.get(training.model, 0.9), truth, (truth + 1) % 3)
                predictions[f"{split} {target}"] = 0.1 + 0.7 * np.eye(3)[said]
            known = head.scorer.known(truth)
            scores = head.scorer.score(truth[known], predictions[f"{split} {target}"][known]) if known.any() else {}
            metrics.setdefault(split, {})[target] = scores
    training.folder.mkdir(parents=True)
    (training.folder / "config.yaml").write_text(training.config.to_yaml())
    (training.folder / "schema.json").write_text(schema.model_dump_json())
    np.savez(training.folder / "predictions.npz", **predictions)
    metrics["training"] = {"weights": 10 * len(training.model), "seconds": 2.5}
    (training.folder / "metrics.json").write_text(json.dumps(metrics))


def run(config, out, *overrides, **options):
    return compare(str(config), list(overrides), out=out, **{"baselines": False, "alone": False, **options})


# One real comparison


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """(folder, table, what was printed, how often features were prepared) of one fusion on two folds."""
    folder = tmp_path_factory.mktemp("real")
    config = write_config(folder)
    prepared = []
    prepare = module.prepare_rows
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_tables.console, "_file", printed)  # `file` would be put back as today's stdout
        patch.setattr(module, "prepare_rows", lambda *given: prepared.append(given) or prepare(*given))
        table = compare(str(config), out=folder / "out", fusions="concat", folds=2, alone=False)
    return folder / "out", table, printed.getvalue(), len(prepared)


def test_every_model_stands_in_the_table(real):
    _, table, _, _ = real
    networks = {"concat"}
    assert set(table["model"]) == networks | {"prior", "classical, all", "classical on colour", "classical on size"}
    assert table.columns.tolist() == list(comparison_tables.COLUMNS)
    assert (table["metric"] == "accuracy").all()
    assert (table["runs"] == 2).all()
    assert table["mean"].is_monotonic_decreasing
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()
    assert set(table["model"][table["weights"].notna()]) == networks == set(table["model"][table["seconds"].notna()])
    assert table["verdict"].tolist().count("chosen") == 1
    by_model = table.set_index("model")
    assert by_model["mean"]["classical, all"] > by_model["mean"]["prior"] + 0.2


def test_figures_are_those_of_the_runs(real):
    folder, table, _, _ = real
    runs = [json.loads((folder / f"fold-{i}" / "concat" / "seed-0" / "metrics.json").read_text()) for i in (1, 2)]
    accuracies = [run["test"]["grade"]["accuracy"] for run in runs]
    assert table.set_index("model")["mean"]["concat"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert table.set_index("model")["deviation"]["concat"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-6)


def test_results_are_written(real):
    folder, table, _, _ = real
    written = pd.read_csv(folder / "comparison.csv")
    assert written["model"].tolist() == table["model"].tolist()
    assert written["mean"].to_numpy() == pytest.approx(table["mean"].to_numpy())
    assert (folder / "comparison_grade.png").read_bytes().startswith(b"\x89PNG")


def test_features_are_prepared_once_a_fold(real):
    assert real[3] == 2


def test_output_says_what_to_do_next(real):
    _, _, printed, _ = real
    assert "1 network, 2 folds, 1 seed: 2 trainings; results in " in printed
    assert re.search(r"1 of 2: concat, fold 1, seed 0: grade accuracy 0\.\d+ after \d+ s; about ", printed)
    assert "2 of 2: concat, fold 2, seed 0" in printed
    assert "grade: accuracy on 2 folds, 1 seed" in printed
    assert "chosen: the best network; better, worse: than the chosen one" in printed
    assert "config.yaml fusion.type=concat 'fusion.units=[7]'" in printed
    assert all(len(line) <= 120 for line in printed.splitlines() if line[:1] in "┃│")


# What is compared


def test_all_fusions_are_the_default(config, tmp_path, trained):
    table = run(config, tmp_path / "out", folds=2)
    names = {"attention", "concat", "decision", "gated", "similarity", "tensor", "transformer", "weighted"}
    assert set(table["model"]) == names
    assert len(trained) == 16
    assert [name for name, _, _ in trained[:8]] == sorted(names)


def test_fusions_take_the_settings_that_they_share_with_the_configs(config):
    variants = module.variants_of(read_config(config), "concat,attention,transformer", alone=True)
    assert variants["attention"].fusion.units == (7,) == variants["concat"].fusion.units
    assert variants["transformer"].fusion == find("fusion", "transformer")()
    assert list(variants["colour alone"].columns) == ["colour"]


def test_a_fusion_that_cannot_join_these_targets_is_left_out_unless_it_is_asked_for(config, tmp_path, trained, capsys):
    overrides = ["fusion.type=decision", "fusion.join=vote", "targets.price.type=regression"]
    with pytest.raises(ValueError, match="join: vote needs probabilities"):
        run(config, tmp_path / "out", *overrides, fusions="decision,concat", folds=2)
    assert not trained
    variants = module.variants_of(read_config(config, overrides), "all", alone=False)
    assert len(variants) == 7
    assert "decision" not in variants
    assert "decision is left out: join: vote needs probabilities" in capsys.readouterr().out


def test_unknown_fusion_names_the_nearest(config, tmp_path):
    with pytest.raises(ValueError, match=r'--fusions: unknown fusion "gate"; did you mean "gated"\?'):
        run(config, tmp_path / "out", fusions="concat,gate")
    assert not (tmp_path / "out").exists()


def test_column_names_that_no_folder_can_have(config, tmp_path, trained):
    rows = pd.read_csv(config.with_name("table.csv"), dtype=str, keep_default_na=False)
    rows.rename(columns={"size": "a/b"}).to_csv(config.with_name("table.csv"), index=False)
    raw = yaml.safe_load(config.read_text())
    raw["columns"]["a/b"] = raw["columns"].pop("size")
    config.write_text(yaml.safe_dump(raw))
    run(config, tmp_path / "out", fusions="concat", folds=2, alone=True)
    assert {path.name for path in (tmp_path / "out" / "fold-1").iterdir() if path.is_dir()} == {
        "concat", "colour-alone", "a_b-alone",
    }  # fmt: skip


# Folds and rows


def test_rows_kept_for_the_test_take_no_part(config, tmp_path, trained):
    run(config, tmp_path / "out", fusions="concat", folds=3)
    part = pd.read_csv(config.with_name("table.csv"))["part"]
    splits = [pd.read_csv(tmp_path / "out" / f"fold-{i}" / "splits.csv")["split"] for i in (1, 2, 3)]
    assert all(((split == "unused") == (part == "test")).all() for split in splits)
    assert (sum((split == "test").astype(int) for split in splits) == (part == "train")).all()


def test_one_fold_judges_on_the_configs_test_rows_and_lets_validation_rows_choose(config, tmp_path, trained, capsys):
    table = run(config, tmp_path / "out", fusions="concat,gated", folds=1).set_index("model")
    split = pd.read_csv(tmp_path / "out" / "fold-1" / "splits.csv")["split"]
    part = pd.read_csv(config.with_name("table.csv"))["part"]
    assert ((split == "test") == (part == "test")).all()
    assert table["verdict"][table["valid"].idxmax()] == "chosen"
    assert np.isnan(table["deviation"]).all()
    shown = capsys.readouterr().out
    assert "grade: accuracy on the test rows, 1 seed" in shown
    assert "chosen: the best network on the validation rows" in shown


def test_one_fold_without_test_rows_is_refused(config, tmp_path):
    parts = ["split.column=null", "split.train=0.8", "split.valid=0.2", "split.test=0"]
    with pytest.raises(ValueError, match="--folds 1 judges on the config's test rows, and there are none"):
        run(config, tmp_path / "out", *parts, folds=1)


def test_too_many_folds_are_refused(config, tmp_path):
    with pytest.raises(
        ValueError, match=r'table\.csv: 25 folds need as many different values in column "maker", got 24'
    ):
        run(config, tmp_path / "out", folds=25)


def test_rows_with_bad_cells_are_left_out_of_every_model_if_asked(config, trained, tmp_path):
    rows = pd.read_csv(config.with_name("table.csv"), dtype=str, keep_default_na=False)
    judged = np.flatnonzero(rows["part"] == "train")[:4]
    rows.loc[judged, "size"] = "wide"
    rows.to_csv(config.with_name("table.csv"), index=False)
    for _ in range(2):  # the second time all of it is there already
        table = run(config, tmp_path / "out", "on_bad_file=drop", fusions="concat", folds=2, baselines=True)
    assert set(table["model"]) >= {"concat", "prior", "classical on size"}
    assert len(trained) == 2
    counts = []
    for number in (1, 2):
        folder = tmp_path / "out" / f"fold-{number}"
        fold = module.Fold(folder, Plan(None, None, pd.read_csv(folder / "splits.csv")["split"]))
        assert pd.read_csv(folder / "bad_rows.csv")["row"].tolist() == (judged + 1).tolist()
        assert not any(fold.rows(name)[judged].any() for name in ("train", "valid", "test"))
        counts.append(fold.rows("test").sum())
    assert sum(counts) == (rows["part"] == "train").sum() - 4


def test_bad_cells_are_refused_before_a_comparison_begins(config, tmp_path):
    changes = ["columns.size={type: image, height_px: 8, width_px: 8}"]
    with pytest.raises(ValueError, match="90 cells in 90 rows cannot be used"):
        run(config, tmp_path / "out", *changes, fusions="concat")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["bad_rows.csv"]


def test_several_targets_have_a_table_each_and_empty_cells_do_not_judge(config, tmp_path, trained):
    table = run(config, tmp_path / "out", "targets.price.type=regression", fusions="concat,gated", folds=2)
    assert table[["target", "metric"]].drop_duplicates().to_numpy().tolist() == [["grade", "accuracy"], ["price", "r2"]]
    assert (table["mean"][table["target"] == "price"] > 0.9).all()  # each row off by a tenth of a deviation
    assert (tmp_path / "out" / "comparison_price.png").is_file()


def test_target_that_no_judged_row_has(config, tmp_path, trained, capsys):
    rows = pd.read_csv(config.with_name("table.csv"), dtype=str, keep_default_na=False)
    rows.loc[rows["part"] == "test", "price"] = ""
    rows.to_csv(config.with_name("table.csv"), index=False)
    table = run(config, tmp_path / "out", "targets.price.type=regression", fusions="concat", folds=1)
    assert set(table["target"]) == {"grade"}
    assert 'no judged row has a "price"; it is left out' in capsys.readouterr().out


# Stopped and continued


def test_what_is_finished_is_not_trained_again(config, tmp_path, trained, monkeypatch):
    whole = run(config, tmp_path / "whole", fusions="concat,gated", folds=2, seeds=2)
    train, before = module._train, len(trained)
    assert before == 8

    def fail(training, *rest):
        if len(trained) == before + 3:
            raise KeyboardInterrupt
        train(training, *rest)

    monkeypatch.setattr(module, "_train", fail)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "parts", fusions="concat,gated", folds=2, seeds=2)
    monkeypatch.setattr(module, "_train", train)
    parts = run(config, tmp_path / "parts", fusions="concat,gated", folds=2, seeds=2)
    assert trained[before:] == trained[:before]  # each once, in the same order
    pd.testing.assert_frame_equal(parts, whole)
    run(config, tmp_path / "parts", fusions="concat,gated", folds=2, seeds=2)
    assert len(trained) == 2 * before


def test_a_budget_of_no_time_shows_what_is_there(config, tmp_path, trained, capsys):
    with pytest.raises(ValueError, match="no training is finished, and 0 minutes are over; give more of them"):
        run(config, tmp_path / "out", fusions="concat", folds=2, minutes=0)
    run(config, tmp_path / "out", fusions="concat", folds=2)
    capsys.readouterr()
    table = run(config, tmp_path / "out", fusions="concat,gated", folds=2, minutes=0)
    assert table["model"].tolist() == ["concat"]
    shown = capsys.readouterr().out
    assert "2 networks, 2 folds, 1 seed: 4 trainings, 2 of them finished already" in shown
    assert "2 of 4 trainings are left; the same command goes on with them" in shown
    assert len(trained) == 2


def test_models_are_compared_on_folds_that_all_have(config, tmp_path, trained, monkeypatch, capsys):
    """A budget that ends within the second fold: the model that has it too gains nothing from it."""
    train = module._train
    monkeypatch.setattr(module, "_train", lambda *given: train(*given) if len(trained) < 3 else pytest.fail("too many"))
    clock = iter([0.0] * 100)
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0 if len(trained) < 3 else 1e9 + next(clock))
    table = run(config, tmp_path / "out", fusions="concat,gated", folds=2, minutes=1)
    assert [fold for _, fold, _ in trained] == [0, 0, 1]
    assert table["runs"].tolist() == [1, 1]
    assert "shown is what 1 fold say" in capsys.readouterr().out


def test_fusions_can_be_added_later(config, tmp_path, trained):
    run(config, tmp_path / "out", fusions="concat", folds=2)
    table = run(config, tmp_path / "out", fusions="concat,gated", folds=2, seeds=2)
    assert len(trained) == 2 + 6 == len(set(trained))
    assert table["runs"].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("overrides", "folds", "what"),
    [
        (["train.epochs=2"], 2, "with another config"),
        ([], 3, "over 2 folds, not 3"),
    ],
)
def test_another_comparison_in_the_same_folder_is_refused(config, tmp_path, trained, overrides, folds, what):
    run(config, tmp_path / "out", fusions="concat", folds=2)
    with pytest.raises(ValueError, match=f"out: holds a comparison {what}; choose another --out"):
        run(config, tmp_path / "out", *overrides, fusions="concat", folds=folds)


def test_another_table_in_the_same_folder_is_refused(config, tmp_path, trained):
    run(config, tmp_path / "out", fusions="concat", folds=2)
    rows = pd.read_csv(config.with_name("table.csv"), dtype=str, keep_default_na=False)
    rows.loc[0, "size"] = "9"
    rows.to_csv(config.with_name("table.csv"), index=False)
    with pytest.raises(ValueError, match="holds a comparison of other rows: the table has changed"):
        run(config, tmp_path / "out", fusions="concat", folds=2)


def test_a_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="out: exists and is no comparison; choose another --out"):
        run(config, tmp_path / "out")


def test_rows_dealt_otherwise_are_refused(config, tmp_path, trained):
    run(config, tmp_path / "out", fusions="concat", folds=2)
    file = tmp_path / "out" / "fold-2" / "splits.csv"
    file.write_text(file.read_text().replace("valid", "train"))
    with pytest.raises(ValueError, match="its rows were dealt otherwise, by another version"):
        run(config, tmp_path / "out", fusions="concat", folds=2)


def test_run_of_other_settings_is_refused(config, tmp_path, trained):
    run(config, tmp_path / "out", fusions="concat", folds=2)
    file = tmp_path / "out" / "fold-2" / "concat" / "seed-0" / "config.yaml"
    file.write_text(file.read_text().replace("dropout: 0.4", "dropout: 0.3"))
    with pytest.raises(ValueError, match="seed-0: was trained with other settings"):
        run(config, tmp_path / "out", fusions="concat", folds=2)


@pytest.mark.slow
def test_killed_within_a_training_goes_on_from_its_last_epoch(tmp_path):
    config = write_config(tmp_path)
    epochs = "train.epochs=3"
    done = python(KILLED, config, tmp_path / "killed", 5, epochs)  # the second training's second epoch
    assert done.returncode == -signal.SIGKILL, done.stderr
    options = {"fusions": "concat,weighted", "folds": 2, "alone": False}
    killed = compare(str(config), [epochs], out=tmp_path / "killed", **options)
    log = (tmp_path / "killed" / "fold-1" / "weighted" / "seed-0" / "run.log").read_text()
    assert "going on after epoch 2 of 3" in log
    whole = compare(str(config), [epochs], out=tmp_path / "whole", **options)
    assert killed["model"].tolist() == whole["model"].tolist()
    pd.testing.assert_frame_equal(killed.drop(columns="seconds"), whole.drop(columns="seconds"))


@pytest.mark.slow
def test_command_with_every_fusion_and_two_targets(tmp_path):
    config = write_config(tmp_path)
    overrides = ["targets.price.type=regression"]
    done = command("mmkeras.compare", config, *overrides, "--folds", 1, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 networks, 1 fold, 1 seed: 10 trainings" in done.stdout
    assert "Next: " in done.stdout
    assert done.stderr == ""


def test_mistakes_end_the_command_with_one_line(tmp_path):
    config = write_config(tmp_path)
    done = command("mmkeras.compare", config, "--fusions", "concatt", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('error: --fusions: unknown fusion "concatt"; did you mean "concat"?')
    assert done.stderr.count("\n") == 1


# Judging, by hand


HEAD = find("head", "classification")().adapt(pd.Series([*CLASSES, *CLASSES]))
ROWS = 200


def judged(model: str, right: np.ndarray, fold: int = 0, weights: int | None = 5, valid: float = 0.5) -> Judged:
    """A model that is right in these rows; every row's truth is "low"."""
    predictions = np.eye(3)[np.where(right, 0, 1)]
    return Judged(model, fold, {"grade": HEAD.scorer}, {"grade": predictions}, {"grade": valid}, weights, 1.0)


def tabulate(folds: int, *found: Judged, group: list[str] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({"grade": ["low"] * ROWS, "maker": group or [str(i) for i in range(ROWS)]})
    split = pd.Series(["test"] * ROWS)

    class Known(module.Fold):
        @property
        def schema(self):
            return type("Schema", (), {"targets": {"grade": HEAD}})

    config = type("Asked", (), {"targets": {"grade": HEAD}, "split": type("Split", (), {"group": "maker"})})
    dealt = [Known(Path("none"), Plan(None, None, split)) for _ in range(folds)]
    table = comparison_tables.tabulate(config, Manifest(rows, None, "table"), dealt, found)
    return table.set_index("model")


def first(count: int) -> np.ndarray:
    return np.arange(ROWS) < count


def test_a_real_difference_is_worse_and_equal_models_are_tied():
    table = tabulate(2, *(judged(name, right, fold) for fold in (0, 1) for name, right in {
        "good": first(160), "twin": first(160), "shifted": ~first(40), "bad": first(120), "beaten": first(180),
    }.items() if name != "beaten"))  # fmt: skip
    assert table["mean"].to_dict() == pytest.approx({"good": 0.8, "twin": 0.8, "shifted": 0.8, "bad": 0.6})
    assert table["verdict"].to_dict() == {"good": "chosen", "twin": "tied", "shifted": "tied", "bad": "worse"}
    assert table.loc["twin", ["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    # Paired: where one is right whenever the other is, and in 20 % of the rows more
    deviation = np.sqrt(0.2 * 0.8 / (2 * ROWS))
    assert table.loc["bad", "difference"] == pytest.approx(-0.2)
    assert table.loc["bad", "difference_high"] == pytest.approx(-0.2 + 1.96 * deviation, abs=0.01)
    assert table.loc["good", "high"] == pytest.approx(0.8 + 1.96 * deviation, abs=0.01)
    assert table.loc["shifted", "difference_low"] < -0.02 < 0.02 < table.loc["shifted", "difference_high"]


def test_classical_models_are_never_chosen_but_may_be_better():
    table = tabulate(1, judged("network", first(100)), judged("classical", first(150), weights=None))
    assert table["verdict"].to_dict() == {"classical": "better", "network": "chosen"}


def test_one_fold_chooses_by_the_validation_rows():
    table = tabulate(1, judged("a", first(150), valid=0.6), judged("b", first(149), valid=0.7))
    assert table["verdict"].to_dict() == {"a": "tied", "b": "chosen"}


def test_a_classical_model_stands_beside_the_mean_of_all_seeds():
    networks = [judged("network", first(count), fold) for fold in (0, 1) for count in (100, 140)]
    table = tabulate(2, *networks, *(judged("classical", first(120), fold, weights=None) for fold in (0, 1)))
    assert table.loc["classical", "difference"] == pytest.approx(0)
    assert table.loc["network", ["mean", "runs"]].tolist() == [0.6, 4]


def test_groups_widen_the_interval_and_rows_without_a_group_stand_alone():
    right = np.tile([True, True, True, True, False], ROWS // 5)
    right = np.sort(right)  # groups of ten are right or wrong together
    alone = tabulate(1, judged("a", right))
    grouped = tabulate(1, judged("a", right), group=[f"g{i // 10}" for i in range(ROWS)])
    empty = tabulate(1, judged("a", right), group=[""] * ROWS)
    width = {name: table.loc["a", "high"] - table.loc["a", "low"] for name, table in
             {"alone": alone, "grouped": grouped, "empty": empty}.items()}  # fmt: skip
    assert width["grouped"] > 2 * width["alone"]
    assert width["empty"] == pytest.approx(width["alone"], abs=0.02)


def test_marks_and_ranges_fit_a_narrow_terminal(monkeypatch):
    table = tabulate(2, *(judged(name, right, fold) for fold in (0, 1) for name, right in {
        "classical, without seventy": first(160), "bad": first(120),
    }.items())).reset_index()  # fmt: skip
    monkeypatch.setattr(comparison_tables.console, "width", 80)
    header, lines = comparison_tables._lines(table, "accuracy", 2)
    assert header == ["model", "accuracy", "95 %", "beside the chosen"]
    assert lines[1][3].startswith("worse  -0.2")
    assert sum(max(map(len, column)) + 3 for column in zip(header, *lines, strict=True)) + 1 <= 80


@pytest.mark.parametrize(
    ("seconds", "said"), [(20, "a minute"), (100, "2 minutes"), (5000, "83 minutes"), (9000, "2.5 hours")]
)
def test_durations_are_said_in_words(seconds, said):
    assert duration(seconds) == said
