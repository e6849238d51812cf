"""What a run shows in TensorBoard, read back from its files, and that showing it changes nothing."""

import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest
import yaml
from fixtures_everything import TARGETS
from PIL import Image

from mmkeras.contracts.config import parse_config
from mmkeras.contracts.encoding import FUSED
from mmkeras.embed import embed
from mmkeras.features.columns import table_cells
from mmkeras.features.fitted import fit_schema, prepare_columns
from mmkeras.network.build import build_network
from mmkeras.table.manifest import Manifest
from mmkeras.table.plan import Plan
from mmkeras.train import train
from mmkeras.training.board import write_vectors
from mmkeras.training.callbacks import BoardWriter, Checkpoints

pytest_plugins = ("fixtures_tables", "fixtures_everything")

EPOCHS = 4
START_SECONDS = 60  # of a machine that runs other tests: it imports TensorFlow, and reads on a thread of its own


def lines(path):
    """What the projector makes of a table: it knows ends of lines and tabs, no quotes."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_events(folder):
    """([GraphDef …], {tag: {step: encoded pictures}}) of all event files of a folder."""
    import tensorflow as tf

    graphs, pictures = [], {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            graphs += [tf.compat.v1.GraphDef.FromString(event.graph_def)] if event.graph_def else []
            for value in event.summary.value:
                pictures.setdefault(value.tag, {})[event.step] = value.tensor.string_val[2:]
    return graphs, pictures


# A run


def test_the_models_graph_is_there(run):
    (graph,), _ = read_events(run.board_folder)
    scopes = {re.sub(r"_\d+$", "", part) for node in graph.node for part in node.name.split("/")}
    assert {"mmkeras", "question", "photo", "voice", "or_absent", "intent_joint"} <= scopes


def test_the_last_epochs_confusion_matrix_is_there(run):
    _, pictures = read_events(run.board_folder)
    assert pictures.keys() == {"answers/intent"}
    (picture,) = pictures["answers/intent"][2]
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # text, axes and shades


@pytest.mark.slow
def test_several_targets_have_a_picture_each(everything_run):
    _, pictures = read_events(everything_run.board_folder)
    assert pictures.keys() == {"answers/mood", "answers/price"}


def test_the_projector_finds_vectors_and_what_they_are_of(run, table):
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    config = text_format.Parse((run.board_folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (shown,) = config.embeddings
    vectors = np.loadtxt(run.board_folder / shown.tensor_path, delimiter="\t")
    header, *told = lines(run.board_folder / shown.metadata_path)
    assert header == ["intent", "intent answer", "intent right", "split", "row"]
    assert [row[3] for row in told] == ["test"] * 12 + ["valid"] * 12
    rows = [int(row[4]) for row in told]
    assert (run.splits[np.array(rows) - 1] == [row[3] for row in told]).all()
    wanted = embed(run, table)["fused"][np.array(rows) - 1]
    assert wanted.notna().all()
    np.testing.assert_allclose(vectors, np.stack(wanted), rtol=1e-3, atol=1e-4)
    right = [row[2] for row in told if row[3] == "test"].count("right") / 12
    assert right == pytest.approx(run.metrics["test"]["intent"]["accuracy"])
    assert all((row[0] == row[1]) == (row[2] == "right") for row in told)


# Any table


def written(folder, table, targets, **limits):
    """The metadata's lines of a model that was not trained."""
    settings = {"columns": {"x": {"type": "number"}}, "targets": targets, "split": {"column": "split"}}
    config, manifest = parse_config(settings), Manifest(table, folder, "rows")
    schema = fit_schema(Plan(config, manifest, table["split"]))
    features = prepare_columns(schema, table_cells(manifest, schema.columns))
    network = build_network(schema.columns, schema.fusion, schema.targets)
    step = network.step([FUSED, *schema.targets])
    write_vectors(folder / "board", step, schema, features, manifest, table["split"])
    return lines(folder / "board" / "metadata.tsv")


def rows(count=18, **columns):
    split = np.take(["train", "valid", "test"], np.arange(count) % 3)
    return pd.DataFrame({"x": np.arange(count).astype(str), **columns, "split": split}, dtype=object)


def test_hostile_labels_break_no_line(tmp_path):
    labels = ["a\tb", "c\r\nd\x0b\x85\u2028", '"quoted', "x" * 5000, "\x00nul", "<b>喂🎉\u202e"]
    header, *told = written(tmp_path, rows(y=np.repeat(labels, 3)), {"y": {"type": "classification"}})
    assert header == ["y", "y answer", "y right", "split", "row"]
    assert len(told) == 12
    assert all(len(row) == 5 for row in told)
    shown = ["a b", "c d ", '"quoted', "x" * 99 + "…", " nul", "<b>喂🎉\u202e"]
    assert [row[0] for row in told[:6]] == shown
    raw = (tmp_path / "board" / "metadata.tsv").read_bytes()
    assert raw.count(b"\n") == len(raw.decode().splitlines()) == 13


def test_every_kind_of_target_is_told(tmp_path):
    table = rows(
        intent=np.tile(["a", "b"], 9), mood=np.where(np.arange(18) % 4 == 1, "", np.repeat(["calm", "angry"], 9)),
        price=np.arange(18).astype(str), marks=np.tile(["|", "old|new", "new"], 6), grade=np.tile(["low", "high"], 9),
    )  # fmt: skip
    table["marks"] = np.repeat(["|", "old|new", "new"], 6)
    targets = TARGETS | {"grade": {"type": "ordinal", "order": ["low", "high"]}}
    header, *told = written(tmp_path, table, targets)
    found = pd.DataFrame(told, columns=header)
    assert header == [
        "grade", "grade answer", "grade right", "intent", "intent answer", "intent right",
        "marks", "marks answer", "marks right", "mood", "mood answer", "mood right", "price", "price answer",
        "split", "row",
    ]  # fmt: skip
    assert found["price"].astype(int).tolist() == (found["row"].astype(int) - 1).tolist()
    assert pd.to_numeric(found["price answer"]).notna().all()
    assert (found["mood right"] == "").tolist() == (found["mood"] == "").tolist()
    for name in ("intent", "grade"):
        assert (found[f"{name} right"] == "right").tolist() == (found[name] == found[f"{name} answer"]).tolist()
    marks = [set(cell.split("|")) - {""} for cell in found["marks"]]
    answers = [set(cell.split("|")) - {""} for cell in found["marks answer"]]
    assert (found["marks right"] == "right").tolist() == [a == b for a, b in zip(marks, answers, strict=True)]


def test_too_many_rows_are_thinned_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr("mmkeras.training.board.MOST_VECTORS", 5)
    _, *told = written(tmp_path, rows(y=np.tile(["a", "b"], 9)), {"y": {"type": "classification"}})
    assert [(row[3], int(row[4])) for row in told] == [("test", 3), ("test", 12), ("valid", 2), ("valid", 11)]


# It changes nothing


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A config of which a training costs little and draws much at random."""
    folder = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    split = np.take(["train", "train", "train", "valid", "test"], np.arange(60) % 5)
    table = {"x": x, "y": np.where(x + rng.normal(0, 0.5, 60) > 0, "a", "b"), "split": split}
    pd.DataFrame(table).to_csv(folder / "small.csv", index=False)
    settings = {
        "manifest": "small.csv", "columns": {"x": {"type": "number"}}, "fusion": {"type": "concat", "dropout": 0.5},
        "targets": {"y": {"type": "classification"}}, "split": {"column": "split"},
        "train": {"epochs": EPOCHS, "batch_size": 6},
    }  # fmt: skip
    (folder / "small.yaml").write_text(yaml.safe_dump(settings))
    return folder / "small.yaml"


@pytest.fixture(scope="module")
def watched(small):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoardWriter, "SHARE", np.inf)
        return train(str(small), run=small.parent / "watched")


def assert_same_training(first, second):
    assert first.history == second.history
    pairs = zip(first.network().model.get_weights(), second.network().model.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.slow
def test_weights_are_the_same_without_it(watched, small, monkeypatch):
    import keras

    monkeypatch.setattr("mmkeras.training.trainer.watcher", lambda *_: keras.callbacks.Callback())
    monkeypatch.setattr("mmkeras.training.trainer.write_vectors", lambda *_: None)
    monkeypatch.setattr("mmkeras.training.fit._seen", lambda *_: {})
    unwatched = train(str(small), run=small.parent / "unwatched")
    assert not unwatched.board_folder.exists()
    assert_same_training(watched, unwatched)


@pytest.mark.slow
def test_a_training_that_goes_on_goes_on_writing(watched, small, monkeypatch):
    save = Checkpoints._save

    def save_and_stop(self):
        save(self)
        if self.next_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(BoardWriter, "SHARE", np.inf)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(str(small), run=small.parent / "stopped")
    found = train(str(small), run=small.parent / "stopped")
    assert_same_training(watched, found)
    graphs, pictures = read_events(found.board_folder)
    assert len(graphs) == 1
    assert sorted(pictures["answers/y"]) == list(range(EPOCHS))
    assert pictures == read_events(watched.board_folder)[1]  # the same pictures, too
    assert (found.board_folder / "metadata.tsv").read_text() == (watched.board_folder / "metadata.tsv").read_text()


# TensorBoard itself


@pytest.mark.slow
def test_tensorboard_shows_all_of_it(run, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", run.folder, "--port", str(port)]
    log = tmp_path / "tensorboard.log"
    with log.open("w") as written:
        server = subprocess.Popen(command, stdout=written, stderr=written)

    def ask(path):
        with urllib.request.urlopen(f"http://localhost:{port}/data/{path}", timeout=START_SECONDS) as answer:
            return answer.read()

    def wait_for(path, is_wanted):
        """TensorBoard starts and reads in its own time."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                found = json.loads(ask(path))
                if is_wanted(found):
                    return
            except OSError as error:
                found = error
            assert time.monotonic() < deadline, f"{path} answers {found}; TensorBoard says: {log.read_text()}"
            time.sleep(0.5)

    try:
        wait_for("runs", lambda found: "tensorboard/answers" in found)
        wait_for("plugin/projector/runs", lambda found: found == ["tensorboard/answers"])
        assert json.loads(ask("plugin/graphs/info"))["tensorboard/answers"]["run_graph"]
        graph = ask("plugin/graphs/graph?run=tensorboard%2Fanswers&conceptual=false").decode()
        assert "photo" in graph
        assert json.loads(ask("plugin/images/tags"))["tensorboard/answers"].keys() == {"answers/intent"}
        assert "epoch_loss" in json.loads(ask("plugin/scalars/tags"))["tensorboard/validation"]
        vectors = ask("plugin/projector/tensor?run=tensorboard%2Fanswers&name=fused%20vector")
        assert np.frombuffer(vectors, np.float32).reshape(24, 11).std() > 0
        shown = "scalars", "images", "graphs", "projector"
        wait_for("plugins_listing", lambda found: all(found[name]["enabled"] for name in shown))
    finally:
        server.terminate()
        server.wait()
