"""What is hidden, where the truth stands, and what finding it again costs, in cases that can be worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.components.modalities.category import Category
from mmkeras.components.modalities.image import Image
from mmkeras.components.modalities.text import Text
from mmkeras.components.modalities.timeseries import Timeseries
from mmkeras.components.objectives import masked
from mmkeras.components.objectives.masked import Masked
from mmkeras.contracts.objective import Example, Setting

MANY = 400  # rows, where a share is counted
PIECES = [5, 6, 7, 8, 9, 0, 0]  # of a text of five
UNKNOWN = 1


@pytest.fixture(scope="module")
def columns(adapted):
    """A text of up to 7 pieces, a series of 7 steps and 2 channels, a picture of 8 x 16 pixels."""
    return {
        "note": adapted(Text(max_tokens=7)),
        "sensor": adapted(Timeseries(steps=7)),
        "photo": adapted(Image(height_px=8, width_px=16, encoder={"type": "picture", "filters": [4]})),
    }


TOKENS = {"note": (7, 5), "sensor": (4, 3), "photo": (8, 2)}


@pytest.fixture
def ask(columns):
    """A function: (column, its features, settings of the objective) -> what becomes of a batch."""

    def ask(column, features, seed=0, **settings):
        features = {column: {name: tf.constant(values) for name, values in features.items()}}
        setting = Setting({column: columns[column]}, None, {}, tokens=TOKENS)
        example = Example(features, {}, {}, {}, {}, tf.constant([seed, 7]), is_training=True)
        asked = Masked(**settings).example(example, setting)
        output = f"{column}.hidden"
        return asked.features[column], asked.truths[output].numpy(), asked.weights[output].numpy()

    return ask


def texts(rows=MANY, pieces=PIECES):
    return {"tokens": np.tile(np.int32(pieces), (rows, 1)), "present": np.ones(rows, np.float32)}


def series(rows=MANY, real=7):
    """Channels that count 1, 2, … and 11, 12, …, the second one with a gap at its first step."""
    values = np.tile(np.float32([[1 + i, 11 + i] for i in range(7)]), (rows, 1, 1))
    observed, mask = np.ones_like(values), np.ones((rows, 7), np.float32)
    observed[:, 0, 1] = 0
    values[:, real:], observed[:, real:], mask[:, real:] = 0, 0, 0
    return {"values": values, "observed": observed, "mask": mask, "present": np.ones(rows, np.float32)}


def pictures(rows=MANY):
    pixels = 1 + np.arange(8 * 16 * 3, dtype=np.float32).reshape(8, 16, 3)
    return {
        "pixels": np.tile(pixels, (rows, 1, 1, 1)),
        "size": np.full((rows, 2), 0.5, np.float32),
        "present": np.ones(rows, np.float32),
    }


# Word pieces


def test_hidden_pieces_are_unknown_and_their_truth_is_what_they_were(ask):
    features, truth, weights = ask("note", texts(), pieces=0.4)
    tokens, given = features["tokens"].numpy(), np.tile(PIECES, (MANY, 1))
    hidden = tokens == UNKNOWN
    np.testing.assert_array_equal(tokens[~hidden], given[~hidden])
    np.testing.assert_array_equal(truth, np.where(hidden, given, -1))
    assert not hidden[:, 5:].any()  # padding
    assert hidden[:, :5].sum(axis=1).tolist() == [2] * MANY  # 0.4 of five
    assert (hidden[:, :5].mean(axis=0) > 0.3).all()  # each place has its turn
    assert weights.tolist() == [1.0] * MANY


def test_a_share_that_is_no_whole_number_is_met_on_average(ask):
    _, truth, weights = ask("note", texts(), pieces=0.15)
    counts = (truth >= 0).sum(axis=1)
    assert {*counts} == {0, 1}
    assert counts.mean() == pytest.approx(0.75, abs=0.1)  # 0.15 of five
    np.testing.assert_array_equal(weights, counts)


def test_one_piece_at_least_is_left(ask):
    _, truth, _ = ask("note", texts(), pieces=0.99)
    assert (truth >= 0).sum(axis=1).tolist() == [4] * MANY
    _, truth, weights = ask("note", texts(pieces=[5, 0, 0, 0, 0, 0, 0]), pieces=0.99)
    assert (truth == -1).all() and not weights.any()


def test_a_piece_that_augmentation_hid_is_not_to_be_found(ask):
    _, truth, _ = ask("note", texts(pieces=[5, UNKNOWN, UNKNOWN, 6, 0, 0, 0]), pieces=0.9)
    assert (truth[:, 1:3] == -1).all()
    assert (truth >= 0).sum(axis=1).tolist() == [1] * MANY


def test_a_missing_cell_hides_nothing(ask):
    given = {"tokens": np.zeros((3, 7), np.int32), "present": np.zeros(3, np.float32)}
    features, truth, weights = ask("note", given)
    assert not features["tokens"].numpy().any() and (truth == -1).all() and not weights.any()


def test_the_seed_alone_decides(ask):
    first, again, other = (ask("note", texts(9), seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again != other


# Steps


def test_blocks_of_steps_that_belong_to_tokens_are_hidden(ask):
    """4 tokens over 7 steps cover 2 each, the last one 1: hidden one by one it is half of them."""
    features, truth, weights = ask("sensor", series(), steps=0.5, block=1)
    hidden = (features["values"].numpy() == 0).all(axis=-1)
    by_token = [hidden[:, :2], hidden[:, 2:4], hidden[:, 4:6], hidden[:, 6:]]
    assert all((steps.all(axis=1) == steps.any(axis=1)).all() for steps in by_token)
    assert sum(steps.any(axis=1).astype(int) for steps in by_token).tolist() == [2] * MANY
    np.testing.assert_array_equal(truth[..., 0], series()["values"])
    counts = np.repeat(hidden[..., None], 2, axis=-1)
    counts[:, 0, 1] = False  # the gap
    np.testing.assert_array_equal(truth[..., 1], counts)
    assert weights.tolist() == [1.0] * MANY


def test_what_is_hidden_is_not_observed_and_steps_stay_steps(ask):
    features, _, _ = ask("sensor", series(), block=1)
    given, hidden = series(), (features["values"].numpy() == 0).all(axis=-1)
    np.testing.assert_array_equal(features["observed"].numpy(), given["observed"] * ~hidden[..., None])
    np.testing.assert_array_equal(features["mask"].numpy(), given["mask"])


def test_neighbouring_tokens_are_hidden_together(ask):
    """Two of four tokens, four steps of seven; in other batches the first block is one token only, and so the last."""
    seen = [{tuple(row) for row in ask("sensor", series(), seed, block=2)[1][..., 0, 1] > 0} for seed in range(8)]
    whole = {(1, 1, 1, 1, 0, 0, 0), (0, 0, 0, 0, 1, 1, 1)}  # one of two blocks
    shifted = {(1, 1, 0, 0, 0, 0, 0), (0, 0, 1, 1, 1, 1, 0), (0, 0, 0, 0, 0, 0, 1)}  # 1.5 of three: one, or two
    pairs = {tuple(map(max, a, b)) for a in shifted for b in shifted if a != b}
    assert {frozenset(patterns) for patterns in seen} == {frozenset(whole), frozenset(shifted | pairs)}


def test_what_lies_behind_the_end_is_not_hidden(ask):
    _, truth, _ = ask("sensor", series(real=3), steps=0.9, block=1)
    hidden = truth[..., 0, 1] > 0
    assert not hidden[:, 3:].any()
    assert {tuple(row) for row in hidden} == {(1, 1, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0, 0)}  # of two tokens one is left


# Pictures


@pytest.mark.parametrize(
    ("tokens", "height", "width", "grid"),
    [
        (9, 48, 48, (3, 3)),
        (12, 16, 14, (4, 3)),
        (8, 8, 16, (2, 4)),
        (8, 16, 8, (4, 2)),
        (49, 224, 224, (7, 7)),
        (1, 9, 9, (1, 1)),
    ],
)
def test_the_grid_follows_from_the_sides(tokens, height, width, grid):
    assert masked._grid(tokens, height, width) == grid


def test_whole_patches_of_a_picture_are_hidden(ask):
    features, truth, weights = ask("photo", pictures(), patches=0.75)
    pixels = features["pixels"].numpy()
    hidden = (pixels == 0).all(axis=-1)
    patches = hidden.reshape(MANY, 2, 4, 4, 4)  # rows of patches, pixels down, columns of patches, pixels across
    assert (patches.any(axis=(2, 4)) == patches.all(axis=(2, 4))).all()
    assert patches.any(axis=(2, 4)).sum(axis=(1, 2)).tolist() == [6] * MANY
    np.testing.assert_array_equal(truth[..., 0], pictures()["pixels"])
    np.testing.assert_array_equal(truth[..., 1], np.repeat(hidden[..., None], 3, axis=-1))
    np.testing.assert_array_equal(features["size"].numpy(), pictures()["size"])
    assert weights.tolist() == [1.0] * MANY


# What is found


def test_tokens_tell_of_the_positions_that_they_cover():
    """A picture of 3 x 4, of 2 x 2 tokens that cover 2 x 2 pixels of one channel each; the last row is cut off."""
    layout = masked._Layout((3, 4, 1), (2, 2), pieces=False)
    picture = np.arange(16).reshape(4, 4)
    tokens = [picture[:2, :2], picture[:2, 2:], picture[2:, :2], picture[2:, 2:]]
    found = np.float32([[token.ravel() for token in tokens]])
    np.testing.assert_array_equal(masked._in_place(found, layout)[0, :, :, 0], picture[:3])
    assert layout.token_of.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]


def test_steps_and_pieces_stand_in_order():
    found = np.arange(4 * 2 * 3, dtype=np.float32).reshape(1, 4, 6)
    steps = masked._in_place(found, masked._Layout((7, 3), (4,), pieces=False))
    np.testing.assert_array_equal(steps[0], np.arange(21).reshape(7, 3))
    logits = masked._in_place(found[..., :3], masked._Layout((4,), (4,), pieces=True))
    np.testing.assert_array_equal(logits, found[..., :3])


def test_the_loss_of_contents_is_the_mean_square_of_what_counts():
    truth = np.float32([[[[1, 1], [5, 0]], [[2, 1], [3, 1]]], [[[9, 0], [9, 0]], [[9, 0], [9, 0]]]])
    found = np.float32([[[0, 0], [0, 0]], [[1, 2], [3, 4]]])
    np.testing.assert_allclose(masked._content_loss(truth, found), [(1 + 4 + 9) / 3, 0])


def test_the_loss_of_pieces_is_the_mean_cross_entropy_of_the_hidden():
    logits = np.zeros((2, 3, 4), np.float32)
    logits[0, 1] = [np.log(3), 0, 0, 0]  # 3 of 6
    truth = np.float32([[2, 0, -1], [-1, -1, -1]])
    np.testing.assert_allclose(masked._piece_loss(truth, logits), [(np.log(4) + np.log(2)) / 2, 0], rtol=1e-6)


# Which columns


def test_columns_without_tokens_are_refused_with_the_types_that_fit(adapted):
    setting = Setting({"kind": Category(), "shots": Image(files=3)}, None, {})
    with pytest.raises(
        ValueError, match=r'of "kind" \(category\), "shots" \(image\) there are none to hide; expected a'
    ):
        Masked().check(setting)
    with pytest.raises(ValueError, match="audio, image, text, timeseries, video$"):
        Masked().check(setting)
    Masked().check(Setting({"kind": Category(), "shot": Image(), "sensor": Timeseries()}, None, {}))


def test_one_token_alone_is_no_place_to_hide(columns):
    setting = Setting({"note": columns["note"]}, None, {}, tokens={"note": (1, 5)})
    with pytest.raises(ValueError, match="no column's encoder gives more than one token"):
        Masked().outputs({}, setting)
