"""Features to batches: what they hold follows the seed, the epoch and the step."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_sizes import Size

from mmkeras.contracts.objective import Objective, Setting
from mmkeras.features.batches import Truth, batches, training_batches
from mmkeras.features.columns import ColumnFeatures, Features

# Batches


ROWS, BATCH = 11, 3


@pytest.fixture
def two_columns():
    """Features of 11 rows whose value is their row number; row 4 lacks a, row 7 lacks b."""
    columns = {}
    for column, lacking in (("a", 4), ("b", 7)):
        present = np.ones(ROWS, np.float32)
        present[lacking] = 0
        values = np.repeat(np.arange(1, ROWS + 1, dtype=np.float32)[:, None] * 10, 2, axis=1)
        columns[column] = ColumnFeatures({"x": values * present[:, None], "present": present}, np.arange(ROWS), {})
    return Features(columns)


TARGETS = {"y": (np.arange(ROWS, dtype=np.int32), np.linspace(0.5, 1.5, ROWS, dtype=np.float32))}


class Told(Objective):
    """Gives a batch its rows' targets as they are."""

    def example(self, example, setting):
        truths, weights = ({name: pair[i] for name, pair in example.targets.items()} for i in range(2))
        return replace(example, truths=truths, weights=weights)


def truth_of(cells=None):
    setting = Setting({"a": Size(), "b": Size()}, None, {})
    return Truth(TARGETS, cells or {}, [Told()], setting)


def drawn(features, epochs, seed=0, modality_dropout=0.0, rows=range(ROWS)):
    """Every batch as NumPy arrays."""
    found = training_batches(
        features,
        np.array(rows),
        truth_of(),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
        modality_dropout=modality_dropout,
    )
    return list(found.as_numpy_iterator())


def order(found) -> list[list[int]]:
    return [targets["y"].tolist() for _, targets, _ in found]


def equal(first, second) -> bool:
    import tensorflow as tf

    flat = tf.nest.flatten(first), tf.nest.flatten(second)
    return len(flat[0]) == len(flat[1]) and all(np.array_equal(a, b) for a, b in zip(*flat, strict=True))


def test_batches_keep_the_order_of_rows(two_columns):
    rows = [4, 0, 9, 2, 2]
    found = list(batches(two_columns, np.array(rows), BATCH, truth_of()).as_numpy_iterator())
    assert order(found) == [[4, 0, 9], [2, 2]]
    assert [features["b"]["x"][:, 0].tolist() for features, *_ in found] == [[50, 10, 100], [30, 30]]
    assert found[0][0]["a"]["present"].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found[1][2]["y"], TARGETS["y"][1][[2, 2]])


def test_batches_without_targets_are_features_alone(two_columns):
    (found,) = batches(two_columns, np.array([1, 3]), BATCH).as_numpy_iterator()
    assert found.keys() == {"a", "b"}


def test_every_epoch_has_its_own_order_and_no_row_twice(two_columns):
    found = order(drawn(two_columns, range(4)))
    assert len(found) == 4 * (ROWS // BATCH)
    epochs = [sum(found[i : i + 3], []) for i in range(0, 12, 3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert set(sum(epochs, [])) == set(range(ROWS))  # what one epoch leaves out comes in another


def test_rows_targets_and_weights_stay_together(two_columns):
    for features, targets, weights in drawn(two_columns, range(2)):
        rows = targets["y"]
        np.testing.assert_array_equal(weights["y"], TARGETS["y"][1][rows])
        there = features["b"]["present"] > 0
        assert (features["b"]["x"][:, 0] // 10)[there].astype(int).tolist() == (rows[there] + 1).tolist()


def test_a_training_that_goes_on_sees_what_it_would_have_seen(two_columns):
    whole = drawn(two_columns, range(4), modality_dropout=0.4)
    tail = drawn(two_columns, range(2, 4), modality_dropout=0.4)
    assert equal(tail, whole[6:])
    assert not equal(tail, whole[:6])


def test_seed_fixes_everything_and_another_changes_it(two_columns):
    first, again, other = (drawn(two_columns, range(2), seed, 0.4) for seed in (0, 0, 1))
    assert equal(first, again)
    assert order(first) != order(other)


def test_a_batch_looks_the_same_however_many_epochs_surround_it(two_columns):
    """What fixes it is the seed, the epoch and its place there, not what was drawn before it or on which thread."""
    alone = [drawn(two_columns, range(epoch, epoch + 1), modality_dropout=0.4) for epoch in range(3)]
    assert equal(sum(alone, []), drawn(two_columns, range(3), modality_dropout=0.4))


def test_rows_of_a_batch_are_augmented_each_for_itself(two_columns):
    """All rows are the same one here: what they differ by is what was drawn."""
    found = drawn(two_columns, range(4), rows=[5] * ROWS)
    noise = np.concatenate([features["a"]["x"] - 60 for features, *_ in found])
    assert len(np.unique(noise)) == noise.size == 4 * 3 * BATCH * 2


def test_augmentation_changes_every_epoch_and_differs_between_columns(two_columns):
    noise = {}
    for step, (features, targets, _) in enumerate(drawn(two_columns, range(6))):
        for i, row in enumerate(targets["y"]):
            if row not in (4, 7):
                noise[step // 3, row] = features["a"]["x"][i] - 10 * (row + 1), features["b"]["x"][i] - 10 * (row + 1)
    assert len({values[0].tobytes() for values in noise.values()}) == len(noise)
    assert not any(np.array_equal(a, b) for a, b in noise.values())


def test_modality_dropout_hides_cells_but_never_a_whole_row(two_columns):
    found = drawn(two_columns, range(60), modality_dropout=0.5)
    present = np.concatenate([np.stack([f["a"]["present"], f["b"]["present"]], axis=1) for f, *_ in found])
    rows = np.concatenate([targets["y"] for _, targets, _ in found])
    assert present.sum(axis=1).min() == 1
    assert (present[rows == 4] == [0, 1]).all()  # the only cell of a row is never hidden
    assert (present[rows == 7] == [1, 0]).all()
    both = present[~np.isin(rows, [4, 7])]
    # Of two cells the lower draw goes when it is below 0.5: in 3 of 4 rows, one column as often as the other.
    assert (both.sum(axis=1) == 1).mean() == pytest.approx(0.75, abs=0.08)
    assert both.mean(axis=0) == pytest.approx([0.625, 0.625], abs=0.08)


def test_hidden_cells_are_all_zeros(two_columns):
    for features, *_ in drawn(two_columns, range(10), modality_dropout=0.5):
        for column in features.values():
            assert not column["x"][column["present"] == 0].any()


def test_no_modality_dropout_hides_nothing(two_columns):
    for features, targets, _ in drawn(two_columns, range(5)):
        assert features["a"]["present"].tolist() == (targets["y"] != 4).tolist()


# Objectives


class Marked(Objective):
    """Writes down what it is given: the batch's cells, whether it is trained on, and a draw of its seed."""

    def example(self, example, setting):
        import tensorflow as tf

        told = {
            "cells": example.cells["a"],
            "draw": tf.random.stateless_uniform([1], example.seed) * tf.ones([tf.shape(example.cells["a"])[0]]),
            "trained": tf.fill(tf.shape(example.cells["a"]), example.is_training),
        }
        return replace(example, truths={**example.truths, **told})


def marked(features, epochs=None, rows=range(ROWS)):
    cells = {"a": np.arange(ROWS, dtype=np.int64) % 3}
    truth = Truth(TARGETS, cells, [Told(), Marked()], Setting({"a": Size(), "b": Size()}, None, {}))
    if epochs is None:
        return list(batches(features, np.array(rows), BATCH, truth).as_numpy_iterator())
    settings = {"batch_size": BATCH, "seed": 0, "modality_dropout": 0.0}
    return list(training_batches(features, np.array(rows), truth, epochs=epochs, **settings).as_numpy_iterator())


def test_an_objective_knows_which_cell_a_row_holds(two_columns):
    for _, truths, _ in [*marked(two_columns), *marked(two_columns, range(2))]:
        np.testing.assert_array_equal(truths["cells"], truths["y"] % 3)


def test_what_an_objective_draws_changes_in_training_only(two_columns):
    trained, judged = marked(two_columns, range(2)), marked(two_columns)
    assert all(truths["trained"].all() for _, truths, _ in trained)
    assert not any(truths["trained"].any() for _, truths, _ in judged)
    draws = [float(truths["draw"][0]) for _, truths, _ in trained]
    assert len(set(draws)) == len(draws) == 6
    again = marked(two_columns)
    assert equal(judged, again)
    assert len({float(truths["draw"][0]) for _, truths, _ in judged}) == len(judged)
