"""Whether a training waits for its batches, and what its steps cost.

    python benchmarks/training.py                       data/stamps/config.yaml beside data/stamps/article.yaml
    python benchmarks/training.py --rows 1500 --rounds 5

Four parts, in each of which all sides take turns: an epoch from the cache (shuffled, augmented) beside one over the
same batches in memory; rows per second of the default and of the articles' model; floating-point operations per second
beside what a matrix product of TensorFlow's reaches; which layers a step's time goes to.
"""

from __future__ import annotations

import math
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

from mmkeras.base.terminal import run_command
from mmkeras.contracts.config import read_config
from mmkeras.features.batches import training_batches
from mmkeras.features.columns import table_cells
from mmkeras.features.fitted import fit_schema, prepare_columns
from mmkeras.network.build import network_of
from mmkeras.table.manifest import Manifest, read_table
from mmkeras.table.plan import checked
from mmkeras.training.fit import compile_model
from mmkeras.training.trainer import truth_of

STAMPS = Path(__file__).parents[1] / "data" / "stamps"
PRODUCT_SIZE = 2048  # of the square matrices whose product is the ceiling
PROFILED_STEPS = 10
GRADIENTS_TOO = 3  # a product's gradients by its two factors take two more of the same size
CACHE, MEMORY = "from the cache", "from memory"
# What waits for others, or holds others, has no time of its own.
HOLDERS = {"While", "If", "Case", "StatefulPartitionedCall", "PartitionedCall", "IteratorGetNext"}


def training(
    config: Annotated[Path, typer.Option(help="The default model.")] = STAMPS / "config.yaml",
    article: Annotated[Path, typer.Option(help="The articles' model.")] = STAMPS / "article.yaml",
    rows: Annotated[int | None, typer.Option(min=60, help="So many rows of the table; default: all.")] = None,
    article_rows: Annotated[int, typer.Option(min=60, help="The same for the articles' model.")] = 900,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is timed.")] = 5,
) -> None:
    """Times epochs and steps of training."""
    default = _trainable(config, rows)
    epochs = _time_epochs(default, rounds)
    _show_epochs(default, epochs)
    trainables = {"default": default, "articles'": _trainable(article, article_rows)}
    steps, ceiling = _time_steps(trainables, rounds)
    _show_steps(trainables, steps, ceiling)
    _show_profile(default)


@dataclass(frozen=True)
class Trainable:
    """A compiled model and what it trains on.

    Attributes:
        model: Compiled.
        batches: A function: epochs -> a dataset of augmented batches.
        batch_size: Rows per batch.
        steps: Batches per epoch.
    """

    model: keras.Model
    batches: Callable[[range], tf.data.Dataset]
    batch_size: int
    steps: int


def _trainable(path: Path, count: int | None) -> Trainable:
    config = read_config(path)
    manifest = read_table(config.manifest)
    if count:
        sample = manifest.rows.sample(min(count, len(manifest.rows)), random_state=0).reset_index(drop=True)
        manifest = Manifest(sample, manifest.folder, manifest.name)
    plan = checked(config, manifest)
    schema, split = fit_schema(plan), plan.split
    features = prepare_columns(schema, table_cells(manifest, schema.columns))
    keras.utils.set_random_seed(0)
    network = network_of(schema)
    compile_model(network, schema.train, split)
    model = network.model
    model.make_train_function()
    rows = np.flatnonzero(split == "train")
    batch_size = min(schema.train.batch_size, len(rows))
    settings = {"batch_size": batch_size, "seed": 0, "modality_dropout": schema.train.modality_dropout}
    truth = truth_of(plan.of_config(schema), network)

    def batches(epochs: range) -> tf.data.Dataset:
        return training_batches(features, rows, truth, epochs=epochs, **settings)

    return Trainable(model, batches, batch_size, len(rows) // batch_size)


# Epochs


def _time_epochs(trainable: Trainable, rounds: int) -> dict[str, np.ndarray]:
    """{side: (rounds, 2) seconds an epoch took, of the clock and of the processor}.

    The pipeline's iterator lives through all rounds, as in a training: at both ends of an epoch its buffers are full,
    so what it makes in an epoch is what the epoch takes.
    """
    in_memory = _in_memory(trainable.batches(range(1)))
    sides = {CACHE: iter(trainable.batches(range(1, rounds + 3))), MEMORY: iter(in_memory.repeat().prefetch(2))}
    epochs = {name: partial(_train, trainable.model, batches, trainable.steps) for name, batches in sides.items()}
    for batches in sides.values():
        _train(trainable.model, batches, min(trainable.steps, 5))
    return _take_turns(epochs, rounds)


def _in_memory(batches: tf.data.Dataset) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *parts: np.stack(parts), *_arrays(batches)))


def _arrays(batches: tf.data.Dataset) -> list[Any]:
    return list(batches.as_numpy_iterator())


def _train(model: keras.Model, batches: Any, steps: int) -> None:
    for _ in range(steps):
        logs = model.train_function(batches)
    float(logs["loss"])  # waits for the last step


def _take_turns(measures: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, np.ndarray]:
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in measures}
    for i in range(rounds):
        for name in sorted(measures, reverse=i % 2 == 1):
            started, worked = time.perf_counter(), time.process_time()
            measures[name]()
            seconds[name].append((time.perf_counter() - started, time.process_time() - worked))
    return {name: np.array(found) for name, found in seconds.items()}


def _show_epochs(trainable: Trainable, seconds: Mapping[str, np.ndarray]) -> None:
    rows, rounds = trainable.steps * trainable.batch_size, len(seconds[CACHE])
    ratios = np.median(seconds[CACHE] / seconds[MEMORY], axis=0)
    table = _table(
        f"an epoch of {rows} rows, {os.cpu_count()} cores, median of {rounds} rounds",
        "rows/s",
        "× time",
        "× processor time",
    )
    for name, (ratio, work) in {CACHE: ratios, MEMORY: (1.0, 1.0)}.items():
        table.add_row(name, f"{rows / np.median(seconds[name][:, 0]):,.0f}", f"{ratio:.3f}", f"{work:.3f}")
    _print(table)


# Steps


def _time_steps(trainables: Mapping[str, Trainable], rounds: int) -> tuple[dict[str, np.ndarray], float]:
    """{model: (rounds, 2) seconds a step took}, and the GFLOP/s of a matrix product between them."""
    few = {name: _in_memory(found.batches(range(1)).take(5)) for name, found in trainables.items()}
    measures = {
        name: partial(_train, trainables[name].model, iter(batches.repeat().prefetch(2)), 5)
        for name, batches in few.items()
    }
    factor = tf.random.stateless_normal((PRODUCT_SIZE, PRODUCT_SIZE), (0, 1))
    product = {"product": lambda: float(tf.matmul(factor, factor)[0, 0])}
    for measure in (measures | product).values():
        measure()
    seconds = _take_turns(measures | product, rounds)
    ceiling = 2 * PRODUCT_SIZE**3 / np.median(seconds.pop("product")[:, 0]) / 1e9
    return {name: found / 5 for name, found in seconds.items()}, float(ceiling)


def _show_steps(trainables: Mapping[str, Trainable], seconds: Mapping[str, np.ndarray], ceiling: float) -> None:
    per_row = {name: found / trainables[name].batch_size for name, found in seconds.items()}
    slow = per_row["articles'"]
    table = _table("steps on batches in memory", "rows/s", "× articles'", "MFLOP/row", "GFLOP/s", "of a matrix product")
    for name, found in per_row.items():
        ratio = statistics.median(slow[:, 0] / found[:, 0])
        work = GRADIENTS_TOO * forward_operations(trainables[name].model)
        speed = work / np.median(found[:, 0]) / 1e9
        table.add_row(
            name,
            f"{1 / np.median(found[:, 0]):,.0f}",
            f"{ratio:.1f}",
            f"{work / 1e6:,.0f}",
            f"{speed:.1f}",
            f"{speed / ceiling:.0%}",
        )
    _print(table)
    print(f"matrix product: {ceiling:.0f} GFLOP/s ({PRODUCT_SIZE} x {PRODUCT_SIZE}, float32, the same threads)")


def forward_operations(model: keras.Model) -> int:
    """Multiplications and additions of a row's matrix products and convolutions, counted from the layers' kernels.

    A layer's kernels meet every step, pixel or row of its output once; a recurrent layer's every step of its input.
    What works on single numbers, pools or looks vectors up is not counted; a model inside the model once, however often
    it is called.
    """
    return sum(
        forward_operations(layer) if isinstance(layer, keras.Model) else 2 * _kernel_numbers(layer) * _places(layer)
        for layer in model.layers
    )


def _kernel_numbers(layer: keras.layers.Layer) -> int:
    return sum(math.prod(weight.shape) for weight in layer.weights if weight.name.endswith("kernel"))


def _places(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional):
        return keras.tree.flatten(layer.input)[0].shape[1]
    return math.prod(layer.output.shape[1:-1]) if _kernel_numbers(layer) else 0


# Profile


def _show_profile(trainable: Trainable) -> None:
    batches = iter(_in_memory(trainable.batches(range(1)).take(5)).repeat().prefetch(2))
    _train(trainable.model, batches, 3)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            _train(trainable.model, batches, PROFILED_STEPS)
        (path,) = Path(folder).rglob("*.xplane.pb")
        branches = [layer.name for layer in trainable.model.layers if isinstance(layer, keras.Model)]
        seconds, operations = _by_layer(path.read_bytes(), branches)
    whole = sum(seconds.values())
    table = _table(
        f"where a step's time goes, {PROFILED_STEPS} steps, summed over threads", "ms", "share", "operations"
    )
    for name, spent in seconds.most_common(16):
        count = operations[name] / PROFILED_STEPS
        table.add_row(name, f"{1000 * spent / PROFILED_STEPS:.1f}", f"{spent / whole:.1%}", f"{count:,.0f}")
    _print(table)


def _by_layer(content: bytes, branches: Collection[str]) -> tuple[Counter, Counter]:
    """Seconds and numbers of TensorFlow's operations, by kind of layer; forward and backward together.

    Args:
        content: Of the profile's file.
        branches: Names of models inside the model, in which the layers lie.
    """
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    seconds, operations = Counter(), Counter()
    for plane in XSpace.FromString(content).planes:
        for line in plane.lines:
            for event in line.events:
                found = re.fullmatch(r"([^:]+):_?(\w+)", plane.event_metadata[event.metadata_id].name)
                if found and found[2] not in HOLDERS:
                    layer = _layer(found[1], branches)
                    seconds[layer] += event.duration_ps / 1e12
                    operations[layer] += 1
    return seconds, operations


def _layer(path: str, branches: Collection[str]) -> str:
    """The kind of layer that an operation of such a path belongs to."""
    if "/adam" in path:
        return "optimizer"
    inside = re.search(rf"/mmkeras(?:_\d+)*/(?:(?:{'|'.join(branches)})(?:_\d+)*/)?(\w+)/", path)
    return re.sub(r"(_\d+)+$", "", inside[1]) if inside else "between layers, losses, metrics"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _print(table: Table) -> None:
    Console(width=120).print(table)


if __name__ == "__main__":
    run_command(training)
