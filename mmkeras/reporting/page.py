"""One page about a run, from its sections and templates."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

import mmkeras
from mmkeras.base import run_files
from mmkeras.base.files import write_atomically
from mmkeras.base.terminal import progress, say, warn
from mmkeras.evaluation.judge_run import judge_run
from mmkeras.evaluation.models import FORMAT, OWN
from mmkeras.explanation.explain_run import explain_run, explanation_of
from mmkeras.reporting import charts, gallery, sections
from mmkeras.reporting.results import (
    EXPLANATION,
    SHOWN_EXPLANATION,
    Results,
    is_older,
    shown,
)
from mmkeras.reporting.summary import metric_words, prior_figure
from mmkeras.training.run import Run

MAX_MB = 15.0
ROWS = 200
RESERVE_BYTES = 20_000  # for what is counted only when the page is whole
# Characters without a shape, which HTML forbids, and halves of characters, which no file can hold; Unicode has pictures
# of the former
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"} | {127: 0x2421}
CONTROLS |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


def write_page(
    runs: Sequence[Any],
    output: str | Path | None = None,
    rows: int = ROWS,
    explains: bool = True,
    max_mb: float = MAX_MB,
) -> Path:
    """Writes one page about a run, beside others where there are any; `mmkeras report` says more.

    Args:
        runs: Runs or their folders; the page is about the first.
        output: The page; None: report.html in the first run's folder.
        rows: Of the gallery, at most.
        explains: Whether it shows what decided the answers.
        max_mb: How large it may be.

    Raises:
        FileNotFoundError: No such run.
        ValueError: A run is not finished, or the page cannot be written there.
    """
    folders = [Run(folder) for folder in runs]
    for each in folders:
        each.check_answers("report")
    for each in folders:
        _ensure_evaluated(each)
    if explains:
        _ensure_explained(Results(folders[0]))
        _ensure_shown_explained(Results(folders[0]), rows)
    names = ["", *(each.name for each in folders[1:])]
    every = [Results(each, name, explains) for each, name in zip(folders, names, strict=True)]
    page = every[0]
    html, count = _written(every, rows, int(max_mb * 1e6), explains)
    target = Path(output) if output else page.run.folder / run_files.REPORT
    if target.is_dir():
        raise ValueError(f"--output: {target} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise ValueError(f"--output: {target.parent} is no folder; name a file in one that is there")
    write_atomically(target, html)
    say(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {count} of {len(page.rows)} judged rows in its gallery")
    return target


# What the page needs


def _ensure_evaluated(run: Run) -> None:
    """Judges a run that was not judged yet, or before its weights were written, or by another version."""
    weights, results = [run.folder / run_files.WEIGHTS], Results(run)
    is_old = any(is_older(run.folder / name, weights) for name in (run_files.EVALUATION, run_files.EVALUATED_ROWS))
    if is_old or results.evaluation.at("format") != FORMAT:
        say(f"{run.folder}: there is no evaluation of this model yet; evaluating")
        judge_run(run)
    elif table := results.evaluation.at("rows", "table"):
        say(f"the page shows the evaluation of {table}; `mmkeras evaluate {run.folder}` judges its own test rows again")


def _ensure_explained(results: Results) -> None:
    """Explains the judged rows, or some of them, where the run has no explanation of its model."""
    folder = results.run.folder
    if not results.targets or not is_older(folder / EXPLANATION, [folder / run_files.WEIGHTS]):
        return
    say(f"{folder}: there is no explanation of this model yet; explaining (--no-explain leaves it out)")
    try:
        # Its own choice of rows is a fair sample; the gallery's, mistakes first, would be none.
        explain_run(results.run, results.evaluation.at("rows", "table"))
    except (ValueError, OSError) as error:
        warn(f"the page has no explanations: {error}")


def _ensure_shown_explained(results: Results, rows: int) -> None:
    """Explains rows of the gallery that are not in the fair sample, of which the mistakes may be the most telling."""
    file = results.run.folder / SHOWN_EXPLANATION
    if is_older(file, [results.run.folder / run_files.WEIGHTS]):
        file.unlink(missing_ok=True)
    if not results.targets or not results.explained:
        return
    sampled = [place for place, (each, _) in results.explained.items() if each.folder != file.parent]
    places = np.setdiff1d(gallery.order(results)[:rows], sampled)
    if not np.isin(places, list(results.explained)).all():
        say(f"explaining {len(places)} rows of the gallery that are not in the sample")
        _explain_shown(results, results.numbers_in_table(places).tolist(), file.parent)


def _explain_shown(results: Results, rows: list[int], folder: Path) -> None:
    try:
        explanation_of(results.run, results.evaluation.at("rows", "table"), rows, check=False).write(folder)
    except (ValueError, OSError) as error:
        warn(f"rows outside the sample have no explanations: {error}")


# The page


def _written(every: Sequence[Results], rows: int, max_bytes: int, explains: bool) -> tuple[str, int]:
    """The page with as many rows as it may hold, and how many those are."""
    environment = _environment()
    parts = _parts(every, explains)
    empty = _render(environment, every, parts, [], [], max_bytes)
    places = gallery.order(every[0])[:rows] if every[0].targets else []
    cards, drawn, room = [], [], max_bytes - RESERVE_BYTES - len(empty.encode("utf-8", "replace"))
    with progress("drawing rows", len(places)) as advance:
        for card in gallery.cards(every[0], places):
            html = environment.get_template("card.html").render(card=card, bar=charts.bar)
            room -= len(html.encode("utf-8", "replace")) + len(json.dumps(_data(card))) + 1
            if room < 0:
                break
            cards.append(card)
            drawn.append(Markup(html))
            advance(1)
    page = _render(environment, every, parts, cards, drawn, max_bytes, is_limited=len(cards) < len(places))
    if len(page.encode("utf-8", "replace")) > max_bytes:
        warn(f"the page is larger than {max_bytes / 1e6:g} MB even without any rows")
    return page, len(cards)


def _parts(every: Sequence[Results], explains: bool) -> dict[str, Any]:
    """What each section's template shows."""
    results = every[0]
    return {
        "summary": sections.summary.summary_part(results),
        "model": sections.model.model_part(results),
        "data": sections.data.data_part(results),
        "training": sections.training.training_part(results),
        "targets": [sections.target.target_part(results, target) for target in results.targets],
        "columns": sections.columns.columns_part(results),
        "checks": sections.checks.checks_part(results),
        "comparison": sections.comparison.comparison_part(every) if len(every) > 1 else None,
        "reproduce": sections.reproduce.reproduce_part(results, every[1:], explains),
        "explanation_note": _explanation_note(results, explains),
    }


def _explanation_note(results: Results, explains: bool) -> str:
    if not explains:
        return "Explanations were left out (--no-explain)."
    if results.explanation is None:
        return "There is no explanation of this run."
    if not results.explains_judged_table:
        return "The explanation is of other rows than those that were judged, so the gallery does not show it."
    count, judged = len(results.explanation.at("rows") or []), len(results.rows)
    return f"Explained: {count} of the {judged} judged rows." if count < judged else ""


def _render(
    environment: Any,
    every: Sequence[Results],
    parts: dict[str, Any],
    cards: Sequence[gallery.Card],
    drawn: Sequence[Markup],
    max_bytes: int,
    is_limited: bool = False,
) -> str:
    results = every[0]
    script, style = (Markup(_template_text(f"report.{ending}")) for ending in ("js", "css"))
    html = environment.get_template("report.html").render(
        parts,
        title=results.run.name,
        today=date.today().isoformat(),
        version=mmkeras.__version__,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        results=results,
        rows=results.evaluation.at("rows") or {},
        judged=results.evaluation.at("rows", "name"),
        ids=results.rows["row"].tolist(),
        numbers=results.numbers_in_table(np.arange(len(results.rows))).tolist(),
        target_rows={target: gallery.target_rows(results.rows, target) for target in results.targets},
        gallery=_gallery(results, cards, drawn, max_bytes, is_limited),
        figure=lambda file, path, form="score": getattr(results, file).figure(*path, form=form),
        own=OWN,
        prior=lambda target, metric: prior_figure(results, target, metric, "score"),
        range=lambda file, path, form="score": getattr(results, file).range(*path, form=form),
    )
    return html.translate(CONTROLS)


def _gallery(
    results: Results, cards: Sequence[gallery.Card], drawn: Sequence[Markup], max_bytes: int, is_limited: bool
) -> dict[str, Any]:
    return {
        "cards": Markup("\n").join(drawn),
        "places": {card.place for card in cards},
        "shown": len(cards),
        "judged": len(results.rows),
        "explained": sum(bool(card.worth) for card in cards),
        "limited": is_limited,
        "max_mb": max_bytes / 1e6,
        "data": {"cards": list(map(_data, cards)), "targets": list(results.targets), "judged": len(results.rows)},
    }


def _data(card: gallery.Card) -> dict[str, Any]:
    """What the filter needs to know of a card."""
    names = "truth", "answer", "confidence", "right", "loss", "suspect"
    targets = {target: {name: _finite(each[name]) for name in names} for target, each in card.targets.items()}
    return {"row": card.row, "targets": targets}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmkeras.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": lambda n: shown(n, "count"), "cut": _cut, "metric_words": metric_words}
    environment.globals |= {"bar": charts.bar, "whisker": charts.whisker, "others": sections.target.OTHERS}
    return environment


def _cut(value: Any, most: int) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _template_text(name: str) -> str:
    return (files("mmkeras.reporting") / "templates" / name).read_text(encoding="utf-8")
