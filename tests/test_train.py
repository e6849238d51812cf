"""A training from the table to the metrics: what it writes, that it repeats, that it survives being killed."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from fixtures_models import scores_of
from fixtures_tables import CONFIG, LABELS, command, python

from mmkeras.base import run_files
from mmkeras.components.heads.classification import Classification
from mmkeras.contracts.config import parse_config, read_config
from mmkeras.evaluate import evaluate
from mmkeras.network.inference import predict_rows
from mmkeras.table.manifest import Manifest, missing_files, read_table
from mmkeras.table.plan import checked
from mmkeras.train import train
from mmkeras.training.run import Run

pytest_plugins = "fixtures_tables"

# The validation loss turns within these epochs: the learning rate falls and training stops early.
TURNING = ["train.epochs=14", "train.patience=3", "train.plateau_patience=1", "train.learning_rate=0.02"]
QUICK_TURNING = [*TURNING, "columns.photo=null"]
WRITTEN_FILES = {
    "config.yaml", "schema.json", "table.json", "splits.csv", "bad_rows.csv", "model.weights.h5", "history.json",
    "metrics.json", "run.log", "model.png", "history.png", "answers_intent_test.png", "answers_intent_valid.png",
    "predictions.npz", "origin.json",
}  # fmt: skip
KILLED = """
import os, signal, sys
from mmkeras.training.callbacks import Checkpoints
from mmkeras.train import train

config, folder, epoch, when, *overrides = sys.argv[1:]
save = Checkpoints._save

def save_and_die(self):
    if self.next_epoch == int(epoch) and when == "while writing":
        os.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
    save(self)
    if self.next_epoch == int(epoch):
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints._save = save_and_die
train(config, overrides, run=folder)
"""


@pytest.fixture(scope="module")
def turning_run(config, tmp_path_factory):
    return train(str(config), TURNING, run=tmp_path_factory.mktemp("turning") / "run")


@pytest.fixture(scope="module")
def quick_turning_run(config, tmp_path_factory):
    return train(str(config), QUICK_TURNING, run=tmp_path_factory.mktemp("quick") / "run")


def text_alone(table):
    """A config beside a table that trains in a few seconds."""
    path = table.with_name("text.yaml")
    path.write_text(yaml.safe_dump({**CONFIG, "columns": {"question": CONFIG["columns"]["question"]}}))
    return str(path)


@pytest.fixture(scope="module")
def text_run(table, tmp_path_factory):
    return train(text_alone(table), ["train.epochs=2"], run=tmp_path_factory.mktemp("text") / "run")


def killed_training(config, folder, epoch: int, when: str = "after writing") -> Run:
    """Trains in another process, which is killed at the checkpoint of an epoch (counted from 1)."""
    done = python(KILLED, config, folder, epoch, when, *TURNING)
    assert done.returncode == -9, done.stderr
    assert "retracing" not in done.stderr  # which TensorFlow would write when it traces a function again and again
    assert not (folder / "metrics.json").exists()
    return Run(folder)


def weights(run: Run) -> list[np.ndarray]:
    return run.network().model.get_weights()


def figures(run: Run) -> dict:
    """The metrics without how long it took, of each split."""
    return {name: scores for name, scores in run.metrics.items() if name not in ("training", "bad_cells")}


def same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# What a training leaves behind


def test_run_folder_holds_what_its_description_says(run):
    found = {path.name for path in run.folder.iterdir() if not path.name.startswith("evaluation")}
    assert found - {".lock"} == WRITTEN_FILES | {"tensorboard"}
    assert list((run.folder / "tensorboard").rglob("events.out.tfevents.*"))
    described = re.findall(r"^ *([a-z_]+(?:\.[\w.]+|/)) ", run_files.__doc__, re.MULTILINE)
    assert len(described) == 18
    later = {"checkpoints", "table.parquet", "evaluation.json", "explanation", "report.html", "check.csv"}
    written = {name for name in found if not name.endswith((".png", ".lock"))}
    assert {name.rstrip("/") for name in described} - later == written


def test_metrics_have_the_documented_shape(run):
    assert list(run.metrics)[:2] == ["test", "valid"]
    for split in figures(run).values():
        assert list(split) == ["intent"]
        assert split["intent"].keys() >= {"accuracy", "macro_f1", "macro_precision", "macro_recall", "log_loss"}
        assert 0 <= split["intent"]["accuracy"] <= 1


def test_history_has_a_figure_per_epoch(run):
    assert run.history.keys() >= {"loss", "val_loss", "learning_rate"}
    assert all(len(values) == 3 for values in run.history.values())


def test_splits_follow_the_column(run, table):
    assert run.splits.tolist() == pd.read_csv(table)["split"].tolist()


def test_log_holds_what_was_printed(run):
    log = (run.folder / "run.log").read_text()
    assert "36 train, 12 valid, 12 test" in log
    assert re.search(r"epoch +3/3 ", log)


def test_config_in_the_folder_trains_the_same(run, config):
    again = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert parse_config(again) == run.config
    assert again["columns"]["voice"]["mel_bins"] == CONFIG["columns"]["voice"]["mel_bins"]
    assert again["train"]["patience"] == 10  # a default, made visible


def test_best_epochs_weights_are_kept(quick_turning_run):
    losses, stopped_after = quick_turning_run.history["val_loss"], len(quick_turning_run.history["val_loss"])
    best = int(np.argmin(losses))
    assert best < stopped_after - 1
    valid = quick_turning_run.metrics["valid"]["intent"]
    head = quick_turning_run.schema.targets["intent"]
    uncalibrated = head.scorer.tempered(quick_turning_run.predictions["valid intent"], 1 / head.temperature)
    truth = head.encode_target(
        quick_turning_run.table().rows["intent"][(quick_turning_run.splits == "valid").to_numpy()]
    )
    assert head.scorer.losses(truth, uncalibrated).mean() == pytest.approx(losses[best], abs=1e-5)
    assert valid["log_loss"] == pytest.approx(losses[best], rel=0.05)  # training knows no temperature
    (accuracies,) = (
        values for name, values in quick_turning_run.history.items() if re.fullmatch("val_.*accuracy", name)
    )
    assert valid["accuracy"] == pytest.approx(accuracies[best], abs=1e-5)


def test_patience_and_plateau_end_a_training(quick_turning_run):
    history = quick_turning_run.history
    best = int(np.argmin(history["val_loss"]))
    assert len(history["loss"]) == best + 1 + 3  # train.patience=3
    assert history["learning_rate"][0] == pytest.approx(0.02)
    assert history["learning_rate"][-1] < 0.02


# The same again


def test_same_seed_gives_the_same_bits(quick_turning_run, config, tmp_path):
    again = train(str(config), QUICK_TURNING, run=tmp_path / "again")
    assert again.history == quick_turning_run.history
    assert same_bits(weights(again), weights(quick_turning_run))


@pytest.mark.slow
def test_another_seed_gives_other_losses(text_run, table, tmp_path):
    other = train(text_alone(table), ["train.epochs=2", "train.seed=1"], run=tmp_path / "other")
    assert other.history["loss"][0] != text_run.history["loss"][0]
    assert not same_bits(weights(other), weights(text_run))


@pytest.mark.slow
def test_another_process_gives_the_same_bits(turning_run, config, tmp_path):
    done = command("mmkeras.train", config, *TURNING, "--run", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    other = Run(tmp_path / "other")
    assert other.history == turning_run.history
    assert same_bits(weights(other), weights(turning_run))


@pytest.mark.slow
def test_memory_cache_trains_the_same(text_run, table, tmp_path):
    other = train(text_alone(table), ["train.epochs=2", "train.cache=memory"], run=tmp_path / "memory")
    assert other.history == text_run.history


# Killed and continued


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(lambda run: first_fall(run), id="while it gets no better, before the learning rate falls"),
        pytest.param(lambda run: best_epoch(run) - 3, id="while it still gets better"),
        pytest.param(lambda run: len(run.history["loss"]), id="after the last epoch, before the results"),
    ],
)
def test_killed_training_goes_on_as_if_nothing_had_happened(turning_run, config, tmp_path, moment, capsys):
    epoch = moment(turning_run)
    killed_training(config, tmp_path / "killed", epoch)
    run = train(str(config), TURNING, run=tmp_path / "killed")
    assert f"going on after epoch {epoch} of 14" in capsys.readouterr().out
    assert run.history == turning_run.history
    assert figures(run) == figures(turning_run)
    assert same_bits(weights(run), weights(turning_run))
    assert not (run.folder / "checkpoints").exists()


@pytest.mark.slow
def test_training_killed_while_it_writes_a_checkpoint_uses_the_one_before(turning_run, config, tmp_path, capsys):
    killed = killed_training(config, tmp_path / "killed", 6, "while writing")
    assert (killed.folder / "checkpoints" / "epoch-00006.part").exists()
    run = train(str(config), TURNING, run=tmp_path / "killed")
    assert "going on after epoch 5 of 14" in capsys.readouterr().out
    assert run.history == turning_run.history


def first_fall(run: Run) -> int:
    """The last epoch, counted from 1, before the learning rate is lower; it was not the best so far."""
    epoch = 1 + int(np.argmax(np.diff(run.history["learning_rate"]) < 0))
    assert run.history["learning_rate"][epoch] < run.history["learning_rate"][epoch - 1]
    assert np.argmin(run.history["val_loss"][:epoch]) < epoch - 1
    return epoch


def best_epoch(run: Run) -> int:
    """Counted from 1."""
    return 1 + int(np.argmin(run.history["val_loss"]))


def test_default_folder_is_continued_until_it_is_finished(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = []

    def stopped(run, *_):
        trained.append(run.folder)
        raise KeyboardInterrupt

    def finished(run, *_):
        trained.append(run.folder)
        run.write_json("history.json", {"val_loss": [1.0]})
        training = {"best_epoch": 1, "epochs": 1, "seconds": 2.0, "weights": 3}
        run.write_json("metrics.json", {"valid": {"intent": {"accuracy": 0.5}}, "training": training})

    monkeypatch.setattr("mmkeras.training.trainer._train", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(str(config))
    monkeypatch.setattr("mmkeras.training.trainer._train", finished)
    train(str(config))
    train(str(config))
    assert trained[0] == trained[1] != trained[2]
    assert trained[2].parent.name == "runs"
    assert trained[2].name.startswith(config.parent.name)


def test_other_settings_get_another_default_folder(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = []

    def stopped(run, *_):
        trained.append(run.folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("mmkeras.training.trainer._train", stopped)
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            train(str(config), [f"train.seed={seed}"])
    assert trained[0] != trained[1]


def test_finished_run_is_left_as_it_is(own_run, config, capsys):
    files = own_run.folder.rglob("*")
    kept = {path: path.stat().st_mtime_ns for path in files if path.name not in (".lock", "run.log")}
    assert train(str(config), run=own_run.folder).folder == own_run.folder
    assert "is finished already; choose another --run" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


@pytest.mark.parametrize("content", ["notes.txt", "config.yaml"])
def test_folder_with_other_things_is_refused(config, tmp_path, content):
    (tmp_path / content).write_text("mine")
    with pytest.raises(ValueError, match="exists and is not this training's run; choose another --run"):
        train(str(config), run=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [content]


def test_run_of_another_config_is_refused(run, config):
    with pytest.raises(ValueError, match="exists and is not this training's run"):
        train(str(config), ["train.seed=5"], run=run.folder)


def test_two_processes_cannot_train_in_one_folder(config, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmkeras.training.trainer._train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(str(config), run=tmp_path / "run")
    imports = "import sys; from mmkeras.training.run import Run"
    hold = f"{imports}\nwith Run(sys.argv[1]).locked():\n  print('held', flush=True); input()"
    arguments = [sys.executable, "-c", hold, tmp_path / "run"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            with pytest.raises(ValueError, match="another process is training here; choose another --run"):
                train(str(config), run=tmp_path / "run")
        finally:
            other.kill()
    with pytest.raises(KeyboardInterrupt):  # the kernel released the dead process's lock
        train(str(config), run=tmp_path / "run")


# What is trained on


def test_nan_stops_with_an_explanation(table, tmp_path, monkeypatch):
    def loss(self):
        import keras

        return lambda target, prediction: keras.ops.sum(prediction, axis=-1) * float("nan")

    monkeypatch.setattr(Classification, "loss", loss)
    with pytest.raises(ValueError, match=r"the loss became nan at step 1 .* try a lower train.learning_rate"):
        train(text_alone(table), run=tmp_path / "run")


@pytest.mark.slow
def test_balanced_weights_reach_the_loss(own_table, tmp_path):
    rows = pd.read_csv(own_table, keep_default_na=False)
    rows = rows[(rows["intent"] != "return") | (rows.index % 4 == 0)]  # a third as many rows of one class
    rows.to_csv(own_table, index=False)
    rows = pd.read_csv(own_table, keep_default_na=False)
    options = ["targets.intent.class_weights=balanced", "train.epochs=1", "train.batch_size=30"]
    run = train(text_alone(own_table), options, run=tmp_path / "run")
    head = run.schema.targets["intent"]
    train_counts = rows["intent"][rows["split"] == "train"].value_counts()
    assert head.weights == pytest.approx([train_counts.sum() / (3 * train_counts[label]) for label in LABELS])
    valid = rows[rows["split"] == "valid"].reset_index(drop=True)
    predictions, _ = predict_rows(run.network(), run.schema, Manifest(valid, own_table.parent, "table.csv"))
    truth = head.encode_target(valid["intent"])
    uncalibrated = head.scorer.tempered(predictions["intent"], 1 / head.temperature)
    losses = -np.log(uncalibrated[np.arange(len(truth)), truth])
    by_hand = np.mean(np.array(head.weights)[truth] * losses)
    assert by_hand != pytest.approx(losses.mean(), rel=1e-3)
    assert run.history["val_loss"][0] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.slow
def test_dataframe_trains_and_is_judged_without_a_table(table, tmp_path, monkeypatch):
    monkeypatch.chdir(table.parent)  # relative paths of a DataFrame start in the current folder
    frame = pd.read_csv(table).drop(columns="voice")
    small = {name: column for name, column in CONFIG["columns"].items() if name != "voice"}
    settings = [f"columns.{name}={json.dumps(column)}" for name, column in small.items()]
    overrides = [*settings, "train.epochs=1", "split.group=customer"]
    run = train(frame, overrides, target="intent", run=tmp_path / "run")
    assert list(run.config.columns) == ["question", "photo"]
    monkeypatch.chdir(tmp_path)
    assert scores_of(evaluate(run))["intent"]["mmkeras"] == pytest.approx(run.metrics["test"]["intent"])


def test_absolute_paths_of_a_dataframe_need_leave(table, tmp_path, monkeypatch):
    monkeypatch.setattr("mmkeras.training.trainer._train", lambda run, *_: None)
    monkeypatch.setattr("mmkeras.train._show_results", lambda run: None)
    frame = pd.read_csv(table, dtype=str)[["photo", "intent", "split"]]
    frame["photo"] = f"{table.parent}/" + frame["photo"]
    with pytest.raises(ValueError, match="is an absolute path; write it relative to the table, or set allow_outside"):
        train(frame, target="intent", run=tmp_path / "run")
    run = train(frame, ["allow_outside=true"], target="intent", run=tmp_path / "run")
    assert run.config.allow_outside
    assert missing_files(run.table(), {"photo": run.config.columns["photo"]}) == []


def test_table_with_target_guesses_its_columns(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mmkeras.train.train_plan", lambda plan, *_, **__: plan.config)
    monkeypatch.setattr("mmkeras.train._show_results", lambda run: None)
    config = train(str(table), target="intent")
    assert {name: column.type_name() for name, column in config.columns.items()} == {
        "question": "text", "photo": "image", "voice": "audio",
    }  # fmt: skip
    assert config.split.column == "split"
    shown = capsys.readouterr().out
    assert re.search(r"photo +│ image .*│ columns\.photo", shown)
    assert re.search(r"customer +│ ignored", shown)


# Mistakes: one line each, before TensorFlow starts where that is possible


def refused(config, match: str, *overrides: str, error: type = ValueError) -> None:
    with pytest.raises(error, match=match) as caught:
        train(str(config), list(overrides), run=os.devnull)  # nothing can be written there
    assert "\n" not in str(caught.value)


def edit(table, change) -> None:
    rows = pd.read_csv(table, keep_default_na=False)
    change(rows)
    rows.to_csv(table, index=False)


def test_missing_column_names_the_nearest(config):
    refused(config, r'table\.csv: no column "fhoto"; did you mean "photo"\?', "columns.fhoto.type=image")


def test_missing_target_column(own_table):
    edit(own_table, lambda rows: rows.rename(columns={"intent": "label"}, inplace=True))
    refused(own_table.with_name("config.yaml"), 'no column "intent"')


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("train.epoch=3", r'config\.yaml train\.epoch: unknown key "epoch"; did you mean "epochs"\?'),
        ("columns.voice.second=3", r'columns\.voice\.second: unknown key "second"; did you mean "seconds"\?'),
        ("fusion.type=concatt", r'fusion\.type: unknown fusion "concatt"; did you mean "concat"\?'),
        ("columns.photo.type=imagge", r'columns\.photo\.type: unknown modality "imagge"; did you mean "image"\?'),
        ("columns.voice.seconds=-1", r"columns\.voice\.seconds: expected greater than 0, got -1"),
        ("splitt.seed=1", r'config\.yaml splitt: unknown key "splitt"; did you mean "split"\?'),
        ("nonsense", 'override "nonsense": expected key=value'),
    ],
)
def test_wrong_setting_names_the_nearest(config, override, match):
    refused(config, match, override)


def test_config_that_does_not_exist(tmp_path):
    refused(tmp_path / "no.yaml", r"no\.yaml: no such config file", error=FileNotFoundError)


def test_table_that_does_not_exist(config):
    refused(config, r"gone\.csv: no such file", "manifest=gone.csv", error=FileNotFoundError)


def test_path_that_does_not_exist(own_table):
    own_table.with_name("5.png").unlink()
    refused(own_table.with_name("config.yaml"), r'table\.csv row 6, column "photo": .*5\.png: no such file')


def test_empty_split(config):
    fractions = ["split.column=null", "split.group=null", "split.train=0.98", "split.valid=0.01", "split.test=0.01"]
    refused(config, 'the split "test" has no rows', *fractions)


def test_class_with_one_row(own_table):
    edit(own_table, lambda rows: rows.__setitem__("intent", ["rare", *rows["intent"][1:]]))
    refused(own_table.with_name("config.yaml"), r'column "intent": the class "rare" has one row only \(row 1\)')


def test_target_with_missing_values(own_table):
    edit(own_table, lambda rows: rows.__setitem__("intent", [*rows["intent"][:-1], ""]))
    refused(own_table.with_name("config.yaml"), r'column "intent": got 1 row without a target \(row 60\)')


def test_single_class_target(own_table):
    edit(own_table, lambda rows: rows.__setitem__("intent", "return"))
    refused(own_table.with_name("config.yaml"), 'every row has the class "return", expected two classes or more')


def test_target_that_is_an_input_too(config):
    match = r'config\.yaml: target "customer" is an input column too: the model would be told the answer'
    refused(config, match, "columns.customer.type=text", "targets.customer.type=classification")


def test_target_whose_name_no_output_can_have(config):
    match = r'target "the intent": expected letters a to z, digits and underscores.*rename the column in the table'
    refused(config, match, "targets.the intent.type=classification")


def test_columns_that_the_model_would_call_the_same(config):
    refused(
        config, 'columns "a b" and "a_b" are both a_b in the model', "columns.a b.type=text", "columns.a_b.type=text"
    )


def test_target_with_a_config_is_refused(config):
    with pytest.raises(ValueError, match="--target: goes with a table"):
        train(str(config), target="intent")


def test_table_without_target_says_which_are_there(table):
    with pytest.raises(ValueError, match=r"which column is to be predicted\? Add --target with one of question, photo"):
        train(str(table))


def test_mistakes_are_told_before_tensorflow_starts(own_table):
    own_table.with_name("5.png").unlink()
    code = (
        "import sys; from mmkeras.train import train\n"
        "try: train(sys.argv[1])\n"
        "except ValueError as error: print('tensorflow' in sys.modules, error)"
    )
    done = python(code, own_table.with_name("config.yaml"), cwd=own_table.parent)
    assert done.stdout.startswith("False table.csv row 6")


def test_unreadable_file_is_an_error(own_table, tmp_path):
    own_table.with_name("8.png").write_bytes(b"\x89PNG\r\n\x1a\nthis is no picture")
    own_table.with_name("2.wav").write_bytes(b"RIFF and no more")
    with pytest.raises(ValueError, match=r"table\.csv: 2 cells in 2 rows cannot be used") as caught:
        train(str(own_table.with_name("config.yaml")), run=tmp_path / "run")
    first, *places = str(caught.value).splitlines()
    assert "set on_bad_file=missing to train without them, or drop to leave their rows out" in first
    assert first.endswith("run/bad_rows.csv names them all")
    assert places[0].startswith('  row 3, column "voice": 2.wav: not a readable sound')
    assert places[1].startswith('  row 9, column "photo": 8.png: ')
    bad = pd.read_csv(tmp_path / "run" / "bad_rows.csv")
    assert bad[["row", "column", "done"]].to_numpy().tolist() == [
        [3, "voice", "training refused"],
        [9, "photo", "training refused"],
    ]


@pytest.mark.slow
def test_unreadable_files_count_as_missing_when_asked(own_table, tmp_path, capsys):
    own_table.with_name("8.png").write_bytes(b"\x89PNG\r\n\x1a\nthis is no picture")
    own_table.with_name("2.wav").unlink()
    options = ["on_bad_file=missing", "train.epochs=1"]
    run = train(str(own_table.with_name("config.yaml")), options, run=tmp_path / "run")
    line = "2 bad cells in 2 rows counted as missing: photo 1, voice 1; "
    assert capsys.readouterr().out.count(line) == 2  # when it is found out, and at the end
    assert run.metrics["bad_cells"] == {
        "policy": "missing", "cells": 2, "rows": 2, "columns": {"voice": 1, "photo": 1},
    }  # fmt: skip
    bad = pd.read_csv(run.folder / "bad_rows.csv")
    assert bad.columns.tolist() == ["row", "column", "path", "reason", "done"]
    assert set(bad["done"]) == {"counted as missing"}
    assert bad[["row", "column"]].to_numpy().tolist() == [[3, "voice"], [9, "photo"]]
    assert bad["path"].tolist() == [str(own_table.with_name(name)) for name in ("2.wav", "8.png")]
    assert bad["reason"].str.len().min() > 5


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["no.yaml"], "error: no.yaml: no such config file; expected a .yaml file (or a table with --target)"),
        (["CONFIG", "--target", "intent"], "error: --target: goes with a table"),
        (["CONFIG", "train.epoch=3"], 'error: config.yaml train.epoch: unknown key "epoch"; did you mean "epochs"?'),
        (["CONFIG", "columns.fhoto.type=image"], 'error: table.csv: no column "fhoto"; did you mean "photo"?'),
    ],
)
def test_mistakes_end_the_command_with_one_line(config, tmp_path, arguments, line):
    done = command("mmkeras.train", *[str(config) if word == "CONFIG" else word for word in arguments], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_unreadable_file_ends_the_command_with_one_line(own_table, tmp_path):
    own_table.with_name("2.wav").write_bytes(b"RIFF and no more")
    done = command("mmkeras.train", own_table.with_name("config.yaml"), "--run", tmp_path / "run")
    assert done.returncode == 1
    assert 'row 3, column "voice"' in done.stderr
    assert done.stderr.count("\n") == 1


# What a table tells before it is trained on


def test_a_clean_table_is_not_warned_of(config, capsys):
    found = read_config(config)
    checked(found, read_table(found.manifest))
    assert "warning" not in capsys.readouterr().out


def test_what_a_table_tells_is_at_most_five_lines_and_opens_no_file(own_table, capsys, monkeypatch):
    rows = pd.read_csv(own_table, keep_default_na=False)
    rows["price"] = [*map(str, range(59)), "99999"]
    rows.loc[[2, 3], "question"] = ["...", "the cafÃ© is closed"]
    rows.loc[5, ["question", "photo", "voice", "price"]] = rows.loc[11, ["question", "photo", "voice", "price"]]
    rows["intent"] = rows["intent"].where(rows.index != 0, "Complaint")
    rows["intent"] = rows["intent"].where(rows.index != 30, "Complaint")
    rows.loc[:, "customer"] = "one"
    rows.to_csv(own_table, index=False)
    found = read_config(own_table.with_name("config.yaml"), ["columns.price={type: number}", "split.group=null"])
    monkeypatch.setattr("mmkeras.components.modalities.image.Image.read", None)
    checked(found, read_table(found.manifest))
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    own = [line for line in warnings if "stands in" not in line and "stand in" not in line]
    assert len(own) == 5
    assert own[-1].endswith("more things to look at in table.csv; `mmkeras check` names them")
    assert 'warning: table.csv column "intent": spelled in two ways? in rows 1, 31: "Complaint" (2 rows)' in "\n".join(
        own
    )
