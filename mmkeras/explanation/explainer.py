"""Rows of features to explanations: what each column did to each prediction, and what did it inside a column."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import COLUMN_WEIGHTS
from mmkeras.contracts.registry import walk
from mmkeras.contracts.scorer import Scorer
from mmkeras.explanation import shapley
from mmkeras.explanation.attribution import Asked, Attributed, Averaged, Column, attribute
from mmkeras.explanation.coalitions import Coalitions
from mmkeras.explanation.grad_cam import NAME as GRAD_CAM
from mmkeras.explanation.grad_cam import GradCam
from mmkeras.network.build import network_of
from mmkeras.network.network import Network

Rows = Mapping[str, Mapping[str, np.ndarray]]
"""{column: {feature: (R, …)}}."""


@dataclass(frozen=True)
class Explained:
    """What the columns did to one target's prediction of some rows.

    Attributes:
        factors: (R, P) the explained number's factor, 0 for the others; with `terms` it is in its unit.
        terms: (R,)
        places: (R,) which of the P numbers is explained.
        whole: (R,) the explained quantity of the rows as they are.
        prior: (R,) the same of rows of which nothing is known.
        values: (R, M) each column's Shapley value, 0 where its cell is missing.
        weights: (R, M) what the fusion weighs the columns; None where it has no such figure.
    """

    factors: np.ndarray
    terms: np.ndarray
    places: np.ndarray
    whole: np.ndarray
    prior: np.ndarray
    values: np.ndarray
    weights: np.ndarray | None


@dataclass
class Explainer:
    """A network with its schema, ready to be asked; what it computes is traced once.

    Attributes:
        network: Trained.
        schema: Adapted columns and targets, those of the network.
        targets: Which of them are asked about.
        orders_seed: Of the orders in which columns join, where there are too many for all patterns.
    """

    network: Network
    schema: Config
    targets: Sequence[str]
    orders_seed: int = 0
    _columns: dict[str, Column] = field(default_factory=dict)
    _cams: dict[str, GradCam] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = sorted(self.schema.columns)
        names = {*self.targets, COLUMN_WEIGHTS}
        self.coalitions = Coalitions(self.network, [name for name in self.network.all_told if name in names])
        count = len(self.columns)
        self.is_exact = count <= shapley.MOST_EXACT
        self._orders = None if self.is_exact else shapley.sampled_orders(count, seed=self.orders_seed)
        self._patterns, self._index = self._asked_patterns()

    def explain(self, rows: Rows, answers: Mapping[str, str | None]) -> dict[str, Explained]:
        """{target: what the columns did} of rows.

        Args:
            rows: Their features.
            answers: {target: the class, label or number to explain; None: what each row's answer is}.
        """
        predictions = self.coalitions.predictions(rows, self._patterns)
        weights = predictions.get(COLUMN_WEIGHTS)
        present = np.stack([rows[column]["present"] > 0 for column in self.columns], axis=1)
        return {
            target: self._explained(
                self.schema.targets[target].scorer, predictions[target], answers.get(target), present,
                None if weights is None else weights[-1],
            )
            for target in self.targets
        }  # fmt: skip

    def asked(self, target: str, between: Mapping[str, Explained], rows: np.ndarray) -> Asked:
        """What `attribute` wants to know of one target of some rows: the others' factors are 0, the graph is one."""
        factors = {name: np.zeros_like(each.factors[rows]) for name, each in between.items()}
        return factors | {target: between[target].factors[rows]}

    def attribute(self, column: str, rows: Rows, asked: Asked) -> Attributed | None:
        """What the numbers of a column's cells did, of rows that have the column; None where it has no content.

        With what the cells' presence does they add up to the column's Shapley value: exactly where there are four
        columns or fewer, and all sets of the others are looked at.
        """
        modality = self.schema.columns[column]
        if not modality.content:
            return None
        attributed = attribute(self.prepared(column, rows), asked)
        if modality.has_grad_cam:
            beside = self._beside(column, rows)
            heat = [weight * self._cam(column)(some, self.coalitions.encode(some), asked) for weight, some in beside]
            attributed.by_method[GRAD_CAM] = sum(heat)
        return attributed

    def prepared(self, column: str, rows: Rows) -> Averaged:
        """Rows of a column, beside the sets of other columns whose mean its Shapley value is."""
        if column not in self._columns:
            self._columns[column] = Column(self.coalitions, column, self.schema.columns[column])
        beside = self._beside(column, rows)
        each = [self._columns[column].prepared(some, self.coalitions.encode(some)) for _, some in beside]
        return Averaged(each, [weight for weight, _ in beside])

    def _beside(self, column: str, rows: Rows) -> list[tuple[float, Rows]]:
        """(weight, the rows with only some of the other columns' cells)."""
        place = self.columns.index(column)
        patterns, weights = shapley.contexts(len(self.columns), place)
        beside = []
        for pattern, weight in zip(patterns, weights, strict=True):
            shown = dict(zip(self.columns, pattern, strict=True)) | {column: True}
            beside.append((weight, {name: each if shown[name] else _hidden(each) for name, each in rows.items()}))
        return beside

    @contextlib.contextmanager
    def untrained(self, seed: int = 0) -> Iterator[None]:
        """Within it, the network has weights that a training with this seed might start from."""
        model = self.network.model
        own = model.get_weights()
        model.set_weights(_fresh_weights(self.schema, seed))
        try:
            yield
        finally:
            model.set_weights(own)

    def _cam(self, column: str) -> GradCam:
        if column not in self._cams:
            self._cams[column] = GradCam(self.coalitions, column, self._columns[column].shape)
        return self._cams[column]

    def _asked_patterns(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The patterns to predict with, and of sampled ones which arises when."""
        count = len(self.columns)
        if self.is_exact:
            return shapley.all_patterns(count), None
        return shapley.patterns_of(self._orders)

    def _explained(
        self,
        scorer: Scorer,
        predictions: np.ndarray,
        answer: str | None,
        present: np.ndarray,
        weights: np.ndarray | None,
    ) -> Explained:
        whole = predictions[-1]
        places = scorer.explained(whole) if answer is None else np.full(len(whole), scorer.parts.index(answer))
        unit, term = scorer.units
        factors = np.zeros(whole.shape)
        factors[np.arange(len(whole)), places] = unit[places]
        results = (predictions * factors).sum(axis=-1) + term[places]
        values = shapley.exact(results) if self.is_exact else self._sampled(results)
        return Explained(
            factors,
            term[places],
            places,
            results[-1],
            results[0],
            values.T * present,
            weights,
        )

    def _sampled(self, results: np.ndarray) -> np.ndarray:
        return shapley.sampled(results, self._orders, self._index)


def _fresh_weights(schema: Config, seed: int) -> list[np.ndarray]:
    state = random.getstate()
    random.seed(seed)  # whence Keras draws the seeds of its initializers
    try:
        columns = {column: modality.trained() for column, modality in schema.columns.items()}
        return network_of(schema.model_copy(update={"columns": columns})).model.get_weights()
    finally:
        random.setstate(state)


def _hidden(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(values) for name, values in features.items()}


def of_rows(rows: Rows, chosen: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Some of the rows."""
    return {column: {name: values[chosen] for name, values in features.items()} for column, features in rows.items()}


def answers_of(schema: Config, target: str | None, answer: str | None) -> dict[str, str | None]:
    """{target: answer to explain, None: each row's own}, as a person asks.

    Raises:
        ValueError: No such target or answer.
    """
    known = sorted(schema.targets)
    if target is not None and target not in schema.targets:
        raise ValueError(f'--target: the run has no target "{target}"; expected one of {", ".join(known)}')
    asked = dict.fromkeys([target] if target else known)
    if answer is None:
        return asked
    if len(asked) > 1:
        raise ValueError(f"--answer: the run has several targets; name one of them too: --target {known[0]}")
    [(name, parts)] = [(name, head.scorer.parts) for name, head in walk(schema.targets) if name in asked]
    if answer not in parts:
        raise ValueError(f'--answer: "{name}" has no "{answer}"; expected one of {", ".join(parts)}')
    return {name: answer}
