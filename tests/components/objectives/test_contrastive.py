"""Who is asked for whom and who is no rival, what it costs, and what stands in the shared space."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from fixtures_encodings import batch, encodings

from mmkeras.components.modalities.category import Category
from mmkeras.components.objectives import contrastive
from mmkeras.components.objectives.contrastive import SHARED, TOGETHER, Contrastive
from mmkeras.contracts.objective import Example, Setting

SHAPES = {"a": (5, 3, 4), "b": (6, 7, 2), "c": (11, 1, 9)}
WIDTH, SCALE = 8, 2.0


def setting_of(columns):
    return Setting({column: Category() for column in columns}, None, {})


def losses(cells, present, scale=SCALE, vectors=None):
    """Of rows whose columns all say the row's own unit vector, or the vectors (B, M, W) that are given."""
    cells, present = np.float32(cells), np.float32(present)
    rows, columns = cells.shape
    vectors = np.repeat(np.eye(rows, dtype=np.float32)[:, None], columns, axis=1) if vectors is None else vectors
    together = np.concatenate([vectors * np.sqrt(scale), present[..., None]], axis=-1)
    return contrastive._info_nce(tf.constant(cells), tf.constant(together, tf.float32)).numpy()


def told_apart(rivals, scale=SCALE):
    """The loss where the own partner is quite alike, and so many others not at all."""
    return np.log(1 + rivals * np.exp(-scale))


EACH_ITS_OWN = [[0, 0], [1, 1], [2, 2]]
ALL_THERE = [[1, 1], [1, 1], [1, 1]]


def test_a_row_is_told_from_all_others():
    np.testing.assert_allclose(losses(EACH_ITS_OWN, ALL_THERE), [told_apart(2)] * 3, rtol=1e-5)


def test_without_any_difference_it_costs_the_logarithm_of_the_rows():
    alike = np.ones((3, 2, 4), np.float32) / 2
    np.testing.assert_allclose(losses(EACH_ITS_OWN, ALL_THERE, vectors=alike), [np.log(3)] * 3, rtol=1e-5)


def test_both_ways_count():
    """Columns a of rows 0 and 1 are alike, columns b are not: b finds a as badly as a row alone would not."""
    vectors = np.float32([[[1, 0], [1, 0]], [[1, 0], [0, 1]]])
    found_a = np.log(1 + np.exp(0)), np.log(2 * np.exp(0))  # from b: both of a are as near
    found_b = np.log(1 + np.exp(-SCALE)), np.log(1 + np.exp(SCALE))  # from a: b of row 0 is nearer
    wanted = np.mean([found_a, found_b], axis=0)
    np.testing.assert_allclose(losses([[0, 0], [1, 1]], [[1, 1], [1, 1]], vectors=vectors), wanted, rtol=1e-5)


@pytest.mark.parametrize("shared", [[[0, 0], [0, 1], [2, 2]], [[0, 0], [1, 0], [2, 2]]])
def test_rows_that_share_a_cell_are_no_rivals(shared):
    """One picture with two captions, or one caption of two pictures."""
    np.testing.assert_allclose(losses(shared, ALL_THERE), [told_apart(1), told_apart(1), told_apart(2)], rtol=1e-5)


def test_absent_cells_take_no_part():
    """Row 2 lacks b: it is asked for nothing and is a rival of nobody's b, but its a is one of theirs."""
    present = [[1, 1], [1, 1], [1, 0]]
    wanted = (told_apart(1) + told_apart(2)) / 2
    np.testing.assert_allclose(losses(EACH_ITS_OWN, present), [wanted, wanted, 0], rtol=1e-5)


def test_of_three_columns_each_pair_that_is_there_counts():
    cells, present = [[0] * 3, [1] * 3], [[1, 1, 1], [1, 1, 0]]
    pairs_of_0 = [told_apart(1)] * 2 + [told_apart(1)] * 2  # a and b both ways; c asks a and b
    np.testing.assert_allclose(losses(cells, present), [np.mean(pairs_of_0), told_apart(1)], rtol=1e-5)


def asked(cells, present, groups=None):
    """What becomes of a batch."""
    columns = sorted(cells)
    features = {column: {"present": tf.constant(present[column], tf.float32)} for column in columns}
    given = {column: tf.constant(numbers, tf.int64) for column, numbers in cells.items()}
    example = Example(features, {}, {}, {}, given, tf.constant([0, 1]), is_training=True)
    return Contrastive().example(example, replace(setting_of(columns), groups=groups or {}))


def test_cells_are_numbered_within_the_batch():
    """As float32, Keras' own type of truths, 16 777 217 would be 16 777 216."""
    cells = {"a": [16_777_216, 16_777_217, 16_777_216], "b": [5, 6, 5]}
    example = asked(cells, {"a": [1, 1, 1], "b": [1, 1, 1]})
    assert example.truths[TOGETHER].numpy().tolist() == [[0, 0], [1, 1], [0, 0]]


def test_columns_that_are_read_together_are_one():
    """There if one of their cells is, and alike where all of them are."""
    cells = {"a": [7, 7, 7, 8], "b": [0, 0, 1, 1], "c": [0, 1, 2, 3]}
    present = {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0], "c": [1, 1, 1, 1]}
    example = asked(cells, present, {"both": ("a", "b")})
    assert example.truths[TOGETHER].numpy().tolist() == [[0, 0], [0, 1], [1, 2], [2, 3]]
    assert example.weights[TOGETHER].numpy().tolist() == [1, 1, 1, 0]


def test_a_row_without_a_pair_or_a_rival_does_not_count():
    cells = {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert asked(cells, {"a": [1, 1, 1], "b": [1, 1, 0]}).weights[TOGETHER].numpy().tolist() == [1, 1, 0]
    assert asked(cells, {"a": [1, 1, 0], "b": [1, 0, 1]}).weights[TOGETHER].numpy().tolist() == [1, 0, 0]
    assert asked({"a": [4, 4], "b": [0, 1]}, {"a": [1, 1], "b": [1, 1]}).weights[TOGETHER].numpy().tolist() == [0, 0]


# The shared space


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs, given = encodings(SHAPES)
    outputs = Contrastive(width=WIDTH).outputs(given, setting_of(SHAPES))
    return keras.Model(inputs, {**outputs.trained, **outputs.told})


def test_vectors_have_length_one_and_missing_ones_are_zeros(model):
    told = model(batch(SHAPES, {"a": [1, 0, 0], "b": [1, 1, 0], "c": [1, 1, 0]}))
    lengths = {name: np.linalg.norm(told[name], axis=-1) for name in ("a.shared", "b.shared", SHARED)}
    np.testing.assert_allclose(lengths["a.shared"], [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["b.shared"], [1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths[SHARED], [1, 1, 0], atol=1e-5)
    mean = np.float32(told["b.shared"][1] + told["c.shared"][1])
    np.testing.assert_allclose(told[SHARED][1], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_array_equal(told[TOGETHER][..., -1], [[1, 1, 1], [0, 1, 1], [0, 0, 0]])


def scale_of(model):
    together = model(batch(SHAPES, [1, 1]))[TOGETHER][0, 0, :-1]
    return float(np.square(together).sum())


def test_the_temperature_begins_where_it_is_set_and_stays_bounded(model):
    assert scale_of(model) == pytest.approx(1 / 0.07, rel=1e-4)
    scale = model.get_layer("columns.scale")
    before = scale.get_weights()
    for score, wanted in ((50.0, 100.0), (-50.0, 0.0)):
        scale.set_weights([np.float32([score])])
        assert scale_of(model) == pytest.approx(wanted, abs=1e-3)
    scale.set_weights(before)


def test_the_temperature_is_learned(model):
    scale = model.get_layer("columns.scale").scores
    with tf.GradientTape() as tape:
        together = model(batch(SHAPES, [1, 1, 1]))[TOGETHER]
        loss = tf.reduce_mean(contrastive._info_nce(tf.constant([[0.0] * 3, [1.0] * 3, [2.0] * 3]), together))
    assert abs(float(tape.gradient(loss, [scale.value])[0][0])) > 1e-4


def test_one_column_is_refused():
    with pytest.raises(ValueError, match='compares columns of a row, and there is one only, "a"; expected two or more'):
        Contrastive().check(setting_of(["a"]))
