"""Each benchmark in its short form: it runs, measures as much as it was asked for and prints plausible figures.

And the articles' configuration builds the articles' network, whatever options the encoders gain.
"""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmkeras.contracts.config import read_config

ROOT = Path(__file__).parents[1]


def figures(line):
    """The numbers in a table's row, its name left out."""
    return [float(cell.replace(",", "")) for cell in re.findall(r"[│ ]\s*(-?[\d,]+(?:\.\d+)?)\s*(?=│)", line)]


def line_with(output, begin):
    return next(line for line in output.splitlines() if line.lstrip("│ ").startswith(begin))


def run_benchmark(name, *arguments):
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_pipeline():
    output = run_benchmark("pipeline", "--rows", 48, "--rounds", 2)
    assert "48 rows" in output and "median of 2 rounds" in output
    cold, cached = (figures(line_with(output, name))[0] for name in ("mmkeras, cold", "mmkeras, cached"))
    assert 0 < cold < cached
    # The ratios are beside the speeds that they compare.
    assert figures(line_with(output, "articles' loops "))[1] == 1.0


@pytest.mark.slow
def test_photos():
    output = run_benchmark("photos", "--megapixels", 0.3, "--photos", 4, "--rounds", 1)
    assert "4 photographs of 0.3 megapixels" in output
    for line in (line for line in output.splitlines() if "articles' loops  " in line):
        assert figures(line)[-1] == 1.0
    assert figures(line_with(output, "mmkeras, cold"))[0] > 0


@pytest.fixture(scope="module")
def floor_program(tmp_path_factory):
    """The benchmark's module and its C program."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import floor
    finally:
        sys.path.pop(0)
    try:
        return floor, floor.compiled(tmp_path_factory.mktemp("floor"))
    except ValueError as error:
        pytest.skip(f"the floor was NOT measured: {error}")


def test_floor_does_the_same_work(floor_program, tmp_path):
    """What the C libraries make of a sound and of a picture is what mmkeras makes of them."""
    import pandas as pd
    import tensorflow as tf

    from mmkeras.components.modalities.audio import Audio
    from mmkeras.components.modalities.image import Image
    from mmkeras.features import ops

    floor, program = floor_program
    columns = {"image": Image(height_px=24, width_px=31), "voice": Audio(seconds=0.7, mel_bins=40)}
    folder = ROOT / "data" / "customer_service"
    photo, voice = (str(next(iter(sorted((folder / name).iterdir())))) for name in ("photo", "voice"))
    cells = {"image": pd.Series([photo, photo]), "voice": pd.Series([voice, ""])}
    floor.run_floor(program, columns, cells, 2, tmp_path / "dump")
    picture, sound = floor.read_dump(tmp_path / "dump")
    content = tf.constant(columns["image"].read(photo))
    wanted = ops.image.resize_image(ops.image.decode_image(content)[0], 24, 31, "stretch").numpy()
    np.testing.assert_allclose(picture.reshape(24, 31, 3), wanted, atol=1.0)  # mmkeras rounds what was transparent
    samples, _ = ops.sound.decode_wav(tf.constant(columns["voice"].read(voice)), 16_000, 0.7)
    wanted = ops.sound.log_mel(samples, 16_000, 512, 320, 40).numpy()
    is_loud = wanted > -60  # below, the 16 bits of a cell begin to tell
    np.testing.assert_allclose(sound.reshape(-1, 40)[is_loud], wanted[is_loud], atol=0.5)
    assert is_loud.mean() > 0.3


@pytest.mark.slow
def test_floor(floor_program):
    output = run_benchmark("floor", "--rows", 48, "--rounds", 1)
    assert figures(line_with(output, "floor: C"))[2:] == [1.0, figures(line_with(output, "floor: C"))[3], 1.0]
    assert figures(line_with(output, "articles' loops"))[3] == 1.0
    assert figures(line_with(output, "mmkeras, cold"))[0] > 0


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    from mmkeras.table.plan import embedded_example
    from mmkeras.train import train

    return train(embedded_example(), ["train.epochs=1"], run=tmp_path_factory.mktemp("runs") / "tiny")


@pytest.mark.slow
def test_latency(tiny_run):
    output = run_benchmark("latency", tiny_run.folder, "--answers", 40)
    assert "40 answers" in output
    p50, p95, rows_per_second, speed_up = figures(line_with(output, "raw row to answer"))
    assert 0 < p50 <= p95
    assert rows_per_second == pytest.approx(1000 / p50, rel=0.1)
    assert speed_up == pytest.approx(550 / p50, rel=0.1)


@pytest.mark.slow
def test_latency_of_an_exported_folder(tiny_run, tmp_path):
    from mmkeras.export import export

    folder = export(tiny_run, tmp_path / "exported")
    assert "33 answers" in run_benchmark("latency", folder, "--answers", 33)


@pytest.mark.slow
def test_memory(tmp_path):
    output = run_benchmark("memory", "--rows", 3000, "--smallest", 300, "--figure", tmp_path / "memory.png")
    (small, *_), (large, *_) = figures(line_with(output, "300 ")), figures(line_with(output, "3000"))
    assert (small, large) == (300, 3000)
    assert (tmp_path / "memory.png").stat().st_size > 1000
    # 2700 rows take some 1.5 MB in the table; a training that held their features or batches would take far more.
    assert figures(line_with(output, "growth"))[1] < 150


def test_table():
    output = run_benchmark("table", "--rows", 2000, "--files", 100)
    assert "2000 rows (text text, image image, audio audio, weight number, kind category)" in output
    steps = [figures(line_with(output, name)) for name in ("read", "guess types", "split", "check rows")]
    assert all(len(step) == 3 and step[2] > 50 for step in steps)  # seconds, of the CPU, MiB


@pytest.mark.slow
def test_training():
    config = ROOT / "data/customer_service/config.yaml"
    output = run_benchmark(
        "training", "--config", config, "--article", config, "--rows", 200, "--article-rows", 200, "--rounds", 1
    )
    assert "an epoch of 128 rows" in output and "median of 1 rounds" in output
    (cached, *ratios), (memory, *_) = (
        figures(line_with(output, "from the cache")),
        figures(line_with(output, "from memory")),
    )
    assert min(cached, memory) > 0 and all(0.1 < ratio < 20 for ratio in ratios)
    default, article = (figures(line_with(output, name)) for name in ("default", "articles'"))
    assert article[1] == 1.0 and default[2] == article[2] > 1  # one config twice: as many operations a row
    assert line_with(output, "optimizer")


@pytest.mark.slow
def test_startup():
    output = run_benchmark("startup", "--rounds", 1)
    for name in ("import mmkeras", "mmkeras --help", "mmkeras train --help"):
        assert re.search(rf"^{name} +\d+\.\d\d s", output, re.MULTILINE)


def test_training_counts_the_operations_of_kernels():
    """By hand: a picture of 6 x 8 x 3 by a 3 x 3 convolution, an LSTM of 5 units over 4 steps of 2, a dense layer."""
    import keras

    forward_operations = runpy.run_path(str(ROOT / "benchmarks" / "training.py"))["forward_operations"]
    picture, series = keras.Input((6, 8, 3)), keras.Input((4, 2))
    seen = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(7, 3, padding="same")(picture))
    heard = keras.layers.Bidirectional(keras.layers.LSTM(5))(series)
    model = keras.Model([picture, series], keras.layers.Dense(9)(keras.layers.Concatenate()([seen, heard])))
    convolution, lstm, dense = 6 * 8 * 3 * 3 * 3 * 7, 2 * 4 * (2 + 5) * 4 * 5, (7 + 2 * 5) * 9
    assert forward_operations(model) == 2 * (convolution + lstm + dense)


def test_a_benchmark_names_what_is_wrong():
    command = [sys.executable, ROOT / "benchmarks" / "pipeline.py", "none.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "none.yaml: no such config file" in done.stderr


# The articles' configuration


@pytest.fixture(scope="module")
def article_model():
    """Built with the fitted state of three example cells a column."""
    from mmkeras.contracts.registry import walk
    from mmkeras.network.build import build_network
    from mmkeras.table.manifest import read_table

    config = read_config(ROOT / "data" / "article_three_branches.yaml")
    columns = {name: column.adapt([column.example(seed) for seed in range(3)]) for name, column in walk(config.columns)}
    intents = read_table(config.manifest).rows["intent"]
    return build_network(columns, config.fusion, {"intent": config.targets["intent"].adapt(intents)}).model


def every_layer(model):
    """Its own layers and those of its columns' models."""
    for layer in model.layers:
        yield from every_layer(layer) if hasattr(layer, "layers") else (layer,)


def test_article_has_the_articles_layers_and_no_others(article_model):
    idle = {"InputLayer", "SpatialDropout1D", "Dropout", "ReplaceAbsent", "Concatenate", "Activation", "Softmax"}
    idle |= {"Answer", "Maximum"}  # for a row of which nothing is there
    names = sorted(type(layer).__name__ for layer in every_layer(article_model) if type(layer).__name__ not in idle)
    kept = [name for name in names if not name.startswith(("Cast", "NotEqual", "GetItem", "OnesLike", "Reshape"))]
    assert kept == ["Conv2D", "Dense", "Embedding", "Flatten", "LSTM", "LSTM", "MaxPooling2D"]


def test_article_drops_nothing(article_model):
    assert [layer.rate for layer in article_model.layers if "Dropout" in type(layer).__name__ and layer.rate] == []


def test_article_joins_what_the_articles_join(article_model):
    # LSTM(128) of the text, 32 pictures of 112 x 112 (Conv2D pads here, or it were 111 x 111), LSTM(128) of the sound.
    dense = next(layer for layer in article_model.layers if type(layer).__name__ == "Dense")
    assert dense.kernel.shape == (128 + 112 * 112 * 32 + 128, 4)
