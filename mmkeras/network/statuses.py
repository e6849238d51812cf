"""What a row's status says: which cells are missing or bad. Prediction and the exported model ask the same function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmkeras.base.lazy import lazy

tf = lazy("tensorflow")

PRIOR = "prior"  # the first word of the status of a row that has no cell to predict from


def statuses(present: Mapping[str, Any], faults: Mapping[str, Any]) -> Any:
    """(B,) strings: `ok`, or `bad: photo: truncated JPEG; missing: voice`, column by column in sorted order.

    Args:
        present: {column: (B,) 1 where the cell is there, 0 where it is missing or bad}.
        faults: {column: (B,) strings, what is wrong with the cell, "" where it is good or missing}.
    """
    words, given = "", 0.0
    for column in sorted(present):
        word = tf.where(faults[column] == "", f"; missing: {column}", f"; bad: {column}: " + faults[column])
        words += tf.where(present[column] > 0, "", word)
        given += present[column]
    words = tf.where(words == "", "ok", tf.strings.regex_replace(words, "^; ", ""))
    return tf.where(given > 0, words, PRIOR + "; " + words)
