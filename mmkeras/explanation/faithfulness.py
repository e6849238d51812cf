"""Whether an attribution is to be believed: what happens if the model loses what it points at, or was never trained.

References:
    Samek et al., Evaluating the Visualization of What a Deep Neural Network Has Learned, 2015, arXiv:1509.06321
    (deletion); Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292 (random weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmkeras.contracts.modality import Modality
from mmkeras.explanation.attribution import Asked, Averaged, parts_of

POINTS = 9  # of a deletion curve
RANDOM_ORDERS = 8
MOST_LIKE_UNTRAINED = 0.5  # rank correlation; above, an explanation hardly shows what was learned
IDLE = 0.01  # of the unit: a column whose content moves predictions by less has nothing to be found
FEWEST_PLACES = 3  # of a cell that has an order to be compared


@dataclass(frozen=True)
class Deletion:
    """The explained quantity of (R,) rows as a column's cells lose part after part.

    Attributes:
        attribution: (9, R) with the most important parts deleted first; the last one of everything.
        random: (9, R) the mean over random orders.
    """

    attribution: np.ndarray
    random: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Under the two curves; the first is the smaller one if the attribution is right."""
        return float(_area(self.attribution).mean()), float(_area(self.random).mean())

    @property
    def change(self) -> float:
        """How much deleting everything moves the explained quantity, as a mean amount."""
        return float(np.abs(self.attribution[0] - self.attribution[-1]).mean())


def delete(
    prepared: Averaged, asked: Asked, attributions: np.ndarray, is_real: np.ndarray, terms: Any = 0.0, seed: int = 0
) -> Deletion:
    """Deletes a column's parts, most important first and in random orders.

    Args:
        prepared: (R) rows that have the column.
        asked: What is explained of them.
        attributions: (R, *attribution) what is to be judged.
        is_real: (R, *attribution) whether something of the cell is there.
        terms: (R,) what is added to f to give it its unit.
        seed: Of the random orders.
    """
    blocks = parts_of(is_real.shape[1:])
    weights, real = _by_block(attributions, blocks), _by_block(is_real, blocks) > 0
    rng = np.random.default_rng(seed)
    others = [_curve(prepared, asked, blocks, real, rng.random(weights.shape)) for _ in range(RANDOM_ORDERS)]
    return Deletion(terms + _curve(prepared, asked, blocks, real, -weights), terms + np.mean(others, axis=0))


def verdict(deletions: Sequence[Deletion], correlations: Sequence[float], scale: float) -> dict[str, Any]:
    """What `explanation.json` says of one column and method, and what is wrong with it in words.

    Args:
        deletions: Of rows; none where a cell has no parts.
        correlations: With an untrained model's, of each row that has one.
        scale: How much of the explained quantity's unit is 1: a probability's whole, a number's deviation.
    """
    correlation = float(np.mean(correlations)) if correlations else np.nan
    faults = []
    if correlation > MOST_LIKE_UNTRAINED:
        faults.append(
            f"a model that was never trained is explained much alike (rank correlation {correlation:.2f}); it shows "
            "the cell more than what was learned of it"
        )
    deletion = joined(deletions) if deletions else None
    if deletion and deletion.areas[0] >= deletion.areas[1] and deletion.change > IDLE * scale:
        first, chance = deletion.areas
        faults.append(
            f"deleting what it points at (area {first:.3f}) lowers the answer no faster than deleting at random "
            f"({chance:.3f}); do not rely on it"
        )
    told = _told(deletion) if deletion else None
    return {"deletion": told, "random_weights": {"rank_correlation": correlation}, "faults": faults}


def joined(parts: Sequence[Deletion]) -> Deletion:
    """Those of some rows and those of others."""
    sides = zip(*((each.attribution, each.random) for each in parts), strict=True)
    return Deletion(*(np.concatenate(side, axis=1) for side in sides))


def there(modality: Modality, features: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """(R, *attribution) bool: where a cell's content differs from the baseline, so that it can be deleted."""
    is_there = features[modality.content] != 0
    extra = is_there.ndim - 1 - len(shape)
    return is_there.any(axis=tuple(range(is_there.ndim - extra, is_there.ndim))) if extra else is_there


def rank_correlations(first: np.ndarray, second: np.ndarray, is_real: np.ndarray) -> list[float]:
    """Of rows, Spearman's correlation of two attributions' amounts, (R, …) each; a row without any is left out.

    They are compared part by part, as they are deleted: single pixels follow the picture whatever the model has
    learned, since each one's attribution is a product with the pixel. Only parts of which something is there count.
    """
    from scipy.stats import spearmanr

    blocks = parts_of(is_real.shape[1:])
    amounts = [np.abs(_by_block(values, blocks)) for values in (first, second)]
    correlations = []
    for one, other, real in zip(*amounts, _by_block(is_real, blocks) > 0, strict=True):
        one, other = one[real], other[real]
        if one.size >= FEWEST_PLACES and np.ptp(one) and np.ptp(other):
            correlations.append(float(spearmanr(one, other).statistic))
    return correlations


def _told(deletion: Deletion) -> dict[str, Any]:
    """As `explanation.json` has it."""
    first, chance = deletion.areas
    return {
        "most_important_first": first,
        "random": chance,
        "curve": {
            "share": np.linspace(0, 1, POINTS).tolist(),
            "attribution": deletion.attribution.mean(axis=1).tolist(),
            "random": deletion.random.mean(axis=1).tolist(),
        },
        "rows": deletion.attribution.shape[1],
        "change": deletion.change,
    }


def _curve(prepared: Averaged, asked: Asked, blocks: np.ndarray, real: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(9, R) f as the blocks with the lowest numbers of `order` (R, blocks) go first; only real blocks count."""
    ranks = np.where(real, order, np.inf).argsort(axis=1).argsort(axis=1)
    counts = real.sum(axis=1)
    deleted = np.round(np.linspace(0, 1, POINTS)[:, np.newaxis] * counts)  # (9, R)
    kept = ranks[np.newaxis] >= deleted[..., np.newaxis]  # (9, R, blocks)
    kept[-1] = False
    return prepared.kept(asked, kept[..., blocks])


def _by_block(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """(R, *attribution) -> (R, blocks) sums."""
    flat = values.reshape(len(values), -1)
    count = blocks.max(initial=0) + 1
    return np.stack([np.bincount(blocks.ravel(), row, count) for row in flat])


def _area(curve: np.ndarray) -> Any:
    """Under a curve over its first axis, whose points lie evenly between 0 and 1."""
    return ((curve[1:] + curve[:-1]) / 2).mean(axis=0)
