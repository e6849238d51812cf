"""`find`, which turns a config's `type:` into a class, and the names of what there is."""

from __future__ import annotations

import difflib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable, Iterator

from mmkeras.contracts.component import PACKAGES, Component, Kind


def layer_name(name: str) -> str:
    """What a column is called inside TensorFlow, which allows letters a to z, digits and underscores only."""
    plain = re.sub(r"[^A-Za-z0-9_]", lambda found: "_" if found[0].isascii() else f"u{ord(found[0]):x}", name)
    return plain if plain[:1].isalnum() else f"x{plain}"


def find(kind: Kind, name: str) -> type[Component]:
    """The class that a config's `type:` names.

    Args:
        kind: Which of the open folders.
        name: A file's name in that folder, or a dotted module path from outside (`mypackage.thermal` holds `Thermal`).

    Raises:
        ValueError: No such file or class; names the nearest one.
    """
    class_name = name.rpartition(".")[2].title().replace("_", "")
    if "." not in name and name not in members(kind):
        raise ValueError(f'unknown {kind} "{name}"{nearest(name, members(kind))}')
    module_name = name if "." in name else f"{PACKAGES[kind]}.{name}"
    if "." in name and not _importable(name):
        raise ValueError(f'unknown {kind} "{name}": Python finds no module of that name; is its package installed?')
    member = getattr(importlib.import_module(module_name), class_name, None)
    if not (isinstance(member, type) and issubclass(member, Component) and member.kind == kind):
        raise ValueError(f'{kind} "{name}": module {module_name} holds no {kind} class named {class_name}')
    return member


def members(kind: Kind) -> list[str]:
    """The names of all files in a kind's folder, sorted."""
    folder = importlib.import_module(PACKAGES[kind])
    return sorted(module.name for module in pkgutil.iter_modules(folder.__path__))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: `; did you mean "x"? (x, y, z)`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f'; did you mean "{close[0]}"?' if close else "; expected one of"
    return f"{hint} ({', '.join(known)})"


def walk(components: dict[str, Component]) -> Iterator[tuple[str, Component]]:
    """Columns or targets in sorted order, so that nothing depends on how a dict was filled."""
    yield from sorted(components.items())


def _importable(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False
