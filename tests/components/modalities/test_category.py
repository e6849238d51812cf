"""Categories: which value has which index, and which columns are taken for categories."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_drawn import Page

from mmkeras.components.modalities.category import Category

MISSING, UNKNOWN = 0, 1


@pytest.fixture(scope="module")
def category():
    return Category().adapt(["red", "blue", "синий", "red", " red ", "C (all)"])


def index(category, cell):
    return int(category.preprocess(tf.constant(cell))["index"])


def inputs_of(category):
    return {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in category.features.items()}


def test_values_are_numbered_in_order_after_missing_and_unknown(category):
    assert category.categories == ("C (all)", "blue", "red", "синий")
    assert [index(category, value) for value in category.categories] == [2, 3, 4, 5]


@pytest.mark.parametrize("cell", ["", " ", "\t\u3000\xa0"])
def test_blank_cells_are_missing(category, cell):
    features = category.preprocess(tf.constant(cell))
    assert features["index"] == MISSING and features["present"] == 0
    assert category.read(cell) == ""


@pytest.mark.parametrize("cell", ["green", "Red", "re", b"\xff\xfe", "red\0", "x" * 9999])
def test_values_that_training_did_not_know_are_present_and_unknown(category, cell):
    features = category.preprocess(tf.constant(cell))
    assert (features["index"], features["present"]) == (UNKNOWN, 1)


def test_blanks_around_a_value_do_not_matter(category):
    assert category.read(" red\n") == "red"
    assert index(category, "\u3000red \n") == index(category, "red") > UNKNOWN


def test_the_most_frequent_values_are_kept_and_rare_ones_are_unknown():
    rows = ["b"] * 5 + ["a"] * 3 + ["d"] * 3 + ["c"] * 2
    assert Category(max_categories=2).adapt(rows).categories == ("a", "b")  # of a and d the first
    assert Category(min_count=3).adapt(rows).categories == ("a", "b", "d")
    assert index(Category(min_count=9).adapt(rows), "b") == UNKNOWN


@pytest.mark.parametrize("cells", [[], ["", " "]])
def test_a_column_without_a_value_is_refused(cells):
    with pytest.raises(ValueError, match="no cell of a training row can be learned from"):
        Category().adapt(cells)


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.3, 0.25, 0.35)])
def test_training_makes_so_many_values_unknown(chance, low, high):
    category = Category(unknown_dropout=chance).adapt(["red"])
    features = {"index": tf.repeat([2, 0], 1000), "present": tf.repeat([1.0, 0.0], 1000)}
    found = category.augment(features, tf.constant([1, 2]))["index"].numpy()
    assert set(found[:1000]) <= {UNKNOWN, 2}
    assert low <= (found[:1000] == UNKNOWN).mean() <= high
    assert not found[1000:].any()


def test_by_default_some_augmentation_differs(category):
    features = {"index": tf.fill([50], category.preprocess(tf.constant("red"))["index"]), "present": tf.ones(50)}
    assert len({*category.augment(features, tf.constant([3, 5]))["index"].numpy()}) == 2


def test_mapped_and_exported_are_one(category, tmp_path):
    cells = tf.constant(["blue", "", "green", "синий"])
    wanted = [3, MISSING, UNKNOWN, 5]
    dataset = tf.data.Dataset.from_tensor_slices(cells).map(category.preprocess)
    assert dataset.element_spec == category.features
    assert [int(features["index"]) for features in dataset] == wanted
    module = tf.Module()
    module.features = tf.function(
        lambda cells: tf.map_fn(category.preprocess, cells, fn_output_signature=category.features),
        input_signature=[tf.TensorSpec((None,), tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    assert tf.saved_model.load(str(tmp_path)).features(cells)["index"].numpy().tolist() == wanted


def test_thousands_of_values_are_no_trouble():
    rows = [f"v{i:05d}" for i in range(7000)]
    category = Category(max_categories=7000).adapt(rows)
    assert index(category, "v06999") == 7001


@pytest.mark.parametrize(("settings", "width"), [({}, 8), ({"width": 5}, 5)])
def test_the_encoding_is_one_token(category, settings, width):
    category = category.model_copy(update=settings)
    inputs = inputs_of(category)
    encoding = category.encode(inputs)
    model = keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask])
    rows = {"index": np.array([0, 5, 1], np.int32), "present": np.array([0, 1, 1], np.float32)}
    vector, tokens, mask = (np.asarray(part) for part in model(rows))
    assert vector.shape == (3, width) and tokens.shape == (3, 1, width)
    np.testing.assert_array_equal(tokens[:, 0], vector)
    assert mask.tolist() == [[1], [1], [1]]
    assert not np.array_equal(vector[0], vector[1])


@pytest.mark.parametrize(("count", "width"), [(3, 8), (40, 20), (500, 50)])
def test_the_width_follows_the_number_of_values(count, width):
    category = Category().adapt(map(str, range(count)))
    assert category.encode(inputs_of(category)).vector.shape == (None, width)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["red", "green"] * 3, "2 different values"),
        (["red", "green", "red"], None),
        (["1", "0"] * 9, "2 different values, codes or grades"),
        (["01", "02", "13", "44", "50", "61"] * 3, "6 different values, codes or grades"),
        (["1", "2", "3", "4", "5", "6"] * 9, None),  # numbers
        (["0.5", "1.5"] * 9, None),
        (["where is my nice red lamp", "the blue one is broken"] * 9, None),  # sentences
        ([f"street {i}" for i in range(70)] * 9, None),
        ([f"street {i}" for i in range(70)] * 10, "70 different values"),
    ],
)
def test_columns_of_repeated_short_values_are_claimed(cells, reason):
    assert Category.claims(pd.Series(cells, dtype=object)) == reason


def test_a_column_named_like_a_code_is_claimed():
    cells = [str(98001 + i) for i in range(20)] * 10
    assert Category.claims(pd.Series(cells, name="population", dtype=object)) is None
    assert Category.claims(pd.Series(cells, name="zipcode", dtype=object)) == "20 different values, codes or grades"


def test_the_baseline_gives_each_value_a_column_and_takes_new_ones():
    baseline = Category().baseline().fit(["a", "b", None, "a"])
    assert baseline.transform(["b", "new", ""]).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_drawing_escapes_and_colours():
    assert '<bdi dir="auto">1 &lt; 2\ufffd</bdi>' in Category().draw("1 < 2\0")
    assert Page(Category().draw(" ")).text == "missing"
    known = Category(categories=("blue", "red"))
    assert "rgba(0,114,255,0.30)" in known.draw("red", np.array(0.2), "occlusion", scale=0.4)
    assert Page(known.draw("red", np.array(0.2))).text.startswith("red (+0.200)")
    assert "training did not know" not in known.draw("red", np.array(0.2))
    assert "training did not know" in known.draw("green", np.array(0.2))


# What a column tells


def test_a_survey_holds_the_shares_of_the_values():
    survey = Category().survey(pd.Series(["red", " red", "blue", "red"], dtype=object))
    assert list(survey.shares.items()) == [("red", 0.75), ("blue", 0.25)]
