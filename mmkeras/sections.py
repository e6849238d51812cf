"""The parts of a run's page, each a dict for its template in `templates/`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mmkeras import charts
from mmkeras.charts import Axes, Line
from mmkeras.component import Component, own_prediction, walk
from mmkeras.config import Config
from mmkeras.gallery import lists, target_rows
from mmkeras.results import CHECKED, OWN, Results
from mmkeras.summary import (
    METRICS,
    ONLY,
    WITHOUT,
    best_other,
    cautions,
    form_of,
    metric_words,
    prior_name,
    sentence,
    tiles,
)

SPLITS = ("train", "valid", "test", "unused")
CLASSES_SHOWN = 30  # of the table of counts
MATRIX_CLASSES = 20  # a wider confusion matrix cannot be read
PATTERNS_SHOWN = 12
CELLS_SHOWN = 20
PAIRS_SHOWN = 10
CURVES_SHOWN = charts.COLORS
OTHERS, NOT_THERE = "all others", "not there"
COMPONENTS = ("columns", "fusion", "targets")
UNIT = (0.0, 1.0)


def summary_part(results: Results) -> dict[str, Any]:
    return {
        "sentence": sentence(results),
        "tiles": {target: tiles(results, target) for target in results.targets},
        "cautions": cautions(results),
    }


def model_part(results: Results) -> dict[str, Any]:
    """What the model is, and what it was trained on."""
    schema, training = results.schema, results.metrics.at("training") or {}
    named = [(column, schema.columns[column].type_name()) for column in results.columns]
    heads = [(target, head.type_name()) for target, head in results.heads.items()]
    counts = results.splits.value_counts()
    return {
        "flow": charts.flow(named, schema.fusion.type_name(), heads),
        "columns": [(column, kind, _changed(schema.columns[column])) for column, kind in named],
        "fusion": (schema.fusion.type_name(), _changed(schema.fusion)),
        "targets": [(target, kind, _changed(results.heads[target])) for target, kind in heads],
        "splits": {split: int(counts[split]) for split in SPLITS if split in counts},
        "has_training": bool(training),
        "date": results.origin.get("date") or _date(results),
        "table": results.identity.get("path") or "a DataFrame, kept in the run folder",
        "picture": _picture(results),
    }


def data_part(results: Results) -> dict[str, Any]:
    """Counts, gaps and problems of the whole table."""
    manifest, splits = results.own_table, results.splits
    found: dict[str, Any] = {"absent": results.absent, "classes": {}, "numbers": {}, "patterns": [], "splits": []}
    if manifest is not None and len(splits) == len(manifest.rows):
        found["splits"] = [split for split in SPLITS if (splits == split).any()]
        for target in results.heads:
            _count_target(found, results, target)
        found["patterns"] = _patterns(manifest.rows[results.columns], splits, found["splits"])
    found["bad_cells"] = _first_rows(results.table_file("bad_rows.csv"))
    found["problems"] = _first_rows(results.table_file(CHECKED))
    return found


def training_part(results: Results) -> dict[str, Any]:
    """Curves of losses and metrics, on training and on validation rows."""
    return {"charts": [_curve(title, names, results) for title, names in _shown_curves(results).items()]}


def target_part(results: Results, target: str) -> dict[str, Any]:
    """How good the answers to one target are."""
    found, metric = results.targets[target], results.targets[target]["metric"]
    models = [name for name in found["scores"] if not name.startswith((WITHOUT, ONLY)) and found["scores"][name]]
    metrics = list(dict.fromkeys(name for model in models for name in found["scores"][model]))
    return {
        "name": target,
        "found": found,
        "metric": metric,
        "models": models,
        "metrics": [(name, metric_words(name), METRICS.get(name, ""), form_of(name)) for name in metrics],
        "prior": {} if prior_name(results, target) else results.prior_scores[target],
        "range": _range_of(found, metric),
        "matrix": _matrix(found.get("confusion")),
        "per_class": found.get("per_class") or [],
        "slices": found.get("slices") or {},
        "patterns": found.get("patterns") or [],
        "reliability": _reliability(found.get("calibration")),
        "coverage": _coverage(found.get("coverage")),
        "curves": _ranking(found.get("curves")),
        "scatter": _scatter(found.get("numbers"), target),
        "lists": lists(target_rows(results.rows, target)),
    }


def columns_part(results: Results) -> list[dict[str, Any]]:
    """What each column is worth, target by target, and how far the explanations can be trusted."""
    return [
        {"target": target, "missing": _missing(results, target), "shapley": _shapley(results, target)}
        for target in results.targets
    ]


def checks_part(results: Results) -> list[dict[str, Any]]:
    """What was found when explanations were tested: one entry a column and method."""
    if not results.explanation:
        return []
    return [
        {
            "column": column,
            "method": method,
            "deletion": (checks or {}).get("deletion") or {},
            "chart": _deletion(column, method, (checks or {}).get("deletion") or {}),
        }
        for column, methods in sorted((results.explanation.at("checks") or {}).items())
        for method, checks in (methods or {}).items()
    ]


def reproduce_part(results: Results, others: Sequence[Results], explains: bool) -> dict[str, Any]:
    """Commands and versions that give the same run and page again."""
    folder = results.run.folder
    by = [part for column in results.evaluation.at("rows", "by") or [] for part in ("--by", _quoted(column))]
    table = results.evaluation.at("rows", "table")
    is_beside = any(best_other(results, target) for target in results.targets)
    evaluated = [*([_quoted(table)] if table else []), *(["--baselines"] if is_beside else []), *by]
    compared = [part for other in others for part in ("--compare", _quoted(other.run.folder))]
    has_table = results.identity.get("path") is not None
    override = [] if has_table else [f"manifest={_quoted(folder / 'table.parquet')}"]
    commands = [
        ["train", _quoted(folder / "config.yaml"), *override, "--run", _quoted(f"{folder}-again")],
        ["evaluate", _quoted(folder), *evaluated],
        *([["explain", _quoted(folder)]] if results.explanation else []),
        ["report", _quoted(folder), *compared, *([] if explains else ["--no-explain"])],
    ]
    return {
        "commands": [" ".join(["python -m", f"mmkeras.{name}", *rest]) for name, *rest in commands],
        "origin": results.origin,
        "identity": results.identity,
        "config": (folder / "config.yaml").read_text(encoding="utf-8"),
    }


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


# The model


def _changed(component: Component) -> list[tuple[str, str]]:
    """Settings that are not their defaults."""
    defaults = {name: field.default for name, field in type(component).model_fields.items()}
    return [
        (name, str(value))
        for name, value in component.settings().items()
        if name in defaults and value != _plain(defaults[name])
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _date(results: Results) -> str:
    file = results.run.folder / "metrics.json"
    return datetime.fromtimestamp(file.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _picture(results: Results) -> Markup | None:
    """model.png as a data URI."""
    file = results.run.folder / "model.png"
    if not file.is_file():
        return None
    return Markup(f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}")


# The data


def _count_target(found: dict[str, Any], results: Results, target: str) -> None:
    """Adds a target's counts per class and split, or the spread of its numbers."""
    manifest = results.own_table
    if target not in manifest.rows:
        return
    values, head = manifest.rows[target], results.heads[target]
    named = head.named_classes(values)
    if named is not None:
        found["classes"][target] = _class_counts(named, results.splits, found["splits"])
        return
    numbers = pd.to_numeric(values, errors="coerce")
    parts = {split: numbers[(results.splits == split).to_numpy()].dropna() for split in found["splits"]}
    found["numbers"][target] = {split: part.describe().to_dict() for split, part in parts.items() if len(part)}


def _class_counts(named: pd.Series, splits: pd.Series, shown: Sequence[str]) -> dict[str, Any]:
    """The most frequent classes first: {"rows": [(class, [count of each split], all)], "more": how many classes}."""
    table = pd.crosstab(named.to_numpy(), splits.to_numpy()[named.index]).reindex(columns=shown, fill_value=0)
    totals = table.sum(axis=1).sort_values(ascending=False, kind="stable")
    rows = [(name, [int(n) for n in table.loc[name]], int(totals[name])) for name in totals.index[:CLASSES_SHOWN]]
    return {"rows": rows, "more": len(totals) - len(rows), "most": int(totals.iloc[0]) if len(totals) else 0}


def _patterns(cells: pd.DataFrame, splits: pd.Series, shown: Sequence[str]) -> list[tuple[list[str], list[int], int]]:
    """(columns that are missing, rows of each split, of all) of the most frequent patterns of missing cells."""
    is_missing = cells.apply(lambda values: values.str.strip() == "")
    names = np.array(cells.columns, dtype=object)
    codes = is_missing.to_numpy() @ (1 << np.arange(len(names), dtype=object)) if len(names) else np.zeros(len(cells))
    table = pd.crosstab(np.asarray(codes, dtype=object), splits.to_numpy()).reindex(columns=shown, fill_value=0)
    totals = table.sum(axis=1).sort_values(ascending=False, kind="stable")
    return [
        (
            [str(name) for i, name in enumerate(names) if int(code) >> i & 1],
            [int(n) for n in table.loc[code]],
            int(totals[code]),
        )
        for code in totals.index[:PATTERNS_SHOWN]
    ]


def _first_rows(table: pd.DataFrame | None) -> dict[str, Any] | None:
    if table is None:
        return None
    return {"header": list(table.columns), "rows": table.head(CELLS_SHOWN).values.tolist(), "count": len(table)}


# The training


def _shown_curves(results: Results) -> dict[str, tuple[str, str]]:
    """{title: (name on training rows, on validation rows)} of the history's figures, without those of single columns.

    A single target's own loss is shown, not the sum of it and the columns'; `val_loss` is what chooses the epoch.
    """
    history, targets = results.history, list(results.heads)
    owns = tuple(own_prediction(target, column) for target in targets for column in results.columns)
    names = [name for name in history if f"val_{name}" in history and not name.startswith(owns)]
    losses = [f"{target}_loss" for target in targets if f"{target}_loss" in names]
    if losses and "loss" in names:
        names.remove("loss")
    pairs = {name: (name, f"val_{name}") for name in names}
    if len(targets) == 1 and losses and "val_loss" in history:
        pairs[losses[0]] = losses[0], "val_loss"
    titles = {name: name.removeprefix(f"{targets[0]}_") if len(targets) == 1 else name for name in pairs}
    order = sorted(pairs, key=lambda name: (not titles[name].endswith("loss"), name))
    return {titles[name]: pairs[name] for name in order}


def _curve(title: str, names: tuple[str, str], results: Results) -> Markup:
    trained, judged = (_finite(results.history[name]) for name in names)
    epochs = list(range(1, len(trained) + 1))
    best = results.metrics.at("training", "best_epoch")
    lines = [
        Line("training rows (augmented)", epochs, trained, style="dashed"),
        Line("validation rows", epochs, judged),
    ]
    axes = Axes(
        "epoch",
        "",
        x_range=(1, max(len(epochs), 2)),
        marks=[(best, f"best: epoch {best}")] if best else [],
        is_whole=True,
    )
    return charts.chart(metric_words(title), lines, axes)


def _finite(numbers: Sequence[float | None]) -> list[float | None]:
    return [number if number is not None and np.isfinite(number) else None for number in numbers]


# A target's results


def _range_of(found: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """From where to where intervals of a metric are drawn."""
    ends = [end for each in (found.get("intervals") or {}).values() for end in (each or {}).get(metric) or []]
    values = [each[metric] for each in found["scores"].values() if (each or {}).get(metric) is not None]
    known = [value for value in [*ends, *values] if value is not None]
    if known and min(known) >= 0 and max(known) <= 1:
        return UNIT
    return (min(known), max(known)) if known else UNIT


def _matrix(confusion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The confusion matrix, of the classes with the most rows where there are too many to read."""
    if not confusion:
        return None
    classes, counts = list(confusion["classes"]), np.array(confusion["counts"], int)
    if not counts.size:
        return None
    pairs = _confused_pairs(classes, counts)
    left_out = len(classes) - MATRIX_CLASSES
    if left_out > 0:
        kept = np.sort(np.argsort(-(counts.sum(axis=0) + counts.sum(axis=1)), kind="stable")[:MATRIX_CLASSES])
        classes, counts = _gathered(classes, counts, kept)
    return {"classes": classes, "counts": counts.tolist(), "left_out": max(left_out, 0), "pairs": pairs}


def _gathered(classes: Sequence[str], counts: np.ndarray, kept: np.ndarray) -> tuple[list[str | None], np.ndarray]:
    """Every class that is not kept as one more, named None."""
    place = np.full(len(classes), len(kept))
    place[kept] = np.arange(len(kept))
    found = np.zeros((len(kept) + 1, len(kept) + 1), int)
    np.add.at(found, (place[:, None], place[None, :]), counts)
    return [*(classes[i] for i in kept), None], found


def _confused_pairs(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, str, int]]:
    """(truth, answer, rows) of the most frequent mistakes."""
    off = counts * (1 - np.eye(len(classes), dtype=int))
    best = np.argsort(-off, axis=None, kind="stable")[:PAIRS_SHOWN]
    pairs = [divmod(int(i), len(classes)) for i in best]
    return [(classes[i], classes[j], int(off[i, j])) for i, j in pairs if off[i, j]]


def _reliability(calibration: Mapping[str, Any] | None) -> Markup | None:
    bins = [each for each in (calibration or {}).get("bins") or [] if each["rows"]]
    if not bins:
        return None
    keys = "confidence", "accuracy", "low", "high"
    x, y, low, high = ([each.get(key) for each in bins] for key in keys)
    axes = Axes("confidence that it gives", "share that is right", UNIT, UNIT, diagonal=True)
    return charts.chart(
        "Is 80 % sure right in 80 %?", [Line("judged rows, with 95 % intervals", x, y, low, high, "both")], axes
    )


def _coverage(coverage: Mapping[str, Any] | None) -> Markup | None:
    curve = (coverage or {}).get("curve") or []
    if not curve:
        return None
    x, y = ([each[key] for each in curve] for key in ("coverage", "accuracy"))
    low = min([value for value in y if value is not None], default=0.0)
    wanted = coverage.get("wanted")
    lines = [Line("judged rows", x, y)]
    if wanted is not None:
        lines.append(Line("what is wanted", [0, 1], [wanted, wanted], style="dashed"))
        low = min(low, wanted)
    axes = Axes(
        "share answered automatically", "share of them that is right", UNIT, (min(0.9, np.floor(low * 10) / 10), 1.0)
    )
    return charts.chart("How much can be automatic?", lines, axes)


def _ranking(curves: Sequence[Mapping[str, Any]] | None) -> list[Markup]:
    """ROC and precision-recall curves, a line a class."""
    if not curves:
        return []
    roc = [
        Line(_with_area(each, "roc", "area"), each["roc"]["false_positive_rate"], each["roc"]["true_positive_rate"])
        for each in curves
        if each.get("roc")
    ]
    recall = [
        Line(
            _with_area(each, "precision_recall", "average_precision"),
            each["precision_recall"]["recall"],
            each["precision_recall"]["precision"],
        )
        for each in curves
        if each.get("precision_recall")
    ]
    roc_axes = Axes("false positive rate", "true positive rate", UNIT, UNIT, diagonal=True)
    recall_axes = Axes("recall", "precision", UNIT, UNIT)
    drawn = ("ROC curves (area)", roc, roc_axes), ("Precision and recall (average precision)", recall, recall_axes)
    return [charts.chart(title, lines, axes) for title, lines, axes in drawn if lines]


def _with_area(curve: Mapping[str, Any], part: str, area: str) -> str:
    value = curve[part].get(area)
    return str(curve["class"]) + (f" ({value:.3f})" if value is not None else "")


def _scatter(numbers: Mapping[str, Any] | None, target: str) -> list[Markup]:
    """Predicted against true numbers, and what is left over; one pair of charts for each number of a row."""
    if not numbers or not len(numbers.get("truth") or []):
        return []
    truth, said = (np.array(numbers[key], float).reshape(len(numbers["truth"]), -1) for key in ("truth", "predicted"))
    found = []
    for i in range(truth.shape[1]):
        name = target if truth.shape[1] == 1 else f"{target}, number {i + 1}"
        x, y = truth[:, i], said[:, i]
        both = (float(np.nanmin([x, y])), float(np.nanmax([x, y])))
        dots = [Line("", _finite(x.tolist()), _finite(y.tolist()), style="dots")]
        rest = [Line("", _finite(y.tolist()), _finite((y - x).tolist()), style="dots")]
        found.append(charts.chart(f"{name}: predicted and true", dots, Axes("true", "predicted", both, both, True)))
        found.append(charts.chart(f"{name}: how far off", rest, Axes("predicted", "predicted minus true")))
    return found


# What columns are worth


def _missing(results: Results, target: str) -> list[dict[str, Any]]:
    """For each column the models without it and with nothing but it; [] where evaluate did not ask."""
    scores = results.targets[target]["scores"]
    return [
        {"column": column, "without": f"{WITHOUT} {column}", "only": f"{ONLY} {column}"}
        for column in results.columns
        if f"{WITHOUT} {column}" in scores
    ]


def _shapley(results: Results, target: str) -> dict[str, Any] | None:
    """The columns by their mean absolute Shapley value."""
    found = results.explanation.at("targets", target) if results.explanation else None
    if not found or not found.get("columns"):
        return None
    worth = found["columns"]
    ordered = sorted(worth, key=lambda column: -(worth[column].get("mean_absolute") or 0))
    ends = [worth[column].get("interval") or [worth[column].get("mean_absolute")] for column in ordered]
    most = max((abs(end) for pair in ends for end in pair if end is not None), default=1.0) or 1.0
    weighed = any(worth[column].get("weight") is not None for column in ordered)
    return {"found": found, "columns": ordered, "most": most, "weighed": weighed}


def _deletion(column: str, method: str, deletion: Mapping[str, Any]) -> Markup | None:
    curve = deletion.get("curve")
    if not curve:
        return None
    lines = [
        Line("most important first", curve["share"], _finite(curve["attribution"])),
        Line("in random order", curve["share"], _finite(curve["random"]), style="dashed"),
    ]
    title = f"{column}, {method}: what is left of the answer"
    return charts.chart(title, lines, Axes("share that is taken away", "explained number", UNIT))


# Several runs


def _names(every: Sequence[Results]) -> list[str]:
    """Folder names, whole paths where they are not distinct."""
    names = [results.run.name for results in every]
    return names if len(set(names)) == len(names) else [str(results.run.folder) for results in every]


def _compared_target(target: str, every: Sequence[Results]) -> dict[str, Any]:
    there = [results for results in every if target in results.targets]
    metrics = list(dict.fromkeys(name for each in there for name in each.targets[target]["scores"][OWN]))
    first = every[0].targets[target]["metric"]
    values = [results.evaluation.at("targets", target, "scores", OWN, first) for results in every]
    columns = sorted({column for results in there for column in results.columns})
    return {
        "name": target,
        "metrics": [(name, metric_words(name), form_of(name)) for name in metrics],
        "first": first,
        "best": max(value for value in values if value is not None),
        "range": _joint_range([_range_of(each.targets[target], first) for each in there]),
        "columns": columns,
        "has_shapley": any(results.explanation and results.explanation.at("targets", target) for results in every),
        "most": max([(_shapley(each, target) or {}).get("most", 0) for each in there] or [1]),
    }


def _joint_range(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _different_settings(every: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """(dotted name, its value in each run) of the settings in which the runs' configs differ.

    Of a column, target or fusion that not all runs have of one type, the type alone.
    """
    configs = [results.run.config for results in every]
    parts = [_components(config) for config in configs]
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for each in parts for name in each):
        there = [each.get(name) for each in parts]
        types = [part.type_name() if part else NOT_THERE for part in there]
        found[name] = types
        if len(set(types)) == 1:
            settings = [dict(_flattened(part.settings(), f"{name}.")) for part in there]
            found |= {key: [each[key] for each in settings] for key in settings[0]}
    rest = [dict(_flattened(config.model_dump(mode="json", exclude=set(COMPONENTS)))) for config in configs]
    found |= {
        key: [each.get(key, NOT_THERE) for each in rest] for key in dict.fromkeys(key for each in rest for key in each)
    }
    return [(name, values) for name, values in found.items() if len(set(values)) > 1]


def _components(config: Config) -> dict[str, Component]:
    """Columns, fusion and targets by their dotted names."""
    columns = {f"columns.{column}": modality for column, modality in walk(config.columns)}
    return columns | {"fusion": config.fusion} | {f"targets.{target}": head for target, head in walk(config.targets)}


def _flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value as YAML has it) of nested settings."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)


def _overlaid(every: Sequence[Results], names: Sequence[str]) -> list[Markup]:
    """Figures on the validation rows of all runs, where at least two have them."""
    curves = [_shown_curves(results) for results in every]
    found = []
    for title in curves[0]:
        lines = [
            Line(name, list(range(1, len(numbers) + 1)), _finite(numbers))
            for name, results, pairs in zip(names, every, curves, strict=True)
            if pairs.get(title) == curves[0][title] and (numbers := results.history[pairs[title][1]])
        ]
        if len(lines) > 1:
            epochs = max(2, *(len(line.x) for line in lines))
            axes = Axes("epoch", "", x_range=(1, epochs), is_whole=True)
            found.append(charts.chart(f"{metric_words(title)}, validation rows", lines, axes))
    return found


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


def _quoted(text: Any) -> str:
    text = str(text)
    return text if re.fullmatch(r"[\w./:=@%+,-]+", text) else "'" + text.replace("'", "'\\''") + "'"
