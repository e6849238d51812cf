"""Answers for the rows of a table, as a frame or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import named_answers
from mmkeras.network.inference import predict_rows, warn_of_outside
from mmkeras.network.network import Network
from mmkeras.table.manifest import Manifest, require_columns

pd = lazy("pandas")


def answer_rows(network: Network, schema: Config, manifest: Manifest, output: Path | None = None) -> pd.DataFrame:
    """One line a row, in the table's order: its number, what each target's head says, and a status.

    Args:
        network: Trained, of the schema's columns and targets.
        schema: Fitted.
        manifest: The rows.
        output: Where to write them too (.csv).

    Raises:
        ValueError: The table lacks a column.
    """
    require_columns(manifest, schema.columns)
    predictions, statuses = predict_rows(network, schema, manifest)
    warn_of_outside(statuses)
    answers = {name: np.asarray(values) for name, values in named_answers(schema.targets, predictions).items()}
    columns = {name: _as_text(values) for name, values in answers.items() if values.ndim == 1}
    table = pd.DataFrame({"row": range(1, len(statuses) + 1), **columns, "status": statuses})
    if output is None:
        say(f"{len(table)} answers: {_counts(statuses)}; -o FILE writes them")
    else:
        table.to_csv(output, index=False)
        say(f"{len(table)} answers in {output}: {_counts(statuses)}")
    return table


def _counts(statuses: pd.Series) -> str:
    kinds = statuses.str.extract(r"^(\w+)", expand=False).value_counts()
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _as_text(values: Any) -> Any:
    return [value.decode("utf-8") for value in values] if values.dtype == object else values
