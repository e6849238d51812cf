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

PICTURE = {"type": "picture", "filters": [2, 3]}
CONVOLUTION = {"type": "convolution", "filters": [3]}
RECURRENT = {"type": "recurrent", "units": 4}
TRANSFORMER = {"type": "transformer", "width": 4, "heads": 2}
SPECTRAL = {"type": "spectral", "filters": [2], "width": 4}
APPLICATION = {"type": "applications", "network": "MobileNetV3Small"}
TEXT = {
    "type": "text", "max_tokens": 6, "vocabulary_size": 120, "embedding_width": 4, "ngrams": 2, "ngram_buckets": 30,
    "ngram_width": 3, "encoder": {"type": "recurrent", "both_ways": True, "units": 3},
}  # fmt: skip
IMAGE = {
    "type": "image", "height_px": 8, "width_px": 10, "encoder": PICTURE, "size_bins": 2, "thumbnail_px": 2,
}  # fmt: skip
AUDIO = {
    "type": "audio", "seconds": 0.3, "sample_rate_hz": 8000, "fft_samples": 128, "hop_samples": 200, "mel_bins": 6,
    "mfcc_count": 5, "encoder": [CONVOLUTION, RECURRENT],
}  # fmt: skip
FRAMES = {"type": "picture", "filters": [2], "places": 1, "units": 3}
VIDEO = {**COLUMNS["clip"], "encoder": [FRAMES, RECURRENT]}
SERIES = {
    "type": "timeseries", "steps": 9, "encoder": {"type": "convolution", "filters": [3, 4], "kernel_steps": [3]},
}  # fmt: skip
VARIANTS = {
    "text bilstm": TEXT,
    "text lstm": TEXT
    | {"encoder": {"type": "recurrent", "both_ways": False, "units": 3, "depth": 2, "pooling": "last"}},
    "text gru": TEXT
    | {"encoder": {"type": "recurrent", "cell": "gru", "both_ways": False, "units": 3}, "normalization": "batch"},
    "text cnn": TEXT | {"encoder": {"type": "convolution", "filters": [2]}, "normalization": "layer"},
    "text bag": TEXT | {"encoder": "bag", "ngrams": 0, "lowercase": False},
    "text transformer": TEXT | {"encoder": TRANSFORMER | {"depth": 2}},
    "text pretrained": TEXT | {"encoder": {"type": "pretrained"}},
    "text pretrained, first": TEXT | {"encoder": {"type": "pretrained", "pooling": "first"}},
    "image cnn": IMAGE,
    "image resnet": IMAGE | {"encoder": PICTURE | {"blocks": "residual", "normalization": "layer"}, "aspect": "keep"},
    "image flat": IMAGE
    | {"encoder": PICTURE | {"normalization": "none", "places": "all"}, "thumbnail_px": 0, "size_bins": 0},
    "image files": IMAGE | {"files": 3},
    "image files, weighed": IMAGE
    | {"files": 3, "file_pooling": "attentive", "encoder": PICTURE | {"blocks": "residual"}},
    "image keras.applications": IMAGE | {"encoder": APPLICATION, "height_px": 32, "width_px": 32},
    "image transformer": IMAGE | {"encoder": [PICTURE, TRANSFORMER | {"pooling": "first"}]},
    "audio lstm": AUDIO,
    "audio gru": AUDIO
    | {
        "encoder": [
            CONVOLUTION | {"normalization": "batch"},
            RECURRENT | {"cell": "gru", "both_ways": True, "depth": 2},
        ]
    },
    "audio cnn": AUDIO | {"encoder": SPECTRAL | {"normalization": "layer"}},
    "audio transformer": AUDIO | {"encoder": [CONVOLUTION, TRANSFORMER]},
    "audio mfcc": AUDIO | {"spectrum": "mfcc", "encoder": [CONVOLUTION, RECURRENT | {"pooling": "last"}]},
    "audio files": AUDIO | {"files": 2, "encoder": SPECTRAL},
    "audio cnn batch": AUDIO | {"encoder": SPECTRAL | {"normalization": "batch"}},
    "audio files, weighed": AUDIO | {"files": 2, "file_pooling": "attentive"},
    "audio convolution": AUDIO | {"encoder": CONVOLUTION | {"normalization": "layer"}},
    "video lstm": VIDEO,
    "video gru": VIDEO
    | {"encoder": [FRAMES, RECURRENT | {"cell": "gru", "both_ways": True, "pooling": "last"}], "differences": False},
    "video transformer": VIDEO | {"encoder": [FRAMES | {"blocks": "residual"}, TRANSFORMER], "aspect": "keep"},
    "video frames": VIDEO | {"encoder": FRAMES},
    "timeseries cnn": SERIES,
    "timeseries lstm": SERIES | {"encoder": RECURRENT, "fit": "cut", "steps": 40},
    "timeseries gru": SERIES | {"encoder": RECURRENT | {"cell": "gru", "depth": 2}, "fit": "cut"},
    "timeseries bilstm": SERIES | {"encoder": RECURRENT | {"both_ways": True, "pooling": "last"}},
    "timeseries transformer": SERIES | {"encoder": TRANSFORMER, "fit": "cut", "steps": 34},
    "timeseries bag": SERIES | {"encoder": "bag"},
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
    settings = VARIANTS[variant]
    has_preset = with_preset(settings, "") != settings
    return with_preset(settings, str(request.getfixturevalue("preset"))) if has_preset else settings


def with_preset(settings, preset):
    """A column's settings, a pretrained encoder's completed."""
    encoder = settings.get("encoder")
    if not isinstance(encoder, dict) or encoder["type"] != "pretrained":
        return settings
    return settings | {"encoder": encoder | {"preset": preset}}


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
