"""Notebooks are stories: each runs from its first cell to its last, defines nothing and is kept without outputs."""

import re
import shutil
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
DEFINITION = re.compile(r"^\s*(async\s+def|def|class)\s|\blambda\b", re.MULTILINE)
CELL_SECONDS = 1200


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"1_explore", "2_train", "3_explain", "4_serve"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_defines_no_function(path):
    assert [cell.source for cell in code_cells(path) if DEFINITION.search(cell.source)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs(path):
    assert [cell.source for cell in code_cells(path) if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path):
    from nbclient import NotebookClient

    copy = Path(shutil.copytree(path.parent, tmp_path / "notebooks")) / path.name
    notebook = nbformat.read(copy, as_version=4)
    resources = {"metadata": {"path": str(copy.parent)}}
    NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=resources).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
