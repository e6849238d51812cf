"""The TensorFlow functions that kinds of columns share, against numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.features import ops

SEED = tf.constant([3, 5])


ROWS = 400  # so many rows tell a distribution


# Any features


def test_standardize():
    values = ops.common.standardize(tf.constant([[3.0, 10.0], [5.0, 20.0]]), (4.0, 10.0), (2.0, 5.0))
    np.testing.assert_allclose(values, [[-0.5, 0.0], [0.5, 2.0]])


def test_zeros_follow_the_spec():
    zeros = ops.common.zeros({"a": tf.TensorSpec((2, 3), tf.int32), "present": tf.TensorSpec((), tf.float32)})
    assert (zeros["a"].shape, zeros["a"].dtype, zeros["present"].shape) == ((2, 3), tf.int32, ())
    assert not np.any(zeros["a"])


@pytest.mark.parametrize(
    ("values", "wanted"), [([1, 2], [1, 2, 0, 0]), ([1, 2, 3, 4, 5], [1, 2, 3, 4]), ([], [0, 0, 0, 0])]
)
def test_time_is_cut_and_filled_at_the_end(values, wanted):
    assert ops.common.pad_time(tf.constant(values, tf.int32), 4).numpy().tolist() == wanted


def test_time_of_bands_is_filled_with_rows():
    assert ops.common.pad_time(tf.ones((2, 5)), 3).numpy().tolist() == [[1] * 5, [1] * 5, [0] * 5]


@pytest.mark.parametrize(("valid", "wanted"), [(0, [0, 0, 0]), (2, [1, 1, 0]), (9, [1, 1, 1])])
def test_time_mask(valid, wanted):
    mask = ops.common.time_mask(tf.constant(valid), 3)
    assert mask.dtype == tf.float32
    assert mask.numpy().tolist() == wanted


# Random changes


def test_seeds_are_split_into_different_ones():
    seeds = [tuple(seed.numpy()) for seed in ops.common.split_seed(SEED, 4)]
    assert len(set(seeds)) == 4
    assert seeds == [tuple(seed.numpy()) for seed in ops.common.split_seed(SEED, 4)]


@pytest.mark.parametrize("axis", [1, 2])
def test_one_band_of_at_most_so_many_is_dropped_in_each_row(axis):
    most = {"steps": 3 * (axis == 1), "bands": 3 * (axis == 2)}
    dropped = ops.common.drop_bands(tf.ones((ROWS, 11, 7)), SEED, **most).numpy()
    widths = []
    for one in dropped:
        lines = one if axis == 1 else one.T
        assert set(np.unique(lines.min(axis=1))) <= {0.0, 1.0}
        assert (lines.min(axis=1) == lines.max(axis=1)).all()
        hidden = np.flatnonzero(lines[:, 0] == 0)
        assert len(hidden) == 0 or hidden[-1] - hidden[0] + 1 == len(hidden)
        widths.append(len(hidden))
    assert np.bincount(widths) / ROWS == pytest.approx([0.25] * 4, abs=0.06)


def test_a_band_lies_anywhere_as_often():
    """Of width 1 each of 7 places is hidden in a seventh of the rows that lose one, which is half of them."""
    dropped = ops.common.drop_bands(tf.ones((7 * ROWS, 2, 7)), SEED, steps=0, bands=1).numpy()
    assert (dropped[:, 0] == 0).mean(axis=0) == pytest.approx([1 / 14] * 7, abs=0.015)


def test_a_limit_above_the_length_drops_at_most_everything():
    kept = ops.common.drop_bands(tf.ones((ROWS, 3, 5)), SEED, steps=99, bands=0).numpy()[:, :, 0].sum(axis=1)
    assert set(kept) == {0, 1, 2, 3}


# Several files in one cell

FILE = {"length": tf.TensorSpec((2,), tf.float32), "present": tf.TensorSpec((), tf.float32)}


def measured(content):
    """Twice the length of a file; one that begins with x cannot be used."""
    length = tf.cast(tf.strings.length(content), tf.float32)
    is_bad = tf.equal(tf.strings.substr(content + "-", 0, 1), "x")
    present = tf.cast((length > 0) & ~is_bad, tf.float32)
    return {"length": tf.fill([2], length * present), "present": present}, tf.where(is_bad, "begins with x", "")


@pytest.mark.parametrize(
    ("cell", "lengths", "fault"),
    [
        ([], [0, 0, 0], ""),
        (["", ""], [0, 0, 0], ""),
        (["ab"], [2, 0, 0], ""),
        (["ab", "", "", "", "abc"], [2, 3, 0], ""),
        (["xy", "abc", ""], [0, 0, 0], "file 1 of 2: begins with x"),
        (["abc", "", "xy", "x"], [0, 0, 0], "file 2 of 3: begins with x"),
        (["a", "ab", "abc", "abcd"], [0, 0, 0], "names 4 files, expected at most 3; set files: 4 for this column"),
    ],
)
def test_files_of_a_cell_are_examined_each_for_itself_and_one_bad_one_makes_it_bad(cell, lengths, fault):
    mapped = tf.function(
        lambda cell: ops.common.map_files(cell, 3, measured, FILE), input_signature=[tf.TensorSpec((None,), tf.string)]
    )
    found, said = mapped(tf.constant(cell, tf.string))
    assert said.numpy().decode() == fault
    np.testing.assert_array_equal(found["length"], [[length] * 2 for length in lengths])
    np.testing.assert_array_equal(found["file_mask"], np.sign(lengths))
    assert found["present"] == max(np.sign(lengths))
    spec = {name: (tuple(part.shape), part.dtype) for name, part in ops.common.files_spec(FILE, 3).items()}
    assert {name: (tuple(part.shape), part.dtype) for name, part in found.items()} == spec


def test_each_file_is_changed_for_itself():
    cells = [
        ops.common.map_files(tf.constant(["aaa", "aaa"]), 3, measured, FILE)[0],
        ops.common.map_files(tf.constant(["a"]), 3, measured, FILE)[0],
    ]
    features = {name: tf.stack([cell[name] for cell in cells]) for name in cells[0]}

    def shifted(files, seed):
        assert files["length"].shape == (6, 2) and files["present"].shape == 6
        moves = tf.random.stateless_uniform(tf.shape(files["present"]), seed) * files["present"]
        return {**files, "length": files["length"] + moves[:, tf.newaxis]}

    changed = ops.common.augment_files(features, SEED, shifted)
    lengths = changed["length"].numpy()
    assert len({*lengths[0, :2, 0]}) == 2 and (lengths[0, :2] > 3).all() and (lengths[1, 0] > 1).all()
    assert not lengths[0, 2].any() and not lengths[1, 1:].any()
    np.testing.assert_array_equal(changed["file_mask"], [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(changed["present"], [1, 1])
    np.testing.assert_array_equal(ops.common.augment_files(features, SEED, shifted)["length"], lengths)
