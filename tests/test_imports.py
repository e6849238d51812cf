"""Imports go one way, nothing heavy comes in unasked, and no kind of column is named outside its own file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mmkeras
from mmkeras.component import FOLDERS, members

PACKAGE = Path(mmkeras.__file__).parent

# A module imports modules of lower levels only; `lazy("mmkeras.x")` counts, and so do imports for type hints.
LEVELS = [
    {
        "",
        "charts",
        "component",
        "config_page",
        "drawing",
        "lazy",
        "layers",
        "ops",
        "manifest",
        "paths",
        "remote",
        "shards",
        "splits",
        "statistics",
        "terminal",
        "threads",
        "shapley",
    },  # "" is the package itself
    {"modalities", "fusions", "heads"},
    {"config", "preprocessing", "cache", "bad_rows", "findings"},
    {
        "inspection",
        "features",
        "records",
        "model",
        "distribution",
        "graph",
        "plots",
        "run",
        "callbacks",
        "guess",
        "judging",
        "showing",
    },
    {"dataset", "attribution", "coalitions", "explanation", "results"},
    {"fit", "inference", "grad_cam", "faithfulness", "gallery", "summary"},
    {"board"},
    {"sections", "train", "explainer", "judged_rows"},
    {"against", "baselines"},
    {"check", "evaluate", "predict", "embed", "export", "prepare", "explaining"},
    {"compare", "explain"},
    {"report"},
    {"__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}
# manifest: the words of messages about rows; drawing: the colours and captions that all cells share; statistics: what
# heads are judged by
MEMBERS_MAY_USE = {"component", "drawing", "lazy", "layers", "ops", "manifest", "statistics"}
# Within a level, each with its reason.
EXCEPTIONS = {
    ("component", "layers"): "a head tempers predictions as its layer does",
    ("ops", "lazy"): "TensorFlow is imported when it is first used",
    ("splits", "manifest"): "deals the rows of a Manifest",
    ("splits", "remote"): "tells an address from a path",
    ("manifest", "paths"): "joins cells to the paths that may be read",
    ("paths", "remote"): "an address is asked for where it leads",
    ("run", "model"): "a run rebuilds its model",
}
# What a table or config that says nothing gets; a new member does not touch these.
DEFAULTS = {("config", "weighted"), ("guess", "classification")}

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {name for kind in FOLDERS for name in members(kind)}


def place(file: Path) -> str:
    """A module by its name in LEVELS: modalities/x.py is "modalities"."""
    return (
        ""
        if file.parent == PACKAGE and file.stem == "__init__"
        else file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    )


def imported(tree: ast.AST):
    """Every dotted name that a file imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from mmkeras import plots` imports a module, `from mmkeras.run import Run` a name
            yield from (
                (f"{node.module}.{alias.name}" for alias in node.names) if node.module == "mmkeras" else (node.module,)
            )
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("lazy", "import_module") and node.args:
            yield from (node.args[0].value,) if isinstance(node.args[0], ast.Constant) else ()


def own_imports(source: str) -> set[str]:
    """The modules of mmkeras that a file imports, by their names in LEVELS."""
    found = {name for name in imported(ast.parse(source)) if name.split(".")[0] == "mmkeras"}
    return {name.split(".")[1] if "." in name else "" for name in found}


def test_own_imports_sees_every_way_to_import():
    source = """
import mmkeras.a, os
from mmkeras.b import x
from mmkeras import c
from other import d
e = lazy("mmkeras.e")
def f():
    import mmkeras.f.g
"""
    assert own_imports(source) == {"a", "b", "c", "e", "f"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file):
    module = place(file)
    assert module in LEVEL, f"give {module} a level, here and in the design"
    for other in own_imports(file.read_text(encoding="utf-8")):
        allowed = other in LEVEL and LEVEL[other] < LEVEL[module] or (module, other) in EXCEPTIONS
        assert allowed, f"{module} imports {other}"


@pytest.mark.parametrize("kind", FOLDERS)
def test_members_know_the_contracts_and_tools_only(kind):
    for file in (PACKAGE / FOLDERS[kind]).glob("*.py"):
        assert own_imports(file.read_text(encoding="utf-8")) <= MEMBERS_MAY_USE, file.name


def test_the_table_is_about_what_is_there():
    places = {place(file) for file in FILES}
    assert set(LEVEL) == places
    assert all(LEVEL[first] == LEVEL[second] for first, second in EXCEPTIONS)
    used = {(place(file), other) for file in FILES for other in own_imports(file.read_text(encoding="utf-8"))}
    assert set(EXCEPTIONS) <= used


def test_no_member_is_named_outside_its_own_file():
    """In an open folder the names of its own kind: an encoder may be called as a fusion is."""
    kinds = {folder: members(kind) for kind, folder in FOLDERS.items()}
    found = {
        (place(file), node.value)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in kinds.get(place(file), NAMES) and file.stem != node.value
    }
    assert found == DEFAULTS


def modules_after(statements: str) -> set[str]:
    """The top-level packages that a new process holds after it ran the statements."""
    code = f"import sys\n{statements}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_mmkeras_imports_next_to_nothing():
    heavy = {"numpy", "pandas", "pydantic", "typer", "tensorflow", "keras"}
    assert not modules_after("import mmkeras") & heavy


def test_help_imports_nothing_that_takes_long():
    ask = "import contextlib, io, mmkeras.__main__\nsys.argv = ['mmkeras', '--help']"
    shown = "with contextlib.redirect_stdout(io.StringIO()) as help:\n    mmkeras.__main__.main()"
    found = modules_after(f"{ask}\n{shown}\nassert 'Commands' in help.getvalue()")
    assert "mmkeras" in found
    assert not found & {"numpy", "pandas", "pydantic", "sklearn", "tensorflow", "keras"}


def test_commands_configs_and_members_import_no_tensorflow():
    names = ("train", "check", "evaluate", "explain", "report", "predict", "embed", "export", "compare")
    commands = f"import {', '.join(f'mmkeras.{name}' for name in names)}"
    schema = "mmkeras.config.json_schema()"  # loads every member
    found = modules_after(f"{commands}\n{schema}")
    assert "mmkeras" in found
    assert not found & {"tensorflow", "keras", "tensorflow_text", "tensorflow_io", "librosa", "sklearn", "matplotlib"}
