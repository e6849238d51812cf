"""Modules that are imported when they are first used.

TensorFlow takes five seconds to import; `--help` and an error in a config should not. (The package lazy_loader puts
half-loaded modules into `sys.modules`, where TensorFlow's own lazy import of Keras finds them and fails.)
"""

from __future__ import annotations

import importlib
import types
from typing import Any


class _Lazy(types.ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), attribute)
        setattr(self, attribute, value)
        return value


def lazy(module_name: str) -> Any:
    """A stand-in for a module that imports it when an attribute is first asked for."""
    return _Lazy(module_name)
