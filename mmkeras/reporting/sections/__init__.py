"""The page's sections, one file each."""

from mmkeras.reporting.sections import (
    checks,
    columns,
    comparison,
    data,
    model,
    reproduce,
    summary,
    target,
    training,
)

__all__ = ["checks", "columns", "comparison", "data", "model", "reproduce", "summary", "target", "training"]
