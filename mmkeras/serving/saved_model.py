"""A SavedModel of raw rows: preprocessing, network and answers in one graph."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkeras.base import run_files
from mmkeras.contracts.config import Config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.objective import DEFAULT_ENDPOINT, Endpoint
from mmkeras.contracts.registry import layer_name, walk
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.network import Network
from mmkeras.network.statuses import PRIOR, statuses

if TYPE_CHECKING:
    import tensorflow as tf_types
from mmkeras.base.lazy import lazy

keras = lazy("keras")
tf = lazy("tensorflow")


ASSETS = "assets.extra"  # TensorFlow's name for files that travel with a SavedModel


def write_saved_model(network: Network, schema: Config, folder: Path) -> None:
    """What `export` writes of a network; the folder appears when all of it is there.

    Args:
        network: Trained.
        schema: Adapted columns and targets, those of the network.
        folder: Not there yet.
    """
    endpoints = _endpoints(network)
    archive = keras.export.ExportArchive()
    archive.track(network.model)
    for name, endpoint in endpoints.items():
        serve, cells = _served(network, endpoint)
        archive.add_endpoint(name, serve, input_signature=[cells])
    temporary = folder.with_name(folder.name + ".part")
    with _quiet():
        archive.write_out(str(temporary), verbose=False)
    _write_assets(temporary / ASSETS, schema, endpoints)
    os.replace(temporary, folder)


def _endpoints(network: Network) -> dict[str, Endpoint]:
    """Of all objectives, first the one that a client gets who names none: TensorFlow takes the first."""
    endpoints = {
        name: endpoint
        for objective in network.objectives.values()
        for name, endpoint in objective.endpoints(network.setting, network.outputs).items()
    }
    return dict(sorted(endpoints.items(), key=lambda named: named[0] != DEFAULT_ENDPOINT))


def _served(network: Network, endpoint: Endpoint) -> tuple[Callable[[Any], dict[str, Any]], dict[str, Any]]:
    """A function of a batch of rows' cells, and what such a batch looks like."""
    preprocessor = Preprocessor({column: network.setting.columns[column] for column in endpoint.columns})
    model = network.told(endpoint.outputs, endpoint.columns)

    def serve(cells: dict[str, tf_types.Tensor]) -> dict[str, tf_types.Tensor]:
        features, faults = preprocessor.examine(cells)
        answers = endpoint.answer(model(features, training=False))
        present = {column: each["present"] for column, each in features.items()}
        return {**answers, "status": statuses(present, faults)}

    return serve, preprocessor.cells


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorFlow's line about a temporary folder."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_assets(folder: Path, schema: Config, endpoints: Mapping[str, Endpoint]) -> None:
    folder.mkdir()
    # Options of filesystems may hold a password, and a served model reads no files.
    (folder / run_files.SCHEMA).write_text(schema.model_dump_json(indent=1, exclude={"filesystems"}), encoding="utf-8")
    (folder / "signature.json").write_text(
        json.dumps(_signature(schema, endpoints), indent=2, ensure_ascii=False), encoding="utf-8"
    )
    for target, head in walk(schema.targets):
        if classes := getattr(head, "classes", None):
            (folder / f"{target}_labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")


def _signature(schema: Config, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """What a client needs to know, in words: of the endpoint that it gets unless it names one, and of the others."""
    described = {name: _described(schema, endpoint) for name, endpoint in endpoints.items()}
    first, *others = described
    more = {"endpoints": {name: described[name] for name in others}} if others else {}
    return {"signature": "serving_default", **described[first], **more}


def _described(schema: Config, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "inputs": {layer_name(column): _input_description(schema.columns[column]) for column in endpoint.columns},
        "columns": {layer_name(column): column for column in endpoint.columns},
        "outputs": {
            **endpoint.descriptions,
            "status": "(B,) string: ok, or what is missing or bad, such as `bad: photo: truncated JPEG; missing: voice`"
            f"; begins with `{PRIOR}` where every column is, and {endpoint.empty}",
        },
    }


def _input_description(modality: Modality) -> str:
    shape = ", ".join(["B", *("any" if size is None else str(size) for size in modality.cell.shape)])
    return f"({shape}{',' * (shape == 'B')}) {modality.cell_description}"
