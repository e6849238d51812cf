"""The shared layers, on numbers that can be worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.network import layers


def floats(values):
    return np.array(values, np.float32)


TOKENS = floats([[[1, -5], [3, -7], [100, 100]], [[2, 2], [9, 9], [9, 9]], [[9, 9], [9, 9], [9, 9]]])  # (B=3, T=3, D=2)
MASK = floats([[1, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_an_absent_vector_is_replaced_by_the_learned_one():
    layer = layers.joining.ReplaceAbsent()
    vector, present = floats([[1, 2], [3, 4]]), floats([1, 0])
    np.testing.assert_array_equal(layer(vector, present), [[1, 2], [0, 0]])
    layer.set_weights([floats([7, 8])])
    np.testing.assert_array_equal(layer(vector, present), [[1, 2], [7, 8]])


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


@pytest.mark.filterwarnings("error")
def test_keras_own_mask_ends_where_columns_are_told_apart():
    marked = layers.joining.AddLearned()(keras.layers.Masking()(keras.Input((3, 2))))
    assert marked.shape == (None, 3, 2)
    assert getattr(marked, "_keras_mask", None) is None


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


def test_shares_are_of_what_is_there():
    scores = floats([[np.log(3), 99, 0], [4, 4, 4], [5, 6, 7]])
    shares = layers.joining.MaskedSoftmax()(scores, floats([[1, 0, 1], [0, 1, 0], [0, 0, 0]]))
    np.testing.assert_allclose(shares, [[0.75, 0, 0.25], [0, 1, 0], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [([[0.25, 0.75]], [[2.5, 3.5, 4.5]]), ([[[1, 0, 0.5], [0, 1, 0.5]]], [[1, 4, 4]])],
)
def test_a_weighted_sum_by_column_or_by_unit(weights, wanted):
    np.testing.assert_allclose(layers.joining.WeightedSum()(floats([[[1, 2, 3], [3, 4, 5]]]), floats(weights)), wanted)


def test_what_is_said_of_two_vectors():
    found = layers.joining.Compare()(floats([[1, 2, 3], [0, 0, 0]]), floats([[4, 5, 6], [0, 0, 0]]))
    cosine = 32 / np.sqrt(14 * 77)  # 0.975
    np.testing.assert_allclose(found[0], [cosine, 3, 4, 10, 18, 3, 3, 3], atol=1e-5)
    np.testing.assert_allclose(found[1], np.zeros(8), atol=2e-3)


@pytest.mark.parametrize(
    ("exclusive", "present", "wanted"),
    [(True, [1, 1, 0], [0.4, 0.6]), (False, [1, 1, 0], [0.6, 0.9]), (True, [0, 0, 0], [0, 0])],
)
def test_the_highest_probability_of_what_is_there(exclusive, present, wanted):
    found = layers.answers.JointMaximum(exclusive)(floats([[[0.6, 0.4], [0.1, 0.9], [1, 0]]]), floats([present]))
    np.testing.assert_allclose(found, [wanted], atol=1e-6)


@pytest.mark.parametrize(
    ("exclusive", "weights", "wanted"),
    [
        # two of three vote for the first; then one against one: the second is the surer one
        (True, [1 / 3, 1 / 3, 1 / 3], [0.66 + 0.005, 0.33 + 0.005]),
        (True, [0.5, 0.5, 0], [0.495 + 0.0035, 0.495 + 0.0065]),
        (True, [0, 0, 0], [0, 0]),
        # each for itself
        (False, [0, 0.5, 0.5], [0.495 + 0.0045, 0.495 + 0.0055]),
        (False, [0, 1, 0], [0.001, 0.99 + 0.009]),
    ],
)
def test_votes(exclusive, weights, wanted):
    found = layers.answers.Vote(exclusive)(floats([[[0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]]), floats([weights]))
    np.testing.assert_allclose(found, [wanted], atol=1e-6)


def test_half_a_chance_is_no_vote():
    np.testing.assert_allclose(
        layers.answers.Vote(False)(floats([[[0.5, 0.51]]]), floats([[1]])), [[0.005, 0.9951]], atol=1e-6
    )


def test_one_learned_vector_is_added_to_every_token_or_put_before_them():
    added = layers.joining.AddLearned()
    change = np.array(added(TOKENS)) - TOKENS
    np.testing.assert_allclose(change, np.broadcast_to(added.vector, TOKENS.shape), atol=1e-4)
    put = layers.joining.PrependLearned()
    found = np.array(put(TOKENS))
    np.testing.assert_array_equal(found[:, 1:], TOKENS)
    np.testing.assert_array_equal(found[:, 0], np.broadcast_to(put.token, found[:, 0].shape))


def test_projections_are_of_one_width_and_bounded():
    first, second = layers.joining.project([floats([[1e4, -1e4]]), floats([[1e4, 2, 3]])], 5)
    assert first.shape == second.shape == (1, 5)
    assert np.abs(first).max() <= 1 and np.abs(second).max() <= 1


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (layers.joining.ReplaceAbsent(), [floats([[1, 2], [3, 4]]), floats([1, 0])]),
        (layers.time.MaskedMean(), [TOKENS, MASK]),
        (layers.time.MaskedMax(), [TOKENS, MASK]),
        (layers.time.NgramBag(2, 50, 4), [np.array([[4, 8, 0]], np.int32)]),
        (layers.time.SoftBins(5), [floats([[-2, 0.5]])]),
        (layers.time.AttentionPool(4), [TOKENS, MASK]),
        (layers.joining.MaskedSoftmax(), [floats([[1, 2, 3]]), floats([[1, 0, 1]])]),
        (layers.joining.LearnedScores(), [floats([[1, 0, 1]])]),
        (layers.joining.WeightedSum(), [TOKENS, MASK]),
        (layers.joining.AddLearned(), [TOKENS]),
        (layers.joining.PrependLearned(), [TOKENS]),
        (layers.joining.Compare(), [floats([[1, 2, 3]]), floats([[4, 5, 6]])]),
        (layers.answers.JointMaximum(True), [TOKENS, MASK]),
        (layers.answers.Vote(False), [TOKENS, MASK]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_layer_is_rebuilt_from_its_config(layer, inputs):
    wanted = layer(*inputs)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(*inputs), wanted)
    assert layer.compute_output_shape(*[array.shape for array in inputs]) == wanted.shape


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


# Answers


def test_an_answer_is_the_prior_where_nothing_is_given():
    layer = layers.answers.Answer([0.25, 0.75])
    np.testing.assert_allclose(layer(floats([[1, 0], [1, 0]]), floats([1, 0])), [[1, 0], [0.25, 0.75]])


def test_an_answer_is_tempered_outside_training_and_the_prior_never():
    layer = layers.answers.Answer([0.25, 0.75], temperature=2.0, link="softmax")
    said, given = floats([[0.8, 0.2], [0.8, 0.2]]), floats([1, 0])
    np.testing.assert_allclose(layer(said, given), [[2 / 3, 1 / 3], [0.25, 0.75]], rtol=1e-6)  # roots of 4 and 1
    np.testing.assert_array_equal(layer(said, given, training=True), said)
    again = layers.answers.Answer.from_config(layer.get_config())
    assert (again.temperature, again.link) == (2.0, "softmax")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_row_that_is_quite_wrong_still_learns(activation):
    """Probabilities below 1e-7, where Keras cuts them off: the slope has to be that of the logits."""
    loss = {"softmax": keras.losses.categorical_crossentropy, "sigmoid": keras.losses.binary_crossentropy}[activation]
    vector, given = keras.Input((2,)), keras.Input(())
    dense = keras.layers.Dense(2, activation, use_bias=False, kernel_initializer="identity")
    model = keras.Model([vector, given], layers.answers.Answer([0.5, 0.5])(dense(vector), given))
    model.compile(keras.optimizers.SGD(1.0), loss=loss)
    model.fit([floats([[30, -30]]), floats([1])], floats([[0, 1]]), verbose=0)
    slope = (np.eye(2) - dense.get_weights()[0])[0] / 30
    np.testing.assert_allclose(slope, [1, -1] if activation == "softmax" else [0.5, -0.5], atol=1e-5)


def test_ordered_classes_are_parted_by_thresholds():
    """Thresholds 0 and log 3: below them are 1/2 and 3/4 of what stands at 0, and 1/4 and 1/2 of what is at log 3."""
    layer = layers.answers.OrderedClasses([0, np.log(3)])
    wanted = [[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2]]
    np.testing.assert_allclose(layer(floats([[0], [np.log(3)]])), wanted, rtol=1e-6)
    assert layers.answers.OrderedClasses.from_config(layer.get_config()).thresholds == layer.thresholds


def test_ordered_classes_keep_their_order_whatever_their_weights_are():
    layer = layers.answers.OrderedClasses([-1, -1, 2, 2])  # two classes without a row
    assert layer.compute_output_shape((None, 1)) == (None, 5)
    assert np.all(layer(floats([[0], [1]])) > 0)
    layer.set_weights([floats([3, -30, 9, -30])])
    probabilities = layer(floats([[0], [7]]))
    assert np.all(np.asarray(probabilities) >= 0)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), [1, 1], rtol=1e-6)


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


# Pictures


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize(("blocks", "height", "width"), [("convolve_picture", 5, 7), ("residual_picture", 6, 8)])
def test_each_block_halves_a_picture(blocks, height, width, normalization):
    picture = keras.Input((23, 31, 3))
    encoded = getattr(layers.pictures, blocks)(picture, (4, 9), 3, normalization)
    assert encoded.shape == (None, height, width, 9)
    classes = {type(layer).__name__ for layer in keras.Model(picture, encoded).layers}
    assert ("LayerNormalization" in classes) == (normalization == "layer")
    assert ("BatchNormalization" in classes) == (normalization == "batch")


def test_means_keep_their_places():
    picture = floats(np.arange(16).reshape(1, 4, 4, 1))
    np.testing.assert_allclose(layers.pictures.pooled_by_place(picture, 2), [[2.5, 4.5, 10.5, 12.5]])
    np.testing.assert_allclose(layers.pictures.pooled_by_place(picture, 1), [[7.5]])
    np.testing.assert_allclose(layers.pictures.pooled_by_place(picture, 9), picture.reshape(1, 16))


def test_a_residual_block_adds_to_its_shortcut():
    picture = keras.Input((2, 2, 3))
    encoded = layers.pictures.residual_picture(picture, (1,), 1, "none")
    model = keras.Model(picture, encoded)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    convolutions.sort(key=lambda layer: (len(layer.name), layer.name))  # as they were made
    for layer, weight in zip(convolutions, (1, 2, 3, -0.5), strict=True):
        layer.set_weights([np.full_like(layer.get_weights()[0], weight), floats([0])])
    values = floats([[[[1, 2, 4], [9, 9, 9]], [[9, 9, 9], [9, 9, 9]]]])
    # The stem gives 1 + 2 + 4 = 7 at the top left and 27 elsewhere, 22 on average: the shortcut gives 2 * 22, the two
    # convolutions, the first of which looks at the top left only, -0.5 * (3 * 7).
    np.testing.assert_allclose(model(values), [[[[44 - 10.5]]]])


# Pictures' batch normalisation


def normalized(layer, trained_steps=3):
    """What it gives, its gradients and its statistics after some batches of pictures."""
    pictures = np.random.default_rng(0).normal(2, 3, (trained_steps, 4, 5, 6, 3)).astype("float32")
    layer.build((None, 5, 6, 3))
    layer.gamma.assign([1.0, 2.0, 0.5])
    for batch in pictures:
        with tf.GradientTape() as tape:
            batch = tf.constant(batch)
            tape.watch(batch)
            answer = layer(batch, training=True)
            loss = tf.reduce_sum(answer**3)
        gradients = tape.gradient(loss, [batch, layer.gamma.value, layer.beta.value])
    return [answer, layer(batch, training=False), *gradients, *layer.weights]


@pytest.mark.parametrize("changes", [{}, {"trainable": False}])
def test_pictures_are_normalized_as_keras_does(changes):
    own, wanted = layers.pictures.BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for layer in (own, wanted):
        layer.trainable = changes.get("trainable", True)
    for ours, theirs in zip(normalized(own), normalized(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_training_normalizes_pictures_by_one_operation():
    layer = layers.pictures.BatchNormalization()
    step = tf.function(lambda pictures: layer(pictures, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((4, 5, 6, 3))).graph
    assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}
