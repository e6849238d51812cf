"""What a person who does not program wants to know of a run: how good, beside what, why, and what to watch out for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mmkeras.base.words import words
from mmkeras.evaluation.models import OWN, PRIOR, Model
from mmkeras.reporting.results import Results, shown

NAMED_CHARACTERS = 100  # of classes that the first sentence names
FEW_ROWS = 200  # one row more or less is half a percent
POOR_RECALL, POOR_ROWS = 0.5, 3
POOR_ECE = 0.1
INCOMPLETE = 0.1  # of what integrated gradients should add up to, in half of the rows

# What the heads' figures mean, in a few words each
METRICS = {
    "accuracy": "share of rows answered right",
    "macro_precision": "of the rows given a class, the share that has it; mean over classes",
    "macro_recall": "of the rows of a class, the share that is found; mean over classes",
    "macro_f1": "precision and recall in one figure; mean over classes",
    "micro_f1": "precision and recall in one figure, over all labels together",
    "subset_accuracy": "share of rows with every label right",
    "hamming_loss": "share of labels that are wrong; lower is better",
    "log_loss": "how far the probabilities are off; lower is better",
    "roc_auc": "chance that a row of a class is ranked above one of another; 0.5 is guessing",
    "average_precision": "area under the precision-recall curve",
    "r2": "share of the differences between rows that is explained; 1 is perfect, 0 is no better than the mean",
    "mae": "how far off on average, in the table's units; lower is better",
    "rmse": "the same, with large errors counted more; lower is better",
    "mape": "how far off on average, as a share of the truth; lower is better",
    "spearman": "how well the order is kept; 1 is perfect",
    "pearson": "how well prediction and truth go along a line; 1 is perfect",
    "quadratic_kappa": "agreement beyond chance; far misses count more; 1 is perfect, 0 is chance",
    "rank_mae": "how many ranks off on average; lower is better",
    "rank_rmse": "the same, with large errors counted more; lower is better",
}
SHARES = ("accuracy", "subset_accuracy")


@dataclass(frozen=True)
class Tile:
    """One thing to know.

    Attributes:
        figure: The number, or a name.
        what: What it is.
        detail: A line below.
    """

    figure: Markup
    what: str
    detail: Markup = Markup("")


def metric_words(metric: str) -> str:
    """A metric's name for a reader."""
    special = {"r2": "R²", "mae": "mean error", "rmse": "root mean square error", "roc_auc": "ROC AUC"}
    return special.get(metric, words(metric.replace("_f1", "_F1")))


def form_of(metric: str) -> str:
    return "percent" if metric in SHARES else "score"


def sentence(results: Results) -> str:
    """What the model does."""
    says = []
    for target in results.heads:
        classes = results.evaluation.at("targets", target, "classes") or []
        is_short = 0 < sum(map(len, classes)) <= NAMED_CHARACTERS
        says.append(f"{target} ({', '.join(classes)})" if is_short else target)
    return f"The model reads {_joined(results.columns)} of a row and answers {_joined(says)}."


def tiles(results: Results, target: str) -> list[Tile]:
    """The few things that matter most of one target."""
    makers = (_quality, _baseline, _automatic, _leading_column)
    return [tile for maker in makers if (tile := maker(results, target))]


def cautions(results: Results) -> list[str]:
    """What to watch out for, the gravest first."""
    texts = list(_about_rows(results))
    for target in results.targets:
        prefix = f"{target}: " if len(results.targets) > 1 else ""
        texts += [prefix + text for text in _about_target(results, target)]
    texts += list(_about_explanation(results))
    texts += list(results.evaluation.at("warnings") or [])
    texts += [f"Said while training: {text}" for text in results.log_warnings]
    return list(dict.fromkeys(texts))


def prior_figure(results: Results, target: str, metric: str, form: str) -> Markup | None:
    """What an answer reaches that needs no input; taken from the judged rows where evaluate did not say."""
    if PRIOR in results.scores(target):
        return results.score(target, PRIOR, metric, form)
    value = results.prior_scores[target].get(metric)
    return None if value is None else Markup('<data value="{}">{}</data>').format(repr(value), shown(value, form))


def best_other(results: Results, target: str) -> Model | None:
    """The best of the classical models and single-column networks, where evaluate trained them."""
    metric = results.targets[target]["metric"]
    known = {
        model: figures[metric]
        for model, figures in results.scores(target).items()
        if model not in (OWN, PRIOR) and not model.is_what_if and figures.get(metric) is not None
    }
    return max(known, key=known.__getitem__) if known else None


# The tiles


def _quality(results: Results, target: str) -> Tile:
    metric = results.targets[target]["metric"]
    form = form_of(metric)
    figure = results.score(target, OWN, metric, form)
    rows = results.evaluation.at("rows", "name")
    what = f"of {rows} answered right" if metric in SHARES else f"{metric_words(metric)} on {rows}"
    ends = results.interval(target, OWN, metric, form)
    detail = Markup("With other rows of the same kind: {} (95 % interval)").format(ends) if ends else Markup("")
    if metric not in SHARES and metric in METRICS:
        detail = Markup("{}. {}").format(METRICS[metric][0].upper() + METRICS[metric][1:], detail)
    return Tile(figure, what, detail)


def _baseline(results: Results, target: str) -> Tile | None:
    metric = results.targets[target]["metric"]
    form = form_of(metric)
    figure = prior_figure(results, target, metric, form)
    if figure is None:
        return None
    detail = Markup("Always the answer that fits the training rows best")
    if best := best_other(results, target):
        score = results.score(target, best, metric, form)
        detail += Markup(". Best simpler model, {}: {}").format(best.words, score)
    return Tile(figure, "without looking at a row at all", detail)


def _automatic(results: Results, target: str) -> Tile | None:
    coverage = results.targets[target].get("coverage")
    if not coverage:
        return None
    source, place = results.evaluation, ("targets", target, "coverage")
    wanted = source.figure(*place, "wanted", form="percent")
    if coverage.get("coverage") is None:
        detail = Markup("No confidence was high enough for {} accuracy on the validation rows").format(wanted)
        return Tile(Markup("None"), "can be answered automatically", detail)
    reached, limit = (
        source.figure(*place, "accuracy", form="percent"),
        source.figure(*place, "confidence", form="percent"),
    )
    detail = Markup("Rows with a confidence of {} or more, chosen to be {} right; of the judged ones {} are").format(
        limit, wanted, reached
    )
    return Tile(source.figure(*place, "coverage", form="percent"), "can be answered automatically", detail)


def _leading_column(results: Results, target: str) -> Tile | None:
    """The column whose absence costs most; of equal ones the one with the greatest Shapley values."""
    metric, scores = results.targets[target]["metric"], results.scores(target)
    without = {model.column: figures.get(metric) for model, figures in scores.items() if model.kind == "without"}
    known = {column: value for column, value in without.items() if value is not None}
    if len(known) < 2:
        return None
    worth = results.explanation.at("targets", target, "columns") if results.explanation else None
    tie = {column: -((worth or {}).get(column) or {}).get("mean_absolute", 0.0) for column in known}
    column = min(known, key=lambda name: (known[name], tie[name]))
    figure = results.score(target, Model("without", column), metric, form_of(metric))
    return Tile(
        Markup("<bdi>{}</bdi>").format(column),
        "is the column that counts most",
        Markup("Without it: {} {}").format(figure, "right" if metric in SHARES else metric_words(metric)),
    )


# What to watch out for


def _about_rows(results: Results) -> Iterator[str]:
    rows = results.evaluation.at("rows") or {}
    if rows.get("split") == "valid":
        yield "There are no test rows. The validation rows chose the best epoch, so the figures flatter the model."
    count = rows.get("count")
    if count is not None and count < FEW_ROWS:
        yield f"Only {count} rows were judged: one row more or less is {100 / max(count, 1):.1f} %."
    bad = (results.metrics.at("bad_cells") or {}).get("cells")
    if bad:
        done = "their rows left out" if results.metrics.at("bad_cells", "policy") == "drop" else "counted as missing"
        yield f"{bad} cells of the table cannot be used; {done}."
    if results.own_table is None:
        yield f"The table of the training cannot be read any more, so its rows are not shown. {results.absent}"


def _about_target(results: Results, target: str) -> Iterator[str]:
    judged = results.targets[target]
    yield from _beside_prior(results, target)
    classes = judged.get("per_class") or []
    with_rows = [each for each in classes if each["rows"]]
    if judged.get("confusion") and len(with_rows) == 1:
        yield f"Every judged row is “{with_rows[0]['class']}”: how well classes are told apart cannot be said."
    poor = [each for each in with_rows if each["rows"] >= POOR_ROWS and (each["recall"] or 0) < POOR_RECALL]
    if poor:
        named = ", ".join(f"{each['class']} ({each['recall'] or 0:.0%} of {each['rows']})" for each in poor[:5])
        more = f" and {len(poor) - 5} more" if len(poor) > 5 else ""
        yield f"Less than half of the rows are found of {named}{more}."
    for column, slices in (judged.get("slices") or {}).items():
        yield from _poor_slices(judged["metric"], results.scores(target)[OWN], column, slices)
    ece = (judged.get("calibration") or {}).get("ece")
    if ece is not None and ece > POOR_ECE:
        yield f"Its confidence is off by {ece:.0%} on average: do not read it as a probability."


def _beside_prior(results: Results, target: str) -> Iterator[str]:
    metric = results.targets[target]["metric"]
    low, _ = results.ends(target, OWN, metric)
    scores = results.scores(target)
    prior = (scores[PRIOR] if PRIOR in scores else results.prior_scores[target]).get(metric)
    if low is not None and prior is not None and low <= prior:
        yield "These rows do not show that the model is better than an answer without looking at the row."


def _poor_slices(
    metric: str, scores: Mapping[str, float], column: str, slices: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Slices whose interval lies below the figure of all rows."""
    whole = scores.get(metric)
    for each in slices:
        high = ((each.get("intervals") or {}).get(metric) or [None, None])[1]
        if None not in (whole, high) and high < whole:
            score = shown(each["scores"][metric], form_of(metric))
            yield f"Worse where {column} is “{each['value']}”: {score} over {each['rows']} rows."


def _about_explanation(results: Results) -> Iterator[str]:
    if not results.explanation:
        return
    for column, methods in (results.explanation.at("checks") or {}).items():
        for method, checks in (methods or {}).items():
            faults = (checks or {}).get("faults") or []
            yield from (f"How {column} is explained by {method}: {fault}." for fault in faults)
    for column, told in (results.explanation.at("columns") or {}).items():
        error = ((told or {}).get("completeness") or {}).get("median")
        if error is not None and error > INCOMPLETE:
            yield f"The explanation inside {column} does not add up: it is {error:.0%} off for half of the rows."


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
