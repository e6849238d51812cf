"""The pictures in a run folder: readable files that show what they are about."""

import io
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmkeras.components.fusions.concat import Concat
from mmkeras.components.heads.classification import Classification
from mmkeras.components.modalities.number import Number
from mmkeras.evaluation.judging import Said, judge
from mmkeras.evaluation.models import OWN
from mmkeras.network.build import build_network
from mmkeras.training import plots

pytest_plugins = "fixtures_tables"


@pytest.fixture
def texts(monkeypatch):
    """Every word that a saved figure shows."""
    found = []
    save = matplotlib.figure.Figure.savefig

    def saved(figure, path, **options):
        found.extend(text.get_text() for text in figure.findobj(matplotlib.text.Text))
        return save(figure, path, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", saved)
    return found


def size_px(path: Path) -> tuple[int, int]:
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.format == "PNG"
        return picture.size


def test_model_shows_columns_their_layers_and_the_target(run, tmp_path, texts):
    plots.draw_model(run.network(), tmp_path / "model.png")
    shown = "\n".join(texts)
    for name in ("photo", "question", "voice", "Conv2D", "LSTM", "Embedding", "intent", "Concatenate"):
        assert name in shown
    width, height = size_px(tmp_path / "model.png")
    assert width > 500
    assert height > 300


def test_many_columns_stand_in_rows(adapted, tmp_path, texts):
    columns = {f"number{i}": adapted(Number()) for i in range(7)}
    head = Classification().adapt(pd.Series(["x", "y"], dtype=object))
    plots.draw_model(build_network(columns, Concat(), {"grade": head}), tmp_path / "model.png")
    assert {name for text in texts for name in columns if text.startswith(name)} == columns.keys()
    assert any("7 predictions of single columns" in text for text in texts)
    width, height = size_px(tmp_path / "model.png")
    assert width < 5 * plots.BOX_WIDTH * 120 + 100


def test_history_shows_training_and_validation(run, tmp_path, texts):
    history = {"loss": [2.0, 1.0], "val_loss": [2.5, 2.0], "accuracy": [0.1, 0.5], "val_accuracy": [0.1, 0.2]}
    shown = {"loss": ("loss", "val_loss"), "accuracy": ("accuracy", "val_accuracy")}
    plots.draw_history(history, shown, tmp_path / "history.png")
    assert {"loss", "accuracy", "validation", "epoch"} <= set(texts)
    assert size_px(tmp_path / "history.png")[0] > 500


@pytest.mark.parametrize("classes", [2, 30])
def test_answers_name_every_class(classes, tmp_path, texts):
    head = Classification(
        classes=tuple(f"class {i}" for i in range(classes)),
        weights=(1.0,) * classes,
        frequencies=(1 / classes,) * classes,
    )
    targets = np.arange(classes)
    plots.draw_answers(head.scorer, targets, np.eye(classes), "the title", tmp_path / "answers.png")
    assert {"the title", "class 0", f"class {classes - 1}"} <= set(texts)
    size_px(tmp_path / "answers.png")


def test_confidence_is_drawn_with_the_worst_curves(tmp_path, texts):
    rng = np.random.default_rng(0)
    head = Classification().adapt(pd.Series([f"class {i}" for i in range(12)] * 2, dtype=object))
    truth = rng.integers(0, 12, 200).astype(np.int32)
    shares = 0.6 * np.eye(12)[truth] + 0.4 * rng.dirichlet(np.ones(12), 200)
    said = Said(head.scorer, truth, shares.astype(np.float32))
    found = judge({OWN: said}, np.arange(200), valid=said)
    plots.draw_confidence(found, "fruit, 200 rows", tmp_path / "confidence.png")
    width, height = size_px(tmp_path / "confidence.png")
    assert width > 3 * height
    assert "fruit, 200 rows" in texts
    assert any("the worst 8 of 12" in text for text in texts)
    assert sum(text.startswith("class ") for text in texts) == 16  # in two legends
    assert any(text.startswith("confidence 0.") for text in texts)
