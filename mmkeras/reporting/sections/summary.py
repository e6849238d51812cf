"""The page's first part: how good, in a sentence and tiles."""

from __future__ import annotations

from typing import Any

from mmkeras.reporting.results import Results
from mmkeras.reporting.summary import cautions, sentence, tiles


def summary_part(results: Results) -> dict[str, Any]:
    return {
        "sentence": sentence(results),
        "tiles": {target: tiles(results, target) for target in results.targets},
        "cautions": cautions(results),
    }
