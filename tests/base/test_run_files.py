"""What files of a run folder are called stands in one module."""

import ast
from pathlib import Path

import pytest

import mmkeras
from mmkeras.base import run_files

PACKAGE = Path(mmkeras.__file__).parent
HERE = Path(run_files.__file__)
NAMES = {value for name, value in vars(run_files).items() if name.isupper()}
# Words that mean other things too, where they are no file's name
WORDS = {run_files.ANSWERS, run_files.SHOWN_FOLDER, run_files.ALONE}
BEGINNINGS = ("answers_", "evaluation_", "against_")
# The example's own config, and the template of the page
OTHERS = {("table/plan.py", run_files.CONFIG), ("reporting/page.py", run_files.REPORT)}


def spelled(source: str) -> set[str]:
    """The names that a module's strings spell, whole, at the end of a path or as an f-string's beginning."""
    tree = ast.parse(source)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    begins = {
        node.values[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant)
    }
    names = {text.rpartition("/")[2] for text in texts} & (NAMES - WORDS)
    return names | {begin for begin in begins if begin in BEGINNINGS}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('run.folder / "splits.csv"', {"splits.csv"}),
        ('run.folder / "explanation"', {"explanation"}),
        ('FILE = "explanation/explanation.json"', {"explanation.json"}),
        ('file = f"answers_{target}.png"', {"answers_"}),
        ("say(f\"see {run.folder / 'evaluation.json'}\")", {"evaluation.json"}),
        ('"""Writes splits.csv and `bad_rows.csv`."""', set()),
        ('page["shown"] = answers["answers"]', set()),
    ],
)
def test_a_spelled_name_is_seen(source, names):
    assert spelled(source) == names


def test_no_other_module_spells_a_name():
    files = [file for file in PACKAGE.rglob("*.py") if file != HERE]
    found = {
        (file.relative_to(PACKAGE).as_posix(), name)
        for file in files
        for name in spelled(file.read_text(encoding="utf-8"))
    }
    assert found == OTHERS


def test_every_name_is_explained():
    for name in NAMES:
        assert name.rpartition(".")[0] in run_files.__doc__ or "*.png" in run_files.__doc__ and name.endswith(".png")
