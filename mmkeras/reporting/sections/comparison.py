"""Two runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from markupsafe import Markup

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import Component
from mmkeras.contracts.config import Config
from mmkeras.contracts.registry import walk
from mmkeras.evaluation.models import OWN
from mmkeras.reporting import charts
from mmkeras.reporting.charts import Axes, Line
from mmkeras.reporting.gallery import target_rows
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import finite, flattened, range_of, shapley_bars, shown_curves
from mmkeras.reporting.sections.target import NOT_THERE
from mmkeras.reporting.summary import form_of, metric_words

pd = lazy("pandas")

COMPONENTS = ("columns", "fusion", "targets")


def comparison_part(every: Sequence[Results]) -> dict[str, Any]:
    """Several runs side by side; the first is the page's own."""
    names = _names(every)
    targets = [target for target in every[0].targets if any(target in other.targets for other in every[1:])]
    return {
        "names": names,
        "results": every,
        "targets": [_compared_target(target, every) for target in targets],
        "settings": _different_settings(every),
        "curves": _overlaid(every, names),
        "disagreements": [_disagreement(target, every, names) for target in targets],
    }


# Several runs


def _names(every: Sequence[Results]) -> list[str]:
    """Folder names, whole paths where they are not distinct."""
    names = [results.run.name for results in every]
    return names if len(set(names)) == len(names) else [str(results.run.folder) for results in every]


def _compared_target(target: str, every: Sequence[Results]) -> dict[str, Any]:
    there = [results for results in every if target in results.targets]
    metrics = list(dict.fromkeys(name for each in there for name in each.scores(target)[OWN]))
    first = every[0].targets[target]["metric"]
    values = [results.scores(target)[OWN].get(first) for results in there]
    columns = sorted({column for results in there for column in results.columns})
    return {
        "name": target,
        "metrics": [(name, metric_words(name), form_of(name)) for name in metrics],
        "first": first,
        "best": max(value for value in values if value is not None),
        "range": _joint_range([range_of(each.targets[target], first) for each in there]),
        "columns": columns,
        "has_shapley": any(results.explanation and results.explanation.at("targets", target) for results in every),
        "most": max([(shapley_bars(each, target) or {}).get("most", 0) for each in there] or [1]),
    }


def _joint_range(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _different_settings(every: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """(dotted name, its value in each run) of the settings in which the runs' configs differ.

    Of a column, target or fusion that not all runs have of one type, the type alone.
    """
    configs = [results.run.config for results in every]
    parts = [_components(config) for config in configs]
    settings: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for each in parts for name in each):
        there = [each.get(name) for each in parts]
        types = [part.type_name() if part else NOT_THERE for part in there]
        settings[name] = types
        if len(set(types)) == 1:
            settings |= _side_by_side([flattened(part.settings(), f"{name}.") for part in there])
    settings |= _side_by_side(
        [flattened(config.model_dump(mode="json", exclude={*COMPONENTS, "filesystems"})) for config in configs]
    )
    return [(name, values) for name, values in settings.items() if len(set(values)) > 1]


def _side_by_side(every: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """{name: its value in each}: not all need to have it, as when encoders differ."""
    names = dict.fromkeys(name for each in every for name in each)
    return {name: [each.get(name, NOT_THERE) for each in every] for name in names}


def _components(config: Config) -> dict[str, Component]:
    """Columns, fusion and targets by their dotted names."""
    columns = {f"columns.{column}": modality for column, modality in walk(config.columns)}
    return columns | {"fusion": config.fusion} | {f"targets.{target}": head for target, head in walk(config.targets)}


def _overlaid(every: Sequence[Results], names: Sequence[str]) -> list[Markup]:
    """Figures on the validation rows of all runs, where at least two have them."""
    curves = [shown_curves(results) for results in every]
    drawn = []
    for title in curves[0]:
        lines = [
            Line(name, list(range(1, len(numbers) + 1)), finite(numbers))
            for name, results, pairs in zip(names, every, curves, strict=True)
            if pairs.get(title) == curves[0][title] and (numbers := results.history[pairs[title][1]])
        ]
        if len(lines) > 1:
            epochs = max(2, *(len(line.x) for line in lines))
            axes = Axes("epoch", "", x_range=(1, epochs), is_whole=True)
            drawn.append(charts.chart(f"{metric_words(title)}, validation rows", lines, axes))
    return drawn


def _disagreement(target: str, every: Sequence[Results], names: Sequence[str]) -> dict[str, Any]:
    """How often each two runs answer differently, where both were judged on the same rows."""
    pairs = []
    for i, j in combinations(range(len(every)), 2):
        joined = _same_rows(every[i], every[j], target)
        if joined is None:
            pairs.append({"names": (names[i], names[j]), "rows": 0})
            continue
        first, second = joined["right_a"] == True, joined["right_b"] == True  # noqa: E712
        pairs.append({
            "names": (names[i], names[j]),
            "rows": len(joined),
            "differ": int((joined["answer_a"].astype(str) != joined["answer_b"].astype(str)).sum()),
            "only_first": int((first & ~second).sum()),
            "only_second": int((second & ~first).sum()),
            "knows_right": bool(joined["right_a"].notna().any()),
        })  # fmt: skip
    return {"target": target, "pairs": pairs}


def _same_rows(first: Results, second: Results, target: str) -> pd.DataFrame | None:
    """Both runs' answers to the rows that both were judged on; None where there are none."""
    if target not in first.targets or target not in second.targets or _table_of(first) != _table_of(second):
        return None
    both = []
    for results in (first, second):
        mine = target_rows(results.rows, target)
        both.append(mine.set_index(results.numbers_in_table(np.arange(len(mine)))))
    joined = both[0].join(both[1], lsuffix="_a", rsuffix="_b", how="inner")
    return joined if len(joined) else None


def _table_of(results: Results) -> str:
    """What tells one judged table from another."""
    return results.evaluation.at("rows", "table") or results.identity.get("sha256", "")
