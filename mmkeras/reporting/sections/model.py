"""What was trained: settings that differ from defaults, the picture of the model."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from markupsafe import Markup

from mmkeras.base import run_files
from mmkeras.contracts.component import Component
from mmkeras.contracts.modality import Modality
from mmkeras.reporting import charts
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import SPLITS, flattened


def model_part(results: Results) -> dict[str, Any]:
    """What the model is, and what it was trained on."""
    schema, training = results.schema, results.metrics.at("training") or {}
    named = [(column, schema.columns[column].type_name()) for column in results.columns]
    heads = [(target, head.type_name()) for target, head in results.heads.items()]
    counts = results.splits.value_counts()
    return {
        "flow": charts.flow(named, schema.fusion.type_name(), heads),
        "columns": [(column, kind, _changed(schema.columns[column])) for column, kind in named],
        "fusion": (schema.fusion.type_name(), _changed(schema.fusion)),
        "targets": [(target, kind, _changed(results.heads[target])) for target, kind in heads],
        "splits": {split: int(counts[split]) for split in SPLITS if split in counts},
        "has_training": bool(training),
        "date": results.origin.get("date") or _date(results),
        "table": results.identity.get("path") or "a DataFrame, kept in the run folder",
        "diagram": _picture(results),
    }


# The model


def _changed(component: Component) -> list[tuple[str, str]]:
    """Settings that are not their defaults."""
    defaults = flattened(_defaults(component))
    return [(name, value) for name, value in flattened(component.settings()).items() if value != defaults.get(name)]


def _defaults(component: Component) -> dict[str, Any]:
    """What its settings would be had nobody said anything; of encoders, what suits its other settings."""
    fields = type(component).model_fields
    plain = {
        # pydantic does not turn a default into what its field is
        name: list(field.default) if isinstance(field.default, tuple)
        else float(field.default) if field.annotation is float
        else field.default
        for name, field in fields.items()
    }  # fmt: skip
    plain |= {"type": component.type_name()}
    if isinstance(component, Modality) and component.offers:
        understood = type(component).understood(component.settings() | {"encoder": None}, component.type_name())
        plain["encoder"] = component.model_copy(update={"encoder": understood["encoder"]}).settings()["encoder"]
    return plain


def _date(results: Results) -> str:
    file = results.run.folder / run_files.METRICS
    return datetime.fromtimestamp(file.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _picture(results: Results) -> Markup | None:
    """model.png as a data URI."""
    file = results.run.folder / run_files.MODEL_PICTURE
    if not file.is_file():
        return None
    return Markup(f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}")
