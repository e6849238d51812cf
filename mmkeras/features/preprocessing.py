"""One row of cells to features: the function that training, prediction and the exported model share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmkeras.base.lazy import lazy
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import layer_name, walk

if TYPE_CHECKING:
    import tensorflow as tf_types

tf = lazy("tensorflow")


class Preprocessor:
    """Features of rows, column by column.

    Args:
        columns: Adapted modalities by column.
    """

    def __init__(self, columns: Mapping[str, Modality]):
        self.columns = dict(walk(columns))

    @property
    def cells(self) -> dict[str, tf_types.TensorSpec]:
        """What a batch of rows looks like: {column: (B,) strings}."""
        return {
            column: tf.TensorSpec((None, *modality.cell.shape), modality.cell.dtype, name=layer_name(column))
            for column, modality in self.columns.items()
        }

    def __call__(self, cells: Mapping[str, tf_types.Tensor]) -> dict[str, dict[str, tf_types.Tensor]]:
        """{column: (B,) cells} -> {column: {feature: (B, …)}}; each row as if it were alone."""
        return self.examine(cells)[0]

    def examine(
        self, cells: Mapping[str, tf_types.Tensor]
    ) -> tuple[dict[str, dict[str, tf_types.Tensor]], dict[str, tf_types.Tensor]]:
        """{column: {feature: (B, …)}} and {column: (B,) strings}: a cell's fault, "" where it is good or missing."""
        examined = {
            column: tf.map_fn(
                modality.examine,
                cells[column],
                fn_output_signature=(modality.features, tf.TensorSpec((), tf.string)),
            )
            for column, modality in self.columns.items()
        }
        return {column: features for column, (features, _) in examined.items()}, {
            column: fault for column, (_, fault) in examined.items()
        }
