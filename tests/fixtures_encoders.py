"""Every encoder of every modality as cheap as it gets, and models of one such column; shared by several modules.

Test modules ask for the fixtures by `pytest_plugins = "fixtures_encoders"`.
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from fixtures_everything import COLUMNS, stacked

from mmkeras.contracts.config import build, parse_config

TEXT = {
    "type": "text", "max_tokens": 6, "vocabulary_size": 120, "embedding_width": 4, "ngrams": 2, "ngram_buckets": 30,
    "ngram_width": 3, "units": 3, "filters": 2, "width": 4, "heads": 2,
}  # fmt: skip
IMAGE = {"type": "image", "height_px": 8, "width_px": 10, "filters": [2, 3], "size_bins": 2, "thumbnail_px": 2}
AUDIO = {
    "type": "audio", "seconds": 0.3, "sample_rate_hz": 8000, "fft_samples": 128, "hop_samples": 200, "mel_bins": 6,
    "mfcc_count": 5, "convolutions": 1, "filters": 3, "picture_filters": [2], "units": 4, "heads": 2,
}  # fmt: skip
VIDEO = {**COLUMNS["clip"], "units": 4, "heads": 2, "temporal": "lstm"}
SERIES = {"type": "timeseries", "steps": 9, "filters": [3, 4], "kernel_steps": 3, "units": 4, "heads": 2}
VARIANTS = {
    "text bilstm": TEXT,
    "text lstm": TEXT | {"encoder": "lstm", "depth": 2, "pooling": False},
    "text gru": TEXT | {"encoder": "gru", "normalization": "batch"},
    "text cnn": TEXT | {"encoder": "cnn", "normalization": "layer"},
    "text bag": TEXT | {"encoder": "bag", "ngrams": 0, "lowercase": False},
    "text transformer": TEXT | {"encoder": "transformer", "depth": 2},
    "text pretrained": TEXT | {"encoder": "pretrained"},
    "image cnn": IMAGE,
    "image resnet": IMAGE | {"encoder": "resnet", "layer_normalization": True, "aspect": "keep"},
    "image flat": IMAGE | {"flatten": True, "batch_normalization": False, "thumbnail_px": 0, "size_bins": 0},
    "image files": IMAGE | {"files": 3},
    "image files, weighed": IMAGE | {"files": 3, "file_pooling": "attentive", "encoder": "resnet"},
    "image keras.applications": IMAGE | {"encoder": "MobileNetV3Small", "height_px": 32, "width_px": 32},
    "audio lstm": AUDIO,
    "audio gru": AUDIO | {"encoder": "gru", "bidirectional": True, "depth": 2, "normalization": "batch"},
    "audio cnn": AUDIO | {"encoder": "cnn", "normalization": "layer"},
    "audio transformer": AUDIO | {"encoder": "transformer"},
    "audio mfcc": AUDIO | {"spectrum": "mfcc", "pooling": False},
    "audio files": AUDIO | {"files": 2, "encoder": "cnn"},
    "audio files, weighed": AUDIO | {"files": 2, "file_pooling": "attentive"},
    "video lstm": VIDEO,
    "video gru": VIDEO | {"temporal": "gru", "bidirectional": True, "pooling": False, "differences": False},
    "video transformer": VIDEO | {"temporal": "transformer", "encoder": "resnet", "aspect": "keep"},
    "timeseries cnn": SERIES,
    "timeseries lstm": SERIES | {"encoder": "lstm", "fit": "cut", "steps": 40},
    "timeseries gru": SERIES | {"encoder": "gru", "depth": 2, "fit": "cut"},
    "timeseries bilstm": SERIES | {"encoder": "bilstm", "pooling": False},
    "timeseries transformer": SERIES | {"encoder": "transformer", "fit": "cut", "steps": 34},
    "number zscore": {"type": "number", "bins": 3, "units": 4},
    "number quantile": {"type": "number", "bins": 3, "units": 4, "scaling": "quantile"},
    "category": {"type": "category", "width": 3, "min_count": 1},
}
QUICK = {"text bilstm", "timeseries cnn", "number quantile", "category", "image files"}
KINDS = ["one", "two", "two", "three"]
every_variant = pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in VARIANTS]
)


@pytest.fixture(scope="session")
def preset(tmp_path_factory) -> Path:
    """A tiny BERT of random weights, as keras-hub saves one."""
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed: no pretrained encoder is tested")
    keras.utils.set_random_seed(3)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "car", "boat", "пример", "例", "子", "naive", "7"]
    folder = tmp_path_factory.mktemp("presets") / "bert"
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 6, "intermediate_dim": 8, "max_sequence_length": 11}
    hub.models.BertBackbone(vocabulary_size=len(pieces), **sizes).save_to_preset(str(folder))
    hub.models.BertTokenizer(pieces, lowercase=True).save_to_preset(str(folder))
    return folder


@pytest.fixture
def settings(variant, request):
    found = VARIANTS[variant]
    if found.get("encoder") == "pretrained":
        return found | {"preset": str(request.getfixturevalue("preset"))}
    return found


def schema_of(settings, adapted):
    config = parse_config({
        "columns": {"column": settings},
        "fusion": {"type": "concat", "units": [4]},
        "targets": {"kind": {"type": "classification"}},
    })  # fmt: skip
    columns = {"column": adapted(build("modality", settings, "column"))}
    heads = {"kind": config.targets["kind"].adapt(pd.Series(KINDS, dtype=object))}
    return config.model_copy(update={"columns": columns, "targets": heads})


def longer(cell, most_files=None):
    """The cell of twice the length or one file more, where cells have one."""
    if isinstance(cell, np.ndarray):
        return np.concatenate([cell, cell])
    return (cell[:1] + cell)[:most_files] if isinstance(cell, list) else cell


def some_cells(modality):
    """Four ordinary cells, of several lengths where cells have one, and a missing one."""
    examples = [modality.example(seed) for seed in range(11, 15)]
    return stacked(modality, [*examples[:2], None, longer(examples[2], getattr(modality, "files", None)), examples[3]])


def roughened(model):
    """Weights as training could have left them: zeros, such as most biases, hide what is left out."""
    noise = np.random.default_rng(0)
    model.set_weights([_roughened(weights, noise) for weights in model.get_weights()])
    return model


def _roughened(weights, noise):
    if weights.dtype.kind != "f":
        return weights  # the state of what draws at random
    # Variances, which have one axis as biases have, stay above 0.
    return weights + (np.abs(noise.normal(0, 0.1, weights.shape)) if weights.ndim < 2 else 0)
