"""Imports go one way, nothing heavy comes in unasked, and no kind of column is named outside its own file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mmkeras
from mmkeras.__main__ import COMMANDS
from mmkeras.contracts.component import PACKAGES
from mmkeras.contracts.registry import members

PACKAGE = Path(mmkeras.__file__).parent

# One line of rooms: a module imports its own room and those before it, of those in braces none of the others in them.
# `lazy("mmkeras.x")` counts, and so do imports for type hints. `components` are loaded by name only.
ROOMS = [
    {""},  # the package itself
    {"base"},
    {"contracts"},
    {"table"},
    {"features"},
    {"network"},
    {"components", "training", "serving"},
    {"evaluation"},
    {"explanation"},
    {"reporting"},
    {"doors"},
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
# What a member of components/ may use beside its own file: contracts, leaves, and tools on cells and tensors
MEMBERS_MAY_USE = ("base", "contracts", "features.cells", "features.ops", "network.layers", "network.files")
DOORS = {*COMMANDS, "__main__"}
# What a table or config that says nothing gets; a new member does not touch these.
DEFAULTS = {
    ("contracts/config.py", "weighted"),
    ("contracts/objective.py", "supervised"),
    ("table/guess.py", "classification"),
}
# How members were spelled once, which no new one ever was
HISTORY = {"contracts/old_spellings.py"}

FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = {kind: PACKAGE.parent / package.replace(".", "/") for kind, package in PACKAGES.items()}
NAMES = {name for kind in PACKAGES for name in members(kind)}


def room_of(module: str) -> str:
    """A dotted module's room, without "mmkeras."."""
    first = module.partition(".")[0]
    return "doors" if first in DOORS else first


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imported(tree: ast.AST):
    """Every dotted name that a file imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from mmkeras.training import plots` imports a module, `from mmkeras.training.run import Run` a name
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("lazy", "import_module") and node.args:
            yield from (node.args[0].value,) if isinstance(node.args[0], ast.Constant) else ()


def own_imports(source: str) -> set[str]:
    """What a file imports of mmkeras, without "mmkeras."; "" is the package itself."""
    names = {name for name in imported(ast.parse(source)) if name.split(".")[0] == "mmkeras"}
    return {name.partition(".")[2] for name in names}


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
    assert own_imports(source) == {"a", "b.x", "c", "e", "f.g"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_rooms_import_one_way(file):
    room = room_of(module_of(file))
    assert room in RANK, f"give {room} its place in the line of rooms, here and in the design"
    for other in own_imports(file.read_text(encoding="utf-8")):
        to = room_of(other)
        is_member = room == "components" and to == "components"
        assert to in RANK, f"{module_of(file)} imports {other}"
        assert (RANK[to] < RANK[room] or to == room) and not is_member, f"{module_of(file)} imports {other}"


@pytest.mark.parametrize("kind", PACKAGES)
def test_members_know_the_contracts_and_tools_only(kind):
    for file in FOLDERS[kind].glob("*.py"):
        for other in own_imports(file.read_text(encoding="utf-8")):
            assert f"{other}.".startswith(tuple(f"{room}." for room in MEMBERS_MAY_USE)), f"{file.name}: {other}"


def test_nobody_but_main_and_doors_imports_a_door():
    for file in FILES:
        doors = {name for name in own_imports(file.read_text(encoding="utf-8")) if room_of(name) == "doors"}
        assert not doors or room_of(module_of(file)) == "doors", f"{module_of(file)} imports {doors}"


def test_every_room_is_there_and_every_door_is_a_command():
    assert {room_of(module_of(file)) for file in FILES} == set(RANK)
    files = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert files == set(COMMANDS)


def test_tests_mirror_the_package():
    """A room's module has its test in the folder of the same name, if it has one of its own."""
    tests = Path(__file__).parent
    modules = {file.relative_to(PACKAGE) for file in FILES}
    folders = {module.parent for module in modules}
    for file in tests.rglob("test_*.py"):
        place = file.relative_to(tests).parent
        assert place in folders, f"{file.relative_to(tests)} stands in no room of the package"


def test_no_member_is_named_outside_its_own_file():
    """In an open folder the names of its own kind: an encoder may be called as a fusion is."""
    kinds = {FOLDERS[kind]: members(kind) for kind in PACKAGES}
    named = {
        (file.relative_to(PACKAGE).as_posix(), node.value)
        for file in FILES
        if file.relative_to(PACKAGE).as_posix() not in HISTORY
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in kinds.get(file.parent, NAMES) and file.stem != node.value
    }
    assert named == DEFAULTS


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
    loaded = modules_after(f"{ask}\n{shown}\nassert 'Commands' in help.getvalue()")
    assert "mmkeras" in loaded
    assert not loaded & {"numpy", "pandas", "pydantic", "sklearn", "tensorflow", "keras"}


def test_commands_configs_and_members_import_no_tensorflow():
    commands = f"import {', '.join(f'mmkeras.{name}' for name in COMMANDS)}"
    schema = "import mmkeras.contracts.config\nmmkeras.contracts.config.json_schema()"  # loads every member
    loaded = modules_after(f"{commands}\n{schema}")
    assert "mmkeras" in loaded
    assert not loaded & {"tensorflow", "keras", "tensorflow_text", "tensorflow_io", "librosa", "sklearn", "matplotlib"}
