"""Layers over time, by hand: means and maxima of what is real, bags, LSTMs, convolutions, several files."""

import keras
import numpy as np
import pytest

from mmkeras.network import layers


def floats(values):
    return np.array(values, np.float32)


TOKENS = floats([[[1, -5], [3, -7], [100, 100]], [[2, 2], [9, 9], [9, 9]], [[9, 9], [9, 9], [9, 9]]])  # (B=3, T=3, D=2)
MASK = floats([[1, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_the_mean_is_over_real_tokens():
    np.testing.assert_allclose(layers.time.MaskedMean()(TOKENS, MASK), [[2, -6], [2, 2], [0, 0]])


def test_the_maximum_is_over_real_tokens():
    np.testing.assert_allclose(layers.time.MaskedMax()(TOKENS, MASK), [[3, -5], [2, 2], [0, 0]])


@pytest.mark.parametrize("layer", [layers.time.MaskedMean, layers.time.MaskedMax, layers.time.AttentionPool])
def test_keras_own_mask_ends_where_time_ends(layer):
    tokens, mask = keras.Input((3, 2)), keras.Input((3,))
    pooled = layer()(keras.layers.Masking()(tokens), mask)
    assert pooled.shape == (None, 2)
    assert getattr(pooled, "_keras_mask", None) is None


def ngram_bag(up_to):
    """A bag with a vector of its own for each bucket: (1, i) for bucket i."""
    bag = layers.time.NgramBag(up_to, buckets=1009, width=2)
    bag.build((None, 5))
    bag.set_weights([np.stack([np.ones(1009), np.arange(1009)], axis=1)])
    return lambda *tokens: np.asarray(bag(np.array([tokens], np.int32)))[0]


def test_a_bag_of_single_pieces_does_not_see_their_order_and_pairs_do():
    ones, pairs = ngram_bag(1), ngram_bag(2)
    np.testing.assert_allclose(ones(4, 8, 6, 0, 0), ones(6, 4, 8, 0, 0))
    assert abs(pairs(4, 8, 6, 0, 0)[1] - pairs(6, 4, 8, 0, 0)[1]) > 1e-3


def test_a_bag_is_a_mean_over_what_is_there():
    ones = ngram_bag(1)
    alone = [ones(piece, 0, 0, 0, 0)[1] for piece in (4, 8)]
    np.testing.assert_allclose(ones(4, 8, 0, 0, 0), [1, sum(alone) / 2], rtol=1e-6)
    np.testing.assert_array_equal(ngram_bag(3)(0, 0, 0, 0, 0), [0, 0])


def test_a_bag_of_pairs_has_one_n_gram_more_for_a_text_of_two():
    """Pieces a, b: the n-grams a, b and ab; none runs into the padding."""
    ones, pairs = ngram_bag(1), ngram_bag(2)
    pair = 3 * pairs(4, 8, 0, 0, 0)[1] - 2 * ones(4, 8, 0, 0, 0)[1]
    assert pair == pytest.approx(round(pair), abs=1e-2)
    assert 1 <= round(pair) < 1009
    np.testing.assert_allclose(pairs(4, 0, 0, 0, 0), ones(4, 0, 0, 0, 0))


def test_a_bag_does_not_see_how_much_padding_follows():
    bag = ngram_bag(3)
    np.testing.assert_allclose(bag(4, 8, 6, 0, 0), bag(4, 8, 6, 0, 0, 0, 0), rtol=1e-6)


def test_soft_bins_say_where_a_number_lies():
    bins = np.asarray(layers.time.SoftBins(5)(floats([[-2, 0.5], [1, 9]])))
    assert bins.shape == (2, 2 * 5)
    # centres -2, -1, 0, 1, 2; a distance of one centre gives exp(-(5/4)^2)
    step = np.exp(-((5 / 4) ** 2))
    np.testing.assert_allclose(bins[0, :2], [1, step], rtol=1e-5)
    np.testing.assert_allclose(bins[1, 2:5], [step, 1, step], rtol=1e-5)
    assert bins[0, 5:].argsort()[-2:].tolist() in ([2, 3], [3, 2])
    assert bins[1, 5:].max() < 1e-6


@pytest.mark.parametrize(
    ("bidirectional", "pooling", "token_width", "vector_width"),
    [(False, False, 4, 4), (True, False, 8, 8), (False, True, 4, 8), (True, True, 8, 16)],
)
def test_what_an_lstm_gives(bidirectional, pooling, token_width, vector_width):
    values, mask = keras.Input((7, 5)), keras.Input((7,))
    tokens, vector = layers.time.recur(values, mask, 4, bidirectional, pooling)
    assert tokens.shape == (None, 7, token_width)
    assert vector.shape == (None, vector_width)


@pytest.mark.parametrize("pooling", [False, True])
def test_an_lstm_does_not_see_the_padding(pooling):
    values, mask = keras.Input((7, 5)), keras.Input((7,))
    model = keras.Model([values, mask], layers.time.recur(values, mask, 4, bidirectional=True, pooling=pooling)[1])
    rng = np.random.default_rng(0)
    real, valid = rng.normal(size=(3, 7, 5)), floats([[1, 1, 1, 0, 0, 0, 0]] * 3)
    other = real.copy()
    other[:, 3:] = rng.normal(size=(3, 4, 5)) * 50
    np.testing.assert_allclose(model([real, valid]), model([other, valid]), atol=1e-6)
    other[:, 2] += 1
    assert not np.allclose(model([real, valid]), model([other, valid]), atol=1e-3)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_row_without_a_real_step_is_one_with_the_first_for_cudnn(cell):
    """It fails on a row of which every step is masked, as a missing cell's are."""
    values, mask = keras.Input((7, 5)), keras.Input((7,))
    model = keras.Model(
        [values, mask], layers.time.recur(values, mask, 4, bidirectional=True, pooling=False, cell=cell)[1]
    )
    steps = np.random.default_rng(0).normal(size=(3, 7, 5))
    nothing = model([steps, np.zeros((3, 7), np.float32)])
    np.testing.assert_allclose(nothing, model([steps, floats([[1, 0, 0, 0, 0, 0, 0]] * 3)]), atol=1e-6)
    assert np.abs(nothing).max() > 1e-3


def test_without_pooling_the_vector_is_the_last_real_state():
    values, mask = keras.Input((7, 5)), keras.Input((7,))
    model = keras.Model([values, mask], layers.time.recur(values, mask, 4, bidirectional=False, pooling=False))
    tokens, vector = model([np.random.default_rng(0).normal(size=(1, 7, 5)), floats([[1, 1, 1, 0, 0, 0, 0]])])
    np.testing.assert_allclose(vector, np.asarray(tokens)[:, 2], atol=1e-6)


def test_convolutions_of_several_widths_by_hand():
    """One filter of width 1 and one of width 3 add up what they see: tokens 1, 2 and -9, the last one padding."""
    values, mask = keras.Input((3, 1)), keras.Input((3,))
    tokens, _ = layers.time.convolve(values, mask, (1,), (1, 3))
    model = keras.Model([values, mask], [tokens, layers.time.MaskedMax()(tokens, mask)])
    model.set_weights([np.ones((1, 1, 1)), np.zeros(1), np.ones((3, 1, 1)), np.zeros(1)])
    tokens, vector = model([floats([[[1], [2], [-9]], [[5], [5], [5]]]), floats([[1, 1, 0], [0, 0, 0]])])
    np.testing.assert_allclose(tokens[0], [[1, 3], [2, 3], [0, 0]])
    np.testing.assert_allclose(vector, [[2, 3], [0, 0]])


@pytest.mark.parametrize(
    ("halving", "wanted", "real"),
    [
        ("none", [[1, 5, 3, 8, 0], [9, 0, 0, 0, 0]], [4, 1]),
        ("stride", [[1, 3, 0], [9, 0, 0]], [2, 1]),  # every other step, from the first
        ("pool", [[5, 8, 0], [9, 0, 0]], [2, 1]),
    ],
)
def test_convolutions_halve_their_steps_by_hand(halving, wanted, real):
    values, mask = keras.Input((5, 1)), keras.Input((5,))
    model = keras.Model([values, mask], layers.time.convolve(values, mask, (1,), (1,), halving))
    model.set_weights([np.ones((1, 1, 1)), np.zeros(1)])
    steps = floats([[1, 5, 3, 8, 7], [9, 7, 7, 7, 7]])[..., None]
    tokens, shorter = model([steps, floats([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0]])])
    np.testing.assert_allclose(tokens[..., 0], wanted)
    np.testing.assert_array_equal(np.sum(shorter, axis=1), real)


def test_convolutions_over_bands_halve_them_too():
    values, mask = keras.Input((4, 6, 1)), keras.Input((4,))
    tokens, shorter = layers.time.convolve(values, mask, (2, 3), (3,), "pool")
    assert tokens.shape == (None, 1, 2, 3) and shorter.shape == (None, 1)


def test_masked_batch_normalization_by_hand():
    """Real are 1, 3 and 5: mean 3, variance 8/3. What is masked is normalized too, but changes nothing."""
    layer = layers.time.MaskedBatchNormalization(momentum=0.9, epsilon=0.0)
    steps, mask = floats([[[1], [3], [99]], [[5], [-99], [99]]]), floats([[1, 1, 0], [1, 0, 0]])
    normal = layer(steps, mask=mask, training=True).numpy()
    np.testing.assert_allclose([*normal[0, :2, 0], normal[1, 0, 0]], np.array([-2, 0, 2]) / np.sqrt(8 / 3), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, [0.3], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 8 / 3], rtol=1e-5)
    np.testing.assert_allclose(layer(steps, mask=mask)[0, 0, 0], 0.7 / np.sqrt(0.9 + 0.8 / 3), rtol=1e-5)


def test_masked_batch_normalization_is_keras_own():
    own = keras.layers.BatchNormalization(momentum=0.9)
    masked = layers.time.MaskedBatchNormalization(momentum=0.9)
    rng = np.random.default_rng(0)
    steps, mask = rng.normal(3, 2, (3, 7, 5)).astype("f4"), (rng.random((3, 7)) < 0.6).astype("f4")
    for training in (True, False):
        wanted = own(steps, mask=mask, training=training)
        np.testing.assert_allclose(masked(steps, mask=mask, training=training), wanted, atol=1e-5)
    np.testing.assert_allclose(masked.moving_variance, own.moving_variance, rtol=1e-5)
    masked.trainable = False
    before = np.array(masked.moving_mean)
    masked(steps, mask=mask, training=True)
    np.testing.assert_array_equal(masked.moving_mean, before)


# Several files in one cell


def test_attention_weighs_the_real_tokens():
    pool = layers.time.AttentionPool(1)
    pool.build((None, 3, 2))
    # The score is s * tanh(first number): 0 and log 3 for the first row's real tokens, so shares of 1/4 and 3/4.
    pool.set_weights([floats([[1], [0]]), floats([0]), floats([[np.log(3) / np.tanh(1)]])])
    tokens = floats([[[0, 4], [1, 8], [9, 99]], [[5, 6], [9, 9], [9, 9]], [[9, 9], [9, 9], [9, 9]]])
    np.testing.assert_allclose(pool(tokens, MASK), [[0.75, 7], [5, 6], [0, 0]], rtol=1e-5)


def test_folded_files_come_back_in_their_places():
    files = np.arange(3 * 2 * 5 * 4).reshape(3, 2, 5, 4)
    folded = layers.time.fold(files)
    assert folded.shape == (3 * 2, 5, 4)
    np.testing.assert_array_equal(folded[1], files[0, 1])
    np.testing.assert_array_equal(layers.time.unfold(folded, 2), files)


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
def test_absent_files_do_not_count(pooling):
    vectors, mask = keras.Input((2,)), keras.Input((3,))
    model = keras.Model([vectors, mask], layers.time.pool_files(vectors, mask, pooling))
    values = floats([[1, 2], [3, 6], [9, 9], [4, 5], [9, 9], [9, 9]])
    pooled = np.asarray(model.call([values, floats([[1, 1, 0], [1, 0, 0]])]))
    if pooling == "mean":
        np.testing.assert_allclose(pooled[0], [2, 4])
    assert 1 < pooled[0, 0] < 3
    np.testing.assert_allclose(pooled[1], [4, 5])


def test_the_files_tokens_stand_one_after_another():
    tokens = np.arange(2 * 2 * 3 * 1, dtype=np.float32).reshape(4, 3, 1)  # B=2, N=2, T=3, D=1
    valid = floats([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
    joined, mask = layers.time.join_files(tokens, valid, floats([[1, 1], [1, 0]]))
    np.testing.assert_array_equal(joined[..., 0], [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(mask, [[1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]])
