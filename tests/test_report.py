"""The page of made-up runs: every figure is a file's, nothing of a user's becomes markup, whatever is missing is said.

How it behaves in a browser stands in test_report_page.py.
"""

import base64
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import typer
from fixtures_models import model_of
from fixtures_report import HOSTILE, MEDIA, PLAIN, edit, write_run
from typer.testing import CliRunner

from mmkeras.evaluation.models import PRIOR, Model
from mmkeras.report import report
from mmkeras.reporting import gallery
from mmkeras.reporting import page as report_module
from mmkeras.reporting.results import Results, Source, shown
from mmkeras.table.manifest import read_table, table_hash
from mmkeras.training.run import FORMAT

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """A page taken apart: its elements, its text, its numbers with the places that they were taken from."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.html, self.elements, self.open, self.figures, self.texts = html, [], [], [], []
        self.scripts = []
        self.feed(html)
        self.close()
        self.text = re.sub(r"[ \t\n]+", " ", "".join(self.texts))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag == "data" and "data-at" in attributes:
            self.figures.append((attributes["data-at"], attributes["value"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts.append(text)
        elif not self.open or self.open[-1] != "style":
            self.texts.append(text)

    def all(self, tag, **wanted):
        return [a for name, a in self.elements if name == tag and all(a.get(k) == v for k, v in wanted.items())]

    @property
    def cards(self):
        return [int(a["id"].removeprefix("row-")) for a in self.all("article")]


def page_of(run, *others, **options):
    return Page(report(run, compare=list(others), **options).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Nobody changes it."""
    return write_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def page(run):
    return page_of(run)


# The page itself


def at(run, place):
    """What a figure's place (a file and a JSON pointer) holds."""
    name, _, pointer = place.partition("#")
    found = json.loads((run / name).read_text())
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def test_every_figure_is_the_files(run, page):
    assert len(page.figures) > 100
    for place, value in page.figures:
        assert float(value) == at(run, place), place


def test_the_figures_are_the_ones_of_metrics_json(run, page):
    """Judged on the same rows, training and evaluation say the same, and the page shows all of it."""
    found = {place.rpartition("/")[2]: float(value) for place, value in page.figures if "/models/0/scores/" in place}
    assert found == json.loads((run / "metrics.json").read_text())["test"]["intent"]
    assert {place for place, _ in page.figures} >= {
        f"metrics.json#/training/{name}" for name in ("seconds", "epochs", "best_epoch", "weights")
    }


def test_what_is_read_is_the_figure(page):
    """Beside the full precision stands the same number, rounded."""
    pairs = re.findall(r'<data value="([^"]+)" data-at="[^"]+">([^<]+)</data>', page.html)
    assert len(pairs) == len(page.figures)
    for value, text in pairs:
        number = float(re.sub(r"[^\d.−+-]", "", text).replace("−", "-"))
        number = number / 100 if text.endswith("%") else number
        assert abs(number - float(value)) <= 0.5, (value, text)  # seconds without decimals
        assert abs(number - float(value)) <= 0.00051 or float(value) > 10, (value, text)


def test_it_is_one_file_that_asks_for_nothing(page):
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none';")
    assert "http" not in policy["content"] and "*" not in policy["content"]
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in attributes and tag != "data":
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name])
    assert not re.search(r"url\(|@import", re.search(r"<style>(.*?)</style>", page.html, re.S)[1])


def test_only_its_own_script_may_run(page):
    data, script = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.html
    assert json.loads(data)["judged"] == 40


def test_structure_for_readers_and_machines(page):
    assert page.html.startswith("<!DOCTYPE html>") and not page.open
    assert page.all("html")[0]["lang"] == "en" and "run: report of a model" in page.text
    assert page.html.count("<title>") == 1 + 4  # and those of the flow's boxes
    for tag in ("h1", "main", "nav", "footer"):
        assert len(page.all(tag)) == 1, tag
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for a in page.all("a"):
        assert a["href"].removeprefix("#") in ids, a
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}
    for image in page.all("img"):
        assert "alt" in image
    for _, a in page.elements:
        assert a.get("aria-labelledby", ids[0]) in ids


def test_sections_in_order(page):
    names = [a["id"] for a in page.all("section")]
    assert names == ["summary", "model", "data", "training", "results-1", "columns", "gallery", "reproduce"]


def test_what_a_person_reads_first(run, page):
    said = json.loads((run / "evaluation.json").read_text())["targets"]["intent"]
    accuracy, coverage = model_of(said)["scores"]["accuracy"], said["coverage"]["coverage"]
    assert f"{100 * accuracy:.1f}\xa0% of 40 test rows answered right" in page.text
    assert "The model reads note and weight of a row and answers intent (class 0, class 1, class 2)." in page.text
    assert f"{100 * coverage:.1f}\xa0%" in page.text and "can be answered automatically" in page.text
    without = {column: model_of(said, Model("without", column))["scores"]["accuracy"] for column in PLAIN}
    assert f"{min(without, key=without.get)} is the column that counts most" in page.text


def test_the_prior_stands_beside_where_evaluate_did_not_ask(tmp_path):
    run = write_run(tmp_path, rows=30)
    edit(run, "evaluation.json", lambda found: (models := found["targets"]["intent"]["models"]).remove(models[1]))
    truth = pd.read_parquet(run / "evaluation_rows.parquet")["intent truth"]
    page = page_of(run, explain=False)
    share = float((truth == "class 0").mean())  # of three equally frequent classes the first
    assert f'<data value="{share!r}">' in page.html


def test_cautions(tmp_path):
    run = write_run(tmp_path, rows=30)

    def change(found):
        part = found["targets"]["intent"]
        model_of(part, PRIOR)["scores"]["accuracy"] = model_of(part)["intervals"]["accuracy"][0] + 0.01
        part["calibration"]["ece"] = 0.31
        part["per_class"] = [each | {"recall": 0.9} for each in part["per_class"]]
        part["per_class"][1] |= {"rows": 9, "recall": 0.25}
        part["slices"]["language"][0] |= {"rows": 7, "scores": {"accuracy": 0.1}, "intervals": {"accuracy": [0.0, 0.2]}}

    edit(run, "evaluation.json", change)
    edit(run, "metrics.json", lambda found: found["bad_cells"].update({"cells": 3, "policy": "drop"}))
    edit(run, "explanation/explanation.json", lambda found: found["columns"]["note"]["completeness"].update(median=0.4))
    page = page_of(run)
    for text in (
        "Only 30 rows were judged: one row more or less is 3.3 %.",
        "3 cells of the table cannot be used; their rows left out.",
        "These rows do not show that the model is better than an answer without looking at the row.",
        "Less than half of the rows are found of class 1 (25% of 9)",
        "Worse where language is “en”: 10\xa0% over 7 rows.",
        "Its confidence is off by 31% on average",
        "How note is explained by integrated gradients: it marks <nothing>.",
        "The explanation inside note does not add up: it is 40% off",
        "beware of <this>",
        "Said while training: look <here>",
    ):
        assert text in page.text, text


def test_no_caution_without_a_reason(tmp_path):
    run = write_run(tmp_path, rows=300, explained=0)

    def change(found):
        found["warnings"] = []
        part = found["targets"]["intent"]
        part["slices"], model_of(part, PRIOR)["scores"]["accuracy"] = {}, 0.1
        for each in part["per_class"]:
            each["recall"] = 0.9

    edit(run, "evaluation.json", change)
    (run / "run.log").write_text("")
    assert "What to watch out for" not in page_of(run, explain=False).text


# What users wrote


@pytest.mark.parametrize("explains", [True, False])
def test_nothing_of_a_users_becomes_markup(tmp_path, explains):
    names = ("<b>bold</b>", "\"quoted'", "</script>", "{{ 7 * 7 }}", "a" * 4000, "null \0 byte")
    run = write_run(tmp_path, rows=36, texts=HOSTILE, names=names, explained=12)
    page = page_of(run, explain=explains)
    assert len(page.scripts) == 2 and "window.broken" not in page.scripts[1]
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]
    assert not page.all("b") and "onerror=" not in [n for _, a in page.elements for n in a]
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[3], "שלום עולם", "👩‍👩‍👧‍👦", "<b>bold</b>", "{{ 7 * 7 }}"):
        assert text in page.text, text
    assert not set(page.html) & {chr(code) for code in range(32)} - set("\n\t")
    assert "49" not in re.findall(r"<bdi>(\w+)</bdi>", page.html)


def test_what_no_page_may_hold_is_replaced():
    assert "a\0\x1b\t\n\x7f\udce9".translate(report_module.CONTROLS) == "a␀␛\t\n␡\ufffd"


def test_a_column_may_be_called_as_it_likes(tmp_path):
    run = write_run(tmp_path, explained=0)
    table = pd.read_parquet(tmp_path / "table.parquet").rename(columns={"weight": "</script><i>/~"})
    table.to_parquet(tmp_path / "table.parquet")
    for name in ("config.yaml", "schema.json", "evaluation.json"):
        file = run / name
        file.write_text(
            file.read_text().replace("weight:", '"</script><i>/~":').replace('"weight"', '"</script><i>/~"')
        )
    page = page_of(run, explain=False)
    assert "</script><i>/~" in page.text and not page.all("i")
    for place, value in page.figures:
        assert float(value) == at(run, place), place


# Size


def test_the_gallery_is_sampled_until_the_page_fits(tmp_path):
    run = write_run(tmp_path, rows=60, explained=0)
    whole, small = page_of(run, explain=False), report(run, explain=False, max_mb=0.11, output=tmp_path / "small.html")
    assert len(whole.cards) == 60 and len(whole.html) > 110_000
    assert small.stat().st_size <= 110_000
    page = Page(small.read_text(encoding="utf-8"))
    assert 5 < len(page.cards) < 60
    assert f"{len(page.cards)} of the 60 judged rows" in page.text
    assert "more would make this file larger than 0.1 MB" in page.text
    assert json.loads(page.scripts[0])["cards"][-1]["row"] == page.cards[-1]


def test_rows_are_as_many_as_asked_for(run, tmp_path):
    page = page_of(run, rows=7, output=tmp_path / "page.html")
    assert len(page.cards) == 7 and "7 of the 40 judged rows: some of every kind" in page.text
    assert not page_of(run, rows=0, output=tmp_path / "none.html").cards


def test_a_cell_that_is_too_large_is_not_shown(tmp_path):
    run = write_run(tmp_path, rows=8, texts=("x" * 500_000, "short"), explained=0)
    page = page_of(run, explain=False)
    assert len(page.html) < 3_000_000 and "short" in page.text and len(page.cards) == 8


# What may be missing


def test_without_test_rows(tmp_path):
    page = page_of(write_run(tmp_path, split="valid"))
    assert "There are no test rows. The validation rows chose the best epoch" in page.text


def test_without_groups(tmp_path):
    run = write_run(tmp_path)
    edit(run, "evaluation.json", lambda found: found["rows"].update(groups=None))
    assert "of a bootstrap (1000 times, row by row)" in page_of(run).text


def test_every_part_of_an_evaluation_may_be_missing(tmp_path):
    run = write_run(tmp_path, explained=0)

    def change(found):
        found["warnings"], found["rows"]["by"] = [], []
        part = found["targets"]["intent"]
        for name in ("per_class", "confusion", "curves", "calibration", "coverage", "numbers"):
            part[name] = None
        part["slices"], part["patterns"] = {}, []
        part["models"] = [model_of(part) | {"intervals": {}}]

    edit(run, "evaluation.json", change)
    page = page_of(run, explain=False)
    assert "Results: intent" in page.text and not page.all("table", **{"class": "matrix"})
    assert "There is no explanation" not in page.text and "Explanations were left out (--no-explain)." in page.text


def test_a_metric_that_is_not_defined_is_a_dash(tmp_path):
    run = write_run(tmp_path)
    edit(run, "evaluation.json", lambda found: model_of(found["targets"]["intent"])["scores"].update(macro_f1=None))
    page = page_of(run)
    assert "evaluation.json#/targets/intent/models/0/scores/macro_f1" not in dict(page.figures)
    assert '<span class="none">–</span>' in page.html


def test_one_class_in_the_judged_rows(tmp_path):
    page = page_of(write_run(tmp_path, classes=1))
    assert "Every judged row is “class 0”: how well classes are told apart cannot be said." in page.text


def test_a_thousand_classes(tmp_path):
    page = page_of(write_run(tmp_path, classes=1000, rows=1500, explained=0), explain=False)
    matrix = re.search(r'<table class="matrix">.*?</table>', page.html, re.S)[0]
    assert matrix.count("<tr>") == 1 + 20 + 1 and "all others" in matrix
    assert "The 20 classes with the most rows; 980 others are counted together." in page.text
    assert "The 30 most frequent classes; 970 more are left out." in page.text
    assert len(page.html) < 3_000_000 and len(page.cards) == 200


def test_a_hundred_thousand_rows(tmp_path):
    page = page_of(write_run(tmp_path, rows=100_000, explained=0, columns={"note": {"type": "text"}}), explain=False)
    assert "200 of the 100\N{NARROW NO-BREAK SPACE}000 judged rows: some of every kind of answer" in page.text
    assert len(page.cards) == 200 and len(page.html) < 2_000_000


def test_files_that_are_gone(tmp_path):
    run = write_run(tmp_path, rows=4, columns=PLAIN | MEDIA, explained=0)
    (tmp_path / "5.png").unlink()
    (tmp_path / "6.wav").write_bytes(b"no sound")
    page = page_of(run, explain=False)
    assert f"{tmp_path / '5.png'}: no such file" in page.text
    assert "cannot be read: " in page.text and len(page.cards) == 4


def test_a_cell_that_says_that_there_is_nothing_is_missing(tmp_path):
    run = write_run(tmp_path, rows=8, explained=0)
    table = pd.read_parquet(tmp_path / "table.parquet").assign(weight="n/a")
    table.to_parquet(tmp_path / "table.parquet")
    edit(run, "table.json", lambda found: found.update(sha256=table_hash(read_table(tmp_path / "table.parquet"))))
    assert page_of(run, explain=False).text.count("weight missing") == 8


def test_a_table_that_is_gone(tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "table.parquet").unlink()
    page = page_of(run)
    assert "The table of the training cannot be read any more, so its rows are not shown." in page.text
    assert len(page.cards) == 40 and "no such" in page.text.lower()


def test_a_table_that_changed(tmp_path):
    run = write_run(tmp_path)
    pd.read_parquet(tmp_path / "table.parquet").head(5).to_parquet(tmp_path / "table.parquet")
    assert "changed since" in page_of(run).text


def test_rows_of_another_table_are_taken_from_there(tmp_path, capsys):
    run = write_run(tmp_path, rows=6, explained=0)
    other = pd.read_parquet(tmp_path / "table.parquet").tail(6).assign(note="from elsewhere")
    other.to_csv(tmp_path / "other.csv", index=False)
    edit(run, "evaluation.json", lambda found: found["rows"].update(table=str(tmp_path / "other.csv"), split=None))
    rows = pd.read_parquet(run / "evaluation_rows.parquet").assign(table_row=pd.array([pd.NA] * 6, "Int64"))
    rows.to_parquet(run / "evaluation_rows.parquet")
    page = page_of(run, explain=False)
    assert page.text.count("from elsewhere") == 6
    assert f"mmkeras.evaluate {run} {tmp_path / 'other.csv'} --baselines --by language" in page.text
    assert f"the page shows the evaluation of {tmp_path / 'other.csv'}" in capsys.readouterr().out


def test_an_explanation_of_other_rows_is_not_shown_in_the_gallery(tmp_path):
    run = write_run(tmp_path)
    edit(run, "explanation/explanation.json", lambda found: found.update(table=str(tmp_path / "other.csv")))
    page = page_of(run)
    assert "The explanation is of other rows than those that were judged" in page.text
    assert "What moved the answer" not in page.text


def test_history_and_log_may_be_missing(tmp_path):
    run = write_run(tmp_path)
    for name in ("history.json", "run.log", "bad_rows.csv"):
        (run / name).unlink()
    page = page_of(run)
    assert not page.all("section", id="training") and not page.all("a", href="#training")


def test_bad_cells_and_what_check_found(tmp_path):
    run = write_run(tmp_path)
    lines = "".join(f"{row},photo,{row}.png,no such <file>,row left out\n" for row in range(1, 31))
    (run / "bad_rows.csv").write_text("row,column,path,reason,done\n" + lines)
    (run / "check.csv").write_text("row,column,path,what,remedy,level\n3,voice,3.wav,silent,listen,look\n")
    page = page_of(run)
    assert "no such <file>" in page.text and "The first 20 of 30." in page.text
    assert "What mmkeras check found" in page.text and "listen" in page.text


def test_an_old_run_has_no_versions(run, tmp_path, page):
    assert "not recorded by the version of mmkeras that trained this run" in page.text
    new = write_run(tmp_path)
    (new / "origin.json").write_text(
        json.dumps({"format": FORMAT, "date": "2026-02-03 04:05", "versions": {"keras": "3.99"}})
    )
    assert "2026-02-03 04:05" in page_of(new).text and "keras3.99" in page_of(new).text.replace(" ", "")


def test_keys_of_filesystems_stay_in_the_run_folder(tmp_path):
    run = write_run(tmp_path / "a", explained=0)
    config = run / "config.yaml"
    config.write_text(config.read_text() + "filesystems: {s3: {key: me, secret: open sesame}}\n")
    command = "mmkeras train config.yaml 'filesystems.s3={secret: open sesame}' filesystems.s3.key=me train.epochs=3"
    (run / "origin.json").write_text(json.dumps({"format": FORMAT, "command": command}))
    other = write_run(tmp_path / "b", explained=0).rename(tmp_path / "b" / "other")
    page = page_of(run, other, explain=False)
    assert "sesame" not in page.html and "secret: (not shown)" in page.text
    assert "'filesystems.s3.key=(not shown)' train.epochs=3" in page.text


# Other tasks


def test_numbers(tmp_path):
    page = page_of(write_run(tmp_path, targets={"price": "numbers"}))
    for text in ("price: predicted and true", "price: how far off", "Furthest from the truth", "R²", "Values of price"):
        assert text in page.text, text
    assert not page.all("table", **{"class": "matrix"}) and "sure" not in page.text
    assert json.loads(page.scripts[0])["cards"][0]["targets"]["price"]["right"] is None


def test_several_numbers_of_a_row(tmp_path):
    run = write_run(tmp_path, targets={"price": "numbers"}, explained=0)
    pairs = {"truth": [[1.0, 2.0], [3.0, 4.0]], "predicted": [[1.5, 2.5], [2.0, None]]}
    edit(run, "evaluation.json", lambda found: found["targets"]["price"].update(numbers=pairs))
    page = page_of(run, explain=False)
    assert "price, number 1: predicted and true" in page.text and "price, number 2: how far off" in page.text


def test_labels(tmp_path):
    page = page_of(write_run(tmp_path, targets={"marks": "labels"}))
    assert "micro F1 on 40 test rows" in page.text and "Class by class" in page.text
    assert not page.all("table", **{"class": "matrix"})


def test_several_targets(tmp_path):
    page = page_of(write_run(tmp_path, targets={"intent": "classes", "marks": "labels", "price": "numbers"}))
    assert [a["id"] for a in page.all("section")][4:7] == ["results-1", "results-2", "results-3"]
    assert "Results: intent" in page.text and "Results: marks" in page.text and "Results: price" in page.text
    assert json.loads(page.scripts[0])["targets"] == ["intent", "marks", "price"]
    assert "integrated gradients, price" in page.text


NOT_JUDGED = {"models": [{"kind": "own", "column": None, "scores": {}, "intervals": {}}], "metric": None}


def test_a_target_that_no_judged_row_knows(tmp_path):
    run = write_run(tmp_path, targets={"intent": "classes", "price": "numbers"})
    edit(run, "evaluation.json", lambda found: found["targets"]["price"].update(NOT_JUDGED))
    assert "Results: price" not in page_of(run).text
    edit(run, "evaluation.json", lambda found: found["targets"]["intent"].update(NOT_JUDGED))
    page = page_of(run)
    assert "nothing can be said of how good the model is" in page.text and not page.cards


# Which rows


def test_mistakes_come_first_and_every_kind_of_answer_is_there(run):
    results = Results(run)
    places, rows = gallery.order(results), gallery.target_rows(results.rows, "intent")
    assert sorted(places) == list(range(40))
    mistakes = rows.index[rows["right"] == False]  # noqa: E712
    by_confidence = rows.loc[mistakes].sort_values("confidence", ascending=False).index
    assert set(places[: len(mistakes)]) == set(by_confidence)
    kinds = rows["truth"] + rows["answer"]
    assert set(kinds.iloc[places[:30]]) == set(kinds)


def test_of_equal_rows_the_explained_ones_are_taken(tmp_path):
    run = write_run(tmp_path, rows=90, explained=9)
    rows = pd.read_parquet(run / "evaluation_rows.parquet")
    rows["intent answer"], rows["intent right"], rows["intent suspect"] = rows["intent truth"], True, np.nan
    rows["intent confidence"] = np.linspace(1, 0.9, 90)  # the last ten are the least confident
    rows.to_parquet(run / "evaluation_rows.parquet")
    order = gallery.order(Results(run))
    assert set(order[:10]) == set(range(80, 90)) and set(order[10:19]) <= set(range(9)) | set(range(80, 90))


def test_lists():
    rows = pd.DataFrame({
        "truth": list("aabb"), "answer": list("abab"), "right": [True, False, False, None],
        "confidence": [0.5, 0.6, 0.9, 0.4], "loss": [1.0, 2, 3, 4], "suspect": [np.nan, 0.2, 0.7, np.nan],
    })  # fmt: skip
    assert gallery.lists(rows) == {
        "Most confident mistakes": [2, 1],
        "Likely label errors": [2, 1],
        "Least confident": [3, 0, 1, 2],
    }
    numbers = rows.assign(confidence=np.nan, right=None, suspect=np.nan)
    assert gallery.lists(numbers) == {"Furthest from the truth": [3, 2, 1, 0]}


def test_a_card_tells_what_moved_the_answer(page, run):
    values = pd.read_parquet(run / "explanation/shapley.parquet")
    first = values[values["row"] == 41].set_index("column")["value"]
    card = re.search(r'<article class="card" id="row-1".*?</article>', page.html, re.S)[0]
    assert ">Row 41</h3>" in card, "a row is called as its table counts it"
    assert "What moved “<bdi>?</bdi>”: from 0.3 to 0.9" in card  # asked of another class than the answer
    for column in PLAIN:
        assert f"{first[column]:+.2f}" in card


# Asking evaluate and explain


@pytest.fixture
def asked(monkeypatch):
    """Which of the two were called, with what."""
    calls = []
    monkeypatch.setattr(report_module, "judge_run", lambda run: calls.append(("evaluate", run.folder)))
    monkeypatch.setattr(report_module, "explain_run", lambda run, table: calls.append(("explain", run.folder, table)))
    return calls


@pytest.fixture(autouse=True)
def asked_of_the_gallery(monkeypatch):
    """Which rows were to be explained because the gallery shows them."""
    calls = []
    monkeypatch.setattr(report_module, "_explain_shown", lambda results, rows, folder: calls.append((rows, folder)))
    return calls


def test_what_is_there_is_not_asked_again(run, tmp_path, asked):
    report(run, output=tmp_path / "page.html")
    assert not asked


def test_what_is_older_than_the_model_is_asked_again(tmp_path, asked):
    run = write_run(tmp_path)
    os.utime(run / "model.weights.h5", ns=(2**62, 2**62))
    report(run)
    assert asked == [("evaluate", run), ("explain", run, None)]


@pytest.mark.parametrize("explains", [True, False])
def test_an_explanation_is_asked_for_unless_it_is_not_wanted(tmp_path, asked, explains):
    run = write_run(tmp_path, explained=0)
    page = page_of(run, explain=explains)
    assert asked == ([("explain", run, None)] if explains else [])
    assert ("There is no explanation of this run." in page.text) == explains


def test_rows_of_the_gallery_are_explained_beside_the_sample(tmp_path, asked_of_the_gallery):
    run = write_run(tmp_path, rows=12, explained=4)
    shown = run / "explanation" / "shown"
    assert len(page_of(run, rows=12).cards) == 12
    assert asked_of_the_gallery == [(list(range(17, 25)), shown)]  # of the table's rows 13 to 24
    page_of(run, rows=0)
    assert len(asked_of_the_gallery) == 1


def test_what_was_explained_for_the_gallery_is_shown_and_not_asked_again(tmp_path, asked_of_the_gallery):
    run = write_run(tmp_path, rows=6, explained=6)
    shutil.copytree(run / "explanation", tmp_path / "shown")
    shutil.move(tmp_path / "shown", run / "explanation" / "shown")
    edit(run, "explanation/explanation.json", lambda found: found.update(rows=found["rows"][:2]))
    page = page_of(run)
    assert page.text.count("What moved") == 6 and not asked_of_the_gallery
    os.utime(run / "explanation" / "shown" / "explanation.json", ns=(1, 1))  # older than the model
    assert page_of(run).text.count("What moved") == 2
    assert [len(rows) for rows, _ in asked_of_the_gallery] == [4]


@pytest.mark.parametrize(
    "older",
    [
        '{"intent": {"mmkeras": {"accuracy": 0.5}}}',
        '{"rows": {}, "targets": {"intent": {"metric": "accuracy", "scores": {"mmkeras": {"accuracy": 0.5}}}}}',
        '{"format": 1, "rows": {}, "targets": {}}',
    ],
)
def test_an_evaluation_of_an_older_version_is_made_again(older, tmp_path, monkeypatch):
    run = write_run(tmp_path, explained=0)
    new = (run / "evaluation.json").read_text()
    (run / "evaluation.json").write_text(older)
    monkeypatch.setattr(report_module, "judge_run", lambda of: (run / "evaluation.json").write_text(new))
    assert page_of(run, explain=False).cards


def test_an_explanation_that_fails_leaves_a_page(tmp_path, monkeypatch, capsys):

    def fail(run, table):
        raise ValueError("no such thing")

    monkeypatch.setattr(report_module, "explain_run", fail)
    page = page_of(write_run(tmp_path, explained=0))
    assert "the page has no explanations: no such thing" in capsys.readouterr().out
    assert page.cards


# Several runs


def test_runs_beside_each_other(tmp_path):
    first, second = write_run(tmp_path / "a", seed=1), write_run(tmp_path / "b", seed=2)
    other = second.rename(tmp_path / "b" / "other")
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "train: {epochs: 7}\n")
    identity = (first / "table.json").read_text()
    (other / "table.json").write_text(identity)
    page = page_of(first, other, output=tmp_path / "both.html")
    assert page.all("section", id="comparison") and "Beside other runs" in page.text
    figures = dict(page.figures)
    for run, prefix in ((first, ""), (other, "other/")):
        accuracy = at(run, "evaluation.json#/targets/intent/models/0/scores/accuracy")
        assert float(figures[f"{prefix}evaluation.json#/targets/intent/models/0/scores/accuracy"]) == accuracy
    assert '<code>train.epochs</code></th><td>60</td><td class="changed"><mark>7</mark>' in page.html
    a, b = (pd.read_parquet(run / "evaluation_rows.parquet") for run in (first, other))
    differ = int((a["intent answer"] != b["intent answer"]).sum())
    only_first = int((a["intent right"] & ~b["intent right"]).sum())
    assert 0 < differ < 40
    assert f"run and other: {differ} of 40 rows answered differently; {only_first} right only by the first" in page.text
    assert "loss, validation rows" in page.text


def test_runs_on_different_tables_are_not_counted_together(tmp_path):
    first, second = write_run(tmp_path / "a", seed=1), write_run(tmp_path / "b", seed=2)
    page = page_of(first, second)
    assert f"{first} and {second}: judged on different rows." in page.text


def test_runs_of_different_targets(tmp_path):
    first = write_run(tmp_path / "a", explained=0)
    second = write_run(tmp_path / "b", targets={"price": "numbers"}, explained=0)
    page = page_of(first, second, explain=False)
    assert "The runs predict different targets; their scores cannot be compared." in page.text


def test_the_command_takes_runs_after_the_option(tmp_path):
    runs = [str(write_run(tmp_path / name, seed=i, explained=0)) for i, name in enumerate("abc")]
    app = typer.Typer()
    app.command()(report)
    asked = [runs[0], "--compare", runs[1], runs[2], "--no-explain", "-o", str(tmp_path / "page.html")]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert all(f"{run}: " in page.text or f"{run} and" in page.text for run in runs)
    assert f"mmkeras.report {runs[0]} --compare {runs[1]} --compare {runs[2]} --no-explain" in page.text


# Mistakes of a user's


def test_a_run_that_is_not_finished(tmp_path):
    run = write_run(tmp_path)
    (run / "metrics.json").unlink()
    with pytest.raises(ValueError, match="run: training is not finished; give the train command again to go on"):
        report(run)
    with pytest.raises(ValueError, match="training is not finished"):
        report(write_run(tmp_path / "other"), compare=[run])


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        report(tmp_path / "nowhere")


def test_no_place_to_write(run, tmp_path):
    with pytest.raises(ValueError, match=r"--output: .*none is no folder; name a file in one that is there"):
        report(run, output=tmp_path / "none" / "page.html")
    with pytest.raises(ValueError, match=r"--output: .* is a folder; name a file in it"):
        report(run, output=tmp_path)


# Numbers


@pytest.mark.parametrize(
    "value, form, text",
    [
        (0.97727, "score", "0.977"),
        (12345.678, "score", "12,346"),
        (3, "score", "3"),
        (0.97727, "percent", "97.7\xa0%"),
        (0.95, "percent", "95\xa0%"),
        (-0.5, "signed", "−0.500"),
        (1234567, "count", "1\u202f234\u202f567"),
        (130.3, "seconds", "130 s"),
        (6000.0, "seconds", "100 min"),
    ],
)
def test_shown(value, form, text):
    assert shown(value, form) == text


def test_a_figure_names_its_place():
    source = Source("x.json", {"a/b": [{"c~": 0.5}, None, float("inf")]})
    assert source.figure("a/b", 0, "c~") == '<data value="0.5" data-at="x.json#/a~1b/0/c~0">0.500</data>'
    for path in (("a/b", 1), ("a/b", 2), ("a/b", 9), ("none", "x"), ("a/b", "0")):
        assert source.figure(*path) == '<span class="none">–</span>'
    assert source.range("a/b") == "" and Source("x", {"r": [0.1, None]}).range("r") == ""
