"""What a run shows in TensorBoard beside its scalars: graph, right and wrong answers epoch by epoch, vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import FUSED
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.features.batches import Source
from mmkeras.network.inference import concatenated, forward
from mmkeras.table.manifest import Manifest
from mmkeras.training import plots

if TYPE_CHECKING:
    import keras as keras_types

    from mmkeras.training.callbacks import Seen

pd = lazy("pandas")
callbacks = lazy("mmkeras.training.callbacks")

Step = Callable[[Any], dict[str, Any]]
MOST_VECTORS = 5000  # more are slow in a browser
MOST_CHARACTERS = 100
JUDGED = ("test", "valid")
VERDICTS = ("right", "wrong")
# Ends of lines and of cells, as any reader may take them, and what no reader shows
UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def watcher(
    folder: Path,
    graph: Any,
    heads: Mapping[str, Head],
    seen: Mapping[str, Seen],
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]],
    split: pd.Series,
) -> keras_types.callbacks.Callback:
    """Watches a training: the model's graph, and what each head draws of right and wrong answers.

    Args:
        folder: Of the event files.
        graph: Of the model.
        heads: Adapted heads by target.
        seen: What holds the epoch's predictions of the validation rows, by target.
        targets: {target: (encoded (N, …), weights (N,))} of the whole table.
        split: Of each row.
    """
    rows = np.flatnonzero(split == "valid")
    truth = {target: targets[target][0][rows[:: held.step]] for target, held in seen.items()}
    return callbacks.BoardWriter(folder, graph, partial(_pictures, heads, seen, truth))


def write_vectors(folder: Path, step: Step, schema: Config, features: Source, manifest: Manifest, split: pd.Series):
    """Writes the fused vectors of test and validation rows for TensorBoard's projector, evenly spaced if too many.

    Args:
        folder: One with event files; gets projector_config.pbtxt, vectors.tsv and metadata.tsv.
        step: A network's, with `FUSED` among its outputs.
        schema: Fitted.
        features: Of the whole table.
        manifest: The table.
        split: Of each row.
    """
    every = -(-int(split.isin(JUDGED).sum()) // MOST_VECTORS)
    parts = [part for name in JUDGED if len(part := np.flatnonzero(split == name)[::every])]
    # One split after the other, since shards are read so
    outputs = concatenated([forward(step, features, part, [FUSED, *schema.targets]) for part in parts])
    rows = np.concatenate(parts)
    told: list[tuple[str, Sequence[Any]]] = []
    for target, head in walk(schema.targets):
        told += _answers(target, head, manifest.rows[target].iloc[rows].reset_index(drop=True), outputs[target])
    told += [("split", split.to_numpy()[rows]), ("row", rows + 1)]  # the projector colours by the first column
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "vectors.tsv", outputs[FUSED], "%.5g", "\t")
    _write_table(folder / "metadata.tsv", told)
    (folder / "projector_config.pbtxt").write_text(
        "embeddings {\n"
        '  tensor_name: "fused vector"\n'
        '  tensor_path: "vectors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n'
        "}\n"
    )


def _pictures(
    heads: Mapping[str, Head], seen: Mapping[str, Seen], truth: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """{answers/TARGET: picture} of the rows whose target is known."""
    pictures = {}
    for target, held in sorted(seen.items()):
        known = heads[target].scorer.known(truth[target])
        if known.any():
            answers = truth[target][known], held.predictions[known]
            title = f"{target}, {known.sum()} valid rows"
            pictures[f"answers/{target}"] = plots.picture_of_answers(heads[target].scorer, *answers, title)
    return pictures


def _answers(target: str, head: Head, cells: pd.Series, predictions: np.ndarray) -> list[tuple[str, Sequence[Any]]]:
    """What is known of each row, what is answered, and whether that is right, where a target is classes."""
    scorer, truth = head.scorer, head.encode_target(cells)
    told = [(target, cells), (f"{target} answer", scorer.answer_texts(predictions))]
    known = scorer.known(truth)
    is_right = scorer.right(truth[known], predictions[known])
    if is_right is None:
        return told
    verdicts = np.full(len(cells), "", object)
    verdicts[known] = np.where(is_right, *VERDICTS)
    return [*told, (f"{target} right", verdicts)]


def _write_table(path: Path, columns: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """Tab-separated without any quotes, which the projector does not know."""
    names, values = zip(*columns, strict=True)
    lines = [names, *zip(*values, strict=True)]
    path.write_text("".join("\t".join(map(_shown, line)) + "\n" for line in lines), encoding="utf-8", newline="\n")


def _shown(cell: Any) -> str:
    plain = UNSHOWABLE.sub(" ", str(cell))
    return plain if len(plain) <= MOST_CHARACTERS else plain[: MOST_CHARACTERS - 1] + "…"
