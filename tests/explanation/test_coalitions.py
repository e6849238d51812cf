"""What a network says of some of a row's columns is what it says of a row that has no others."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
from fixtures_groups import group_of

from mmkeras.contracts.registry import find
from mmkeras.explanation.attribution import GRADIENTS, Averaged, Column, attribute
from mmkeras.explanation.coalitions import Coalitions
from mmkeras.network.build import build_network

COLUMNS = ("a", "b", "c", "d")
ROWS = 3


@pytest.fixture(scope="module", params=["alone", "together"])
def network(adapted, request):
    """Of four numbers; together: `b` and `d` are read by one matrix."""
    number = adapted(find("modality", "number")(bins=3, units=4))
    head = find("head", "regression")().adapt(pd.Series(["1.5", "-2", "4"], dtype=object))
    groups = {"both": group_of("b", "d")} if request.param == "together" else {}
    keras.utils.set_random_seed(5)
    return build_network(
        dict.fromkeys(COLUMNS, number), find("fusion", "concat")(units=(6,)), {"price": head}, groups=groups
    )


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(2)
    values = {column: rng.normal(size=(ROWS, 1)).astype(np.float32) for column in COLUMNS}
    return {column: {"value": values[column], "present": np.ones(ROWS, np.float32)} for column in COLUMNS}


def test_some_columns_are_rows_without_the_others(network, rows):
    patterns = np.array([*itertools.product([False, True], repeat=len(COLUMNS))])
    coalitions = Coalitions(network, ["price"])
    wanted = []
    for pattern in patterns:
        shown = {
            column: {name: each * np.float32(is_shown) for name, each in rows[column].items()}
            for column, is_shown in zip(COLUMNS, pattern, strict=True)
        }
        wanted.append(network.model(shown)["price"])
    for some in (slice(None), slice(5, 7), slice(-1, None)):
        for count in (ROWS, 1):  # what is traced once serves any number
            given = {column: {name: each[:count] for name, each in rows[column].items()} for column in COLUMNS}
            found = coalitions.predictions(given, patterns[some])["price"]
            np.testing.assert_allclose(found, np.stack(wanted)[some, :count], atol=1e-6)


@pytest.mark.parametrize("column", ["a", "b"])
def test_a_columns_content_is_explained_beside_those_it_is_read_with(network, rows, column):
    coalitions = Coalitions(network, ["price"])
    explained = Column(coalitions, column, network.setting.columns[column])
    prepared = Averaged([explained.prepared(rows, coalitions.encode(rows))], [1.0])
    found = attribute(prepared, {"price": np.ones((ROWS, 1))})
    # The path ends in rows whose cell is there and says 0.
    without = {**rows, column: {**rows[column], "value": np.zeros((ROWS, 1), np.float32)}}
    whole, baseline = (network.model(each)["price"].numpy()[:, 0] for each in (rows, without))
    np.testing.assert_allclose(found.whole, whole, rtol=1e-5)
    np.testing.assert_allclose(found.baseline, baseline, rtol=1e-5)
    np.testing.assert_allclose(found.by_method[GRADIENTS], whole - baseline, rtol=0.03, atol=1e-4)
