"""Which models are judged beside each other: as `evaluation.json` holds them, and what a person calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FORMAT = 2  # of evaluation.json; a file of another one is judged anew

Kind = Literal["own", "without", "only", "prior", "classical", "classical_without", "network"]


@dataclass(frozen=True)
class Model:
    """One model on the judged rows.

    Attributes:
        kind: own: the run's; without, only: the same with a column hidden, or with all others hidden; prior: it looks
            at nothing; classical, classical_without: simple models of a column, of all, of all but one; network: the
            run's network, trained on one column alone.
        column: The one that it is about; None where it is about all.
    """

    kind: Kind
    column: str | None = None

    @property
    def words(self) -> str:
        """What a person calls it."""
        if self.kind == "classical" and self.column is None:
            return "classical, all"
        beginning = {
            "own": "mmkeras",
            "without": "the same without",
            "only": "the same with nothing but",
            "prior": "prior",
            "classical": "classical on",
            "classical_without": "classical, without",
            "network": "mmkeras trained on nothing but",
        }[self.kind]
        return beginning if self.column is None else f"{beginning} {self.column}"

    @property
    def is_what_if(self) -> bool:
        """Whether it is the run's own model that was shown less."""
        return self.kind in ("without", "only")


OWN, PRIOR = Model("own"), Model("prior")


def record(model: Model, scores: Mapping[str, float], intervals: Mapping[str, Any]) -> dict[str, Any]:
    """A model as `evaluation.json` holds it."""
    return {"kind": model.kind, "column": model.column, "scores": scores, "intervals": intervals}


def models_in(target: Mapping[str, Any]) -> dict[Model, dict[str, Any]]:
    """{model: its record}, in their order, of a target's part of `evaluation.json`."""
    return {Model(each["kind"], each["column"]): each for each in target["models"]}


def scores_in(target: Mapping[str, Any]) -> dict[Model, dict[str, float]]:
    """{model: its figures}, in their order, of a target's part of `evaluation.json`."""
    return {model: each["scores"] for model, each in models_in(target).items()}
