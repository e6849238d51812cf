"""The code that a modality's features depend on, found in the sources without running them.

From the methods that make features on, every name is followed: functions, constants and classes of the modality's own
module, what that imports of mmkeras and of the modality's own package, at once or lazily, what `self` and `super()`
name. Comments, docstrings and annotations do not count, and neither do fields, whose values are settings. Other
packages are not entered.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmkeras.contracts.modality import Modality

ROOTS = ("read", "sort_of", "examine", "examine_many", "preprocess", "cell", "features")
LAZY = ("lazy", "import_module")  # functions whose first argument is a module's name
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Source = Callable[[str], str | None]


def source_of(module_name: str) -> str | None:
    """A module's text; None where there is none, as in a notebook. It imports nothing."""
    file = _file_of(module_name)
    return file.read_text(encoding="utf-8") if file else None


@functools.cache
def code_of(kind: type[Modality]) -> str:
    """All that a modality's features depend on, as text that two processes with the same code agree on."""
    return "\n".join(f"{name}:\n{text}" for name, text in sorted(reached(kind, source_of).items()))


def reached(kind: type[Modality], source: Source) -> dict[str, str]:
    """{module:name: text without comments, docstrings and annotations} of each definition that features depend on.

    Args:
        kind: The class of a modality.
        source: A module's name to its text, or None.
    """
    return _Search(kind, source).run()


def _file_of(module_name: str) -> Path | None:
    """Of a module whose package, the first part of its name, is imported."""
    top, *parts = module_name.split(".")
    package = sys.modules.get(top)
    if not parts:
        files = [Path(getattr(package, "__file__", None) or "")]
    else:
        paths = [Path(folder, *parts) for folder in getattr(package, "__path__", ())]
        files = [file for path in paths for file in (path / "__init__.py", path.with_suffix(".py"))]
    return next((file for file in files if file.is_file()), None)


class _Module:
    """What a module's text defines and imports at its top level.

    Attributes:
        definitions: {name: the statements that give it its value}.
        imports: {name: dotted name}, lazy ones too.
        stars: Modules all of whose names are imported.
        members: {qualified name of a class, those in functions too: {name: the statements that define it}}.
    """

    def __init__(self, name: str, text: str):
        file = _file_of(name)
        self.package = name if file and file.name == "__init__.py" else name.rpartition(".")[0]
        self.definitions: dict[str, list[ast.stmt]] = defaultdict(list)
        self.imports: dict[str, str] = {}
        self.stars: list[str] = []
        tree = ast.parse(text)
        for statement in tree.body:
            self._add(statement)
        for statement in tree.body:
            if isinstance(statement, ast.Expr):  # `TABLE.update(…)` changes what TABLE is
                named = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
                for name in named & {*self.definitions}:
                    self.definitions[name].append(statement)
        self.members = {name: _members(node) for name, node in _classes(tree, "")}

    def _add(self, statement: ast.stmt) -> None:
        if _is_for_types_only(statement):
            return
        self.imports |= _imports(statement, self.package)
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            self.stars.append(_absolute(statement, self.package))
        elif isinstance(statement, ast.Assign) and (module := _named_module(statement.value)):
            self.imports |= {target.id: module for target in statement.targets if isinstance(target, ast.Name)}
        elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
            bound = _bound([statement], self.package)
            self.imports |= {name: target for name, target in bound.items() if target is not None}
            for name in bound:
                self.definitions[name].append(statement)


class _Search:
    """Follows names from the methods that make features."""

    def __init__(self, kind: type[Modality], source: Source):
        self.source = source
        self.classes = [one for one in kind.__mro__ if one.__module__.partition(".")[0] not in ("builtins", "pydantic")]
        self.fields = {*kind.model_fields}
        self.packages = {"mmkeras", *(one.__module__.partition(".")[0] for one in self.classes)}
        self.modules: dict[str, _Module | None] = {}
        self.texts: dict[str, str] = {}
        self.followed: set[tuple[str, str, tuple[str, ...]]] = set()
        self.waiting: list[tuple[list[ast.stmt], str, int | None]] = []
        self.attributes: set[str] = set()
        self.hands_self_on = False

    def run(self) -> dict[str, str]:
        names, seen = {*ROOTS}, set()
        while names:
            for name in names:
                self._follow_member(name, 0)
            while self.waiting:
                self._follow_uses(*self.waiting.pop())
            seen |= names
            # A function that got the modality itself may ask of it what it asks of any object.
            names = self.attributes - seen if self.hands_self_on else set()
        return self.texts

    def _module(self, name: str) -> _Module | None:
        if name not in self.modules:
            text = self.source(name) if name.partition(".")[0] in self.packages else None
            self.modules[name] = None if text is None else _parsed(name, text)
        return self.modules[name]

    def _follow_member(self, name: str, first: int) -> None:
        """What the first of the modality's classes, from one of them on, defines under a name."""
        for i, one in enumerate(self.classes[first:], first):
            module = self._module(one.__module__)
            statements = module.members.get(one.__qualname__, {}).get(name) if module else None
            if statements:
                if name not in self.fields:
                    self._take(f"{one.__module__}:{one.__qualname__}.{name}", statements, one.__module__, i)
                return

    def _follow(self, module_name: str, name: str, attributes: tuple[str, ...] = ()) -> bool:
        """A name at the top level of a module and attributes of what it stands for; whether the module has it."""
        if (module_name, name, attributes) in self.followed:
            return True
        self.followed.add((module_name, name, attributes))
        module = self._module(module_name)
        if name in module.definitions:
            self._follow_definition(module_name, name, attributes)
        if name in module.imports:
            self._follow_dotted(module.imports[name], attributes, f"{module_name}:{name}")
        is_there = name in module.definitions or name in module.imports
        return is_there or any(self._module(star) and self._follow(star, name, attributes) for star in module.stars)

    def _follow_definition(self, module_name: str, name: str, attributes: tuple[str, ...]) -> None:
        place = next(
            (i for i, one in enumerate(self.classes) if (one.__module__, one.__qualname__) == (module_name, name)), None
        )
        if place is None:
            self._take(f"{module_name}:{name}", self._module(module_name).definitions[name], module_name, None)
        elif attributes:
            self._follow_member(attributes[0], place)

    def _follow_dotted(self, dotted: str, attributes: tuple[str, ...], alias: str = "") -> None:
        """What an import names: a module, or a name in one."""
        if dotted.partition(".")[0] not in self.packages:
            if alias:
                self.texts[alias] = dotted
            return
        parts, length = (*dotted.split("."), *attributes), len(dotted.split("."))
        while length > 1 and self._module(".".join(parts[:length])) is None:
            length -= 1
        module_name, rest = ".".join(parts[:length]), parts[length:]
        if rest and self._module(f"{module_name}.{rest[0]}"):
            self._follow_dotted(f"{module_name}.{rest[0]}", rest[1:])
        elif self._module(module_name) and not (rest and self._follow(module_name, rest[0], rest[1:])):
            self._follow_all(module_name)  # the module itself is handed on

    def _follow_all(self, module_name: str) -> None:
        module = self._module(module_name)
        for name in (*module.definitions, *module.imports):
            self._follow(module_name, name)

    def _take(self, key: str, statements: list[ast.stmt], module_name: str, place: int | None) -> None:
        """Keeps a definition's text, and what it uses for later.

        Args:
            key: What it is called.
            statements: Of the module, or of one of the modality's classes.
            module_name: Where they stand.
            place: Of the class among the modality's; None outside of them.
        """
        if key not in self.texts:
            self.texts[key] = "\n".join(map(_plain, statements))
            self.waiting.append((statements, module_name, place))

    def _follow_uses(self, statements: list[ast.stmt], module_name: str, place: int | None) -> None:
        for statement in statements:
            uses = _uses(statement, self._module(module_name).package)
            for name, attributes in uses.names:
                self._follow(module_name, name, attributes)
            for dotted, attributes in uses.imported:
                self._follow_dotted(dotted, attributes)
            self.attributes |= uses.attributes
            if place is not None:
                self._follow_own(uses, place)

    def _follow_own(self, uses: _Uses, place: int) -> None:
        self.hands_self_on |= uses.hands_self_on
        for name in uses.own:
            self._follow_member(name, 0)
        for name in uses.above:
            self._follow_member(name, place + 1)


class _Uses(ast.NodeVisitor):
    """What a definition uses.

    Attributes:
        names: (name, attributes of it) at the top level of the module.
        imported: (dotted name, attributes of it) that a function imports itself.
        own, above: Attributes of `self` or `cls`, and of `super()`.
        attributes: Of anything else.
        hands_self_on: Whether `self` goes elsewhere as a whole.
    """

    def __init__(self, package: str):
        self.package = package
        self.scopes: list[dict[str, str | None]] = []
        self.names: set[tuple[str, tuple[str, ...]]] = set()
        self.imported: set[tuple[str, tuple[str, ...]]] = set()
        self.own: set[str] = set()
        self.above: set[str] = set()
        self.attributes: set[str] = set()
        self.hands_self_on = False

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base, attributes = _chain(node)
        function = base.func.id if isinstance(base, ast.Call) and isinstance(base.func, ast.Name) else ""
        if isinstance(base, ast.Name) and base.id in ("self", "cls"):
            self.own.add(attributes[1] if attributes[0] == "__class__" and attributes[1:] else attributes[0])
        elif isinstance(base, ast.Name):
            self._use(base.id, attributes)
        elif function == "super":
            self.above.add(attributes[0])
        elif function == "type" and [getattr(argument, "id", "") for argument in base.args] == ["self"]:
            self.own.add(attributes[0])
        else:
            self.attributes.update(attributes)
            self.visit(base)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in ("self", "cls"):
            self.hands_self_on = True
        else:
            self._use(node.id, ())

    def visit_Call(self, node: ast.Call) -> None:
        if module := _named_module(node):
            self.imported.add((module, ()))
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not self.scopes:  # one of several, in `try` or `if`
            self.imported |= {(dotted, ()) for dotted in _imports(node, self.package).values()}

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, FUNCTIONS):
            self._visit_function(node)
        elif isinstance(node, COMPREHENSIONS):
            self.visit(node.generators[0].iter)  # sees what stands around it
            self._visit_within([node.generators, *_parts(node)], _bound(node.generators, self.package))
        else:
            super().visit(node)

    def _visit_function(self, node: Any) -> None:
        arguments = node.args
        outside = [*getattr(node, "decorator_list", ()), *arguments.defaults, *filter(None, arguments.kw_defaults)]
        for part in outside:
            self.visit(part)
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        body = node.body if isinstance(node.body, list) else [node.body]
        self._visit_within(body, {argument.arg: None for argument in named if argument} | _bound(body, self.package))

    def _visit_within(self, nodes: list[Any], scope: dict[str, str | None]) -> None:
        self.scopes.append(scope)
        for node in nodes:
            for part in node if isinstance(node, list) else [node]:
                self.visit(part)
        self.scopes.pop()

    def _use(self, name: str, attributes: tuple[str, ...]) -> None:
        scope = next((scope for scope in reversed(self.scopes) if name in scope), None)
        if scope is None:
            self.names.add((name, attributes))
        elif scope[name] is not None:
            self.imported.add((scope[name], attributes))
        else:
            self.attributes.update(attributes)


@functools.lru_cache(maxsize=64)
def _parsed(name: str, text: str) -> _Module:
    return _Module(name, text)


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes below a node by their qualified names."""
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
            yield from _classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, FUNCTIONS):
            yield from _classes(child, f"{prefix}{child.name}.<locals>.")


def _members(node: ast.ClassDef) -> dict[str, list[ast.stmt]]:
    members = defaultdict(list)
    for statement in node.body:
        for name in _bound([statement], ""):
            members[name].append(statement)
    return members


def _is_for_types_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and getattr(statement.test, "id", "") == "TYPE_CHECKING"


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that `from … import` names."""
    if not node.level:
        return node.module
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _imports(node: ast.AST, package: str) -> dict[str, str]:
    """{name: dotted name} that an import binds."""
    if isinstance(node, ast.Import):
        return {name.asname or name.name.split(".")[0]: name.name if name.asname else name.name.split(".")[0]
                for name in node.names}  # fmt: skip
    if isinstance(node, ast.ImportFrom):
        module = _absolute(node, package)
        return {name.asname or name.name: f"{module}.{name.name}" for name in node.names if name.name != "*"}
    return {}


def _named_module(node: ast.AST) -> str:
    """What `lazy("…")` names; "" of anything else."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return ""
    function = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
    return node.args[0].value if function in LAZY and isinstance(node.args[0].value, str) else ""


def _bound(nodes: list[Any], package: str) -> dict[str, str | None]:
    """{name: what it is imported from, or None} of the names that nodes bind in their own scope."""
    bound: dict[str, str | None] = {}
    elsewhere: set[str] = set()
    remaining = list(nodes)
    while remaining:
        node = remaining.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound[node.name] = None
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.setdefault(node.id, None)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            bound.setdefault(node.name, None)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            elsewhere.update(node.names)
        bound |= _imports(node, package)
        if not isinstance(node, (*FUNCTIONS, *COMPREHENSIONS, ast.ClassDef)):
            remaining.extend(ast.iter_child_nodes(node))
    return {name: target for name, target in bound.items() if name not in elsewhere}


def _chain(node: ast.expr) -> tuple[ast.expr, tuple[str, ...]]:
    """What stands before all the dots, and what stands after each."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return node, tuple(reversed(attributes))


def _parts(node: Any) -> list[ast.expr]:
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]


@functools.lru_cache(maxsize=4096)
def _plain(statement: ast.stmt) -> str:
    """A statement's text without comments, docstrings and functions' annotations, which it loses for good."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and _is_text(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(statement)


@functools.lru_cache(maxsize=4096)
def _uses(statement: ast.stmt, package: str) -> _Uses:
    uses = _Uses(package)
    uses.visit(statement)
    return uses


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)
