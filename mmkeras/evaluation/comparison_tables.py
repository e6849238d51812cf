"""What a comparison of fusions shows: figures by fold, intervals of differences, a choice."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.statistics import interval, resample_weights
from mmkeras.base.terminal import console, say, show_table, warn
from mmkeras.base.words import count_of, words
from mmkeras.contracts.config import Config
from mmkeras.evaluation.trainings import Fold, Judged, set_by_hand
from mmkeras.table.manifest import Manifest
from mmkeras.table.splits import units_of
from mmkeras.training import plots

pd = lazy("pandas")

COLUMNS = (
    "target",
    "metric",
    "model",
    "mean",
    "deviation",
    "low",
    "high",
    "verdict",
    "difference",
    "difference_low",
    "difference_high",
    "valid",
    "weights",
    "seconds",
    "runs",
)
WIDE_COLUMNS = 110  # a terminal that shows every column of the table

Cells = Mapping[str, Mapping[int, np.ndarray]]
"""{model: {fold: (S, 1 + RESAMPLES) figures of its trainings}}: on the judged rows, then on each resample of them."""


# Judging


def tabulate(config: Config, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]) -> pd.DataFrame:
    tables = [_tabulate_target(target, config, manifest, folds, judged) for target in sorted(config.targets)]
    return pd.concat([table for table in tables if table is not None], ignore_index=True)


def _tabulate_target(
    target: str, config: Config, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]
) -> pd.DataFrame | None:
    """One row a model, the best first; None where no judged row has the target."""
    cells: dict[str, dict[int, np.ndarray]] = {}
    for number, fold in enumerate(folds):
        of_fold = [each for each in judged if each.fold == number]
        for model, values in _figures(target, manifest, fold, of_fold, config.split.group, seed=number).items():
            cells.setdefault(model, {})[number] = values
    if not cells:
        warn(f'no judged row has a "{target}"; it is left out')
        return None
    networks = {each.model for each in judged if each.is_network}
    cells = _fair(cells, networks, target)
    rows = [_row(model, [j for j in judged if j.model == model], target, of_model) for model, of_model in cells.items()]
    table = pd.DataFrame(rows).sort_values("mean", ascending=False, kind="stable", ignore_index=True)
    chosen = _choose(table[table["model"].isin(networks)], "mean" if len(folds) > 1 else "valid")
    against = pd.DataFrame([_against(cells[model], cells[chosen], model == chosen) for model in table["model"]])
    table = pd.concat([table, against], axis=1)
    table.insert(0, "metric", next(iter(_score_of(target, manifest, folds, judged))))
    table.insert(0, "target", target)
    return table.reindex(columns=COLUMNS).astype({"weights": "Int64"})


def _figures(
    target: str, manifest: Manifest, fold: Fold, judged: Sequence[Judged], group: str | None, seed: int
) -> dict[str, np.ndarray]:
    """{model: (S, 1 + RESAMPLES)}: a fold's figures on its judged rows, then on resamples, the same for all models."""
    if not judged:
        return {}
    head, is_judged = fold.schema.targets[target], fold.rows("test")
    truth = head.encode_target(manifest.rows[target][is_judged])
    known = np.flatnonzero(head.scorer.known(truth))
    if not len(known):
        return {}
    units = units_of(manifest, group)[is_judged][known]
    parts: list[list[np.ndarray]] = [[] for _ in judged]
    for weights in (np.ones((1, len(known))), *resample_weights(units, seed)):
        for part, each in zip(parts, judged, strict=True):
            scorer, said = each.scorers[target], each.predictions[target][known]
            part.append(next(iter(scorer.resampled(truth[known], said, weights, first_only=True).values())))
    figures: dict[str, list[np.ndarray]] = {}
    for part, each in zip(parts, judged, strict=True):
        figures.setdefault(each.model, []).append(np.concatenate(part))
    return {model: np.array(values) for model, values in figures.items()}


def _score_of(target: str, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]) -> dict[str, float]:
    """The figures of the first training that has any; the first of them is what models are compared by."""
    for each in judged:
        scorer, fold = each.scorers[target], folds[each.fold]
        truth = fold.schema.targets[target].encode_target(manifest.rows[target][fold.rows("test")])
        known = scorer.known(truth)
        if known.any():
            return scorer.score(truth[known], each.predictions[target][known])
    return {}


def _fair(cells: Cells, networks: Collection[str], target: str) -> Cells:
    """The folds in which every network is trained already: figures of other rows would not compare."""
    known = [set(by_fold) for model, by_fold in cells.items() if model in networks]
    shared = set.intersection(*known)
    if not shared or shared == set.union(*known):
        return cells
    warn(f"{target}: shown is what {count_of(len(shared), 'fold')} say in which all these networks are trained already")
    kept = {model: {i: values for i, values in by_fold.items() if i in shared} for model, by_fold in cells.items()}
    return {model: by_fold for model, by_fold in kept.items() if by_fold}


def _row(model: str, judged: Sequence[Judged], target: str, cells: Mapping[int, np.ndarray]) -> dict[str, Any]:
    values, runs = _over_folds(cells), np.concatenate([figures[:, 0] for figures in cells.values()])
    low, high = interval(values[1:])
    networks = [each for each in judged if each.is_network]
    valid = [each.valid[target] for each in networks if target in each.valid]
    return {
        "model": model,
        "mean": values[0],
        "deviation": runs.std(ddof=1) if len(runs) > 1 else np.nan,
        "low": low,
        "high": high,
        "valid": np.mean(valid) if valid else np.nan,
        "weights": max(each.weights for each in networks) if networks else pd.NA,
        "seconds": np.mean([each.seconds for each in networks]) if networks else np.nan,
        "runs": len(runs),
    }


def _over_folds(cells: Mapping[int, np.ndarray], folds: Collection[int] | None = None) -> np.ndarray:
    """(1 + RESAMPLES,) means over folds of means over seeds."""
    return np.mean([values.mean(axis=0) for i, values in cells.items() if folds is None or i in folds], axis=0)


def _choose(networks: pd.DataFrame, by: str) -> str:
    """The network to take: by the rows judged in a cross-validation, else by validation rows, never by a test."""
    figures = networks[by] if networks[by].notna().any() else networks["mean"]
    return networks.loc[figures.idxmax(), "model"]


def _against(cells: Mapping[int, np.ndarray], chosen: Mapping[int, np.ndarray], is_chosen: bool) -> dict[str, Any]:
    """Better, worse or tied, by the interval of the difference on the same resampled rows of the same folds."""
    common = cells.keys() & chosen.keys()
    if is_chosen or not common:
        return {"verdict": "chosen" if is_chosen else ""}
    difference = _over_folds(cells, common) - _over_folds(chosen, common)
    low, high = interval(difference[1:])
    verdict = "worse" if high < 0 else "better" if low > 0 else "tied"
    return {"verdict": verdict, "difference": difference[0], "difference_low": low, "difference_high": high}


# What a person sees


def show(target: str, part: pd.DataFrame, folder: Path, folds: int, seeds: int) -> None:
    metric = words(part["metric"].iloc[0])
    where = "the test rows" if folds == 1 else count_of(folds, "fold")
    title = f"{target}: {metric} on {where}, {count_of(seeds, 'seed')}"
    header, rows = _lines(part, metric, folds)
    show_table(title, header, rows)
    say(
        f"chosen: the best network{' on the validation rows' * (folds == 1)}; better, worse: than the chosen one, by "
        "the 95 % interval of the difference; tied: that interval holds 0"
    )
    picture = folder / f"comparison_{target}.png"
    plots.draw_comparison(
        part["model"].tolist(),
        part["mean"].to_numpy(),
        part[["low", "high"]].to_numpy(),
        part["verdict"].tolist(),
        metric,
        f"{title}\nmean and 95 % interval",
        picture,
    )
    say(f"table: {folder / 'comparison.csv'}; picture: {picture}")


def _lines(part: pd.DataFrame, metric: str, folds: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """The header and the rows of the table that is shown; a narrow terminal gets the columns that matter most."""
    is_wide = console.width >= WIDE_COLUMNS
    between = " to " if is_wide else "…"
    shown = {
        "model": part["model"],
        metric: [f"{value:.3f}" for value in part["mean"]],
        "95 %": [_range(*pair, "", between) for pair in part[["low", "high"]].to_numpy()],
        "beside the chosen": [_mark(row, between) for _, row in part.iterrows()],
    }
    if folds == 1:
        shown["validation"] = [_number(value, ".3f") for value in part["valid"]]
    if is_wide:
        if part["runs"].max() > 1:
            shown["deviation"] = [_number(value, ".3f") for value in part["deviation"]]
        shown["weights"] = [_number(value, ",.0f") for value in part["weights"]]
        shown["seconds"] = [_number(value, ".0f") for value in part["seconds"]]
    return list(shown), list(zip(*shown.values(), strict=True))


def _mark(row: pd.Series, between: str) -> str:
    if row["verdict"] in ("chosen", ""):
        return row["verdict"]
    return f"{row['verdict']:<6} {_range(row['difference_low'], row['difference_high'], '+', between)}"


def _range(low: float, high: float, sign: str, between: str) -> str:
    return f"{low:{sign}.3f}{between}{high:{sign}.3f}"


def _number(value: Any, style: str) -> str:
    return "" if pd.isna(value) else f"{value:{style}}"


def say_next(target: str, part: pd.DataFrame, variants: Mapping[str, Config], command: str) -> None:
    """What to do with it, and what speaks against it."""
    chosen = part[part["verdict"] == "chosen"].iloc[0]
    variant, name = variants.get(chosen["model"]), chosen["model"]
    if variant is None:
        return
    if name.endswith(" alone"):
        [column] = variant.columns
        say(f"Next: {column} alone is as good as all columns: leave the others out, or find out what is wrong in them")
    else:
        settings = [f"fusion.{k}={json.dumps(v)}" for k, v in set_by_hand(variant.fusion).items() if k != "type"]
        say(f"Next: {command} {shlex.join([f'fusion.type={name}', *settings])}")
    tied = part[(part["verdict"] == "tied") & (part["weights"] < chosen["weights"])]
    if len(tied):
        names = ", ".join(
            f"{model} ({_number(weights, ',.0f')})" for model, weights in tied[["model", "weights"]].values
        )
        say(f"Tied with {name} ({chosen['weights']:,} weights) and smaller: {names}")
    better = part[(part["verdict"] == "better") & part["weights"].isna()]
    if len(better):
        warn(f"{target}: {better['model'].iloc[0]} is better than {name}, the best network")
