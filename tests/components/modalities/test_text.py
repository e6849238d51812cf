"""Text: which word pieces a cell becomes, in any language."""

import gzip
import json
import logging
import re
import shutil
import sys
import unicodedata
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_drawn import Page, words

from mmkeras.base import html
from mmkeras.components.modalities.text import PADDING, UNKNOWN, Text, _hub_tokenizer
from mmkeras.contracts.config import build

ROWS = [
    "The red car",
    "маленький и йод",
    "красная машина",
    "红色的汽车",
    "紅い自動車です",
    "Το κόκκινο αυτοκίνητο",
    "naïve café über straße",
    "mașină roșie",
    "빨간 자동차",
    "السيارة الحمراء",
    "लाल गाड़ी",
    "3 × 4 = 12 €",
    "👍 🚗",
]


@pytest.fixture(scope="module")
def text():
    return Text(max_tokens=16, vocabulary_size=500).adapt(ROWS)


def pieces(text, cell):
    tokens = text.preprocess(tf.constant(cell))["tokens"].numpy()
    return [text.vocabulary[token] for token in tokens if token]


def joined(text, cell):
    return "".join(piece.removeprefix("##") for piece in pieces(text, cell))


@pytest.mark.parametrize("row", ROWS)
def test_every_character_of_the_training_rows_survives(text, row):
    folded = row.casefold().replace(" ", "")
    assert UNKNOWN not in pieces(text, row)
    assert joined(text, row) == folded


@pytest.mark.parametrize(("first", "second"), [("й", "и"), ("é", "e"), ("ș", "s"), ("ό", "ο"), ("紅", "红")])
def test_accents_make_a_difference(text, first, second):
    assert pieces(text, first) != pieces(text, second)


@pytest.mark.parametrize("word", ["café", "йод", "mașină"])
def test_composed_and_decomposed_letters_are_one(text, word):
    decomposed = unicodedata.normalize("NFD", word)
    assert decomposed != word
    assert pieces(text, decomposed) == pieces(text, word)
    assert UNKNOWN not in pieces(text, word)


def test_chinese_is_read_character_by_character(text):
    assert pieces(text, "红汽车") == ["红", "汽", "车"]


def test_words_that_are_new_are_pieced_together(text):
    assert joined(text, "carthe") == "carthe"
    assert len(pieces(text, "carthe")) > 1


def test_characters_that_training_never_saw_are_unknown(text):
    assert pieces(text, "ж") == [UNKNOWN]
    assert pieces(text, "red Ж car") == [*pieces(text, "red"), UNKNOWN, *pieces(text, "car")]


def test_padding_and_unknown_have_the_first_two_numbers(text):
    assert text.vocabulary[:2] == (PADDING, UNKNOWN)
    assert len(set(text.vocabulary)) == len(text.vocabulary)


def test_tokens_are_padded_at_the_end(text):
    tokens = text.preprocess(tf.constant("red car"))["tokens"].numpy()
    count = len(pieces(text, "red car"))
    assert (tokens[:count] > 0).all() and (tokens[count:] == 0).all()
    assert 0 < count < 16


def test_long_texts_are_cut_at_the_end(text):
    features = text.preprocess(tf.constant("红" * 10 + "车" * 10))
    wanted = [text.vocabulary.index("红")] * 10 + [text.vocabulary.index("车")] * 6
    assert features["tokens"].numpy().tolist() == wanted


def test_a_megabyte_is_no_trouble(text):
    features = text.preprocess(tf.constant("the red car " * 90_000))
    assert (features["tokens"].numpy() > 0).all()


def test_case_is_folded_unless_it_is_to_count():
    rows = ["Red RED red", "Straße STRASSE"]
    folded, counted = (Text(lowercase=lowercase, vocabulary_size=100).adapt(rows) for lowercase in (True, False))
    assert pieces(folded, "RED") == pieces(folded, "red")
    assert pieces(folded, "STRASSE") == pieces(folded, "straße")
    assert pieces(counted, "RED") != pieces(counted, "red")
    assert not any(piece.isupper() for piece in folded.vocabulary[2:])


def test_the_vocabulary_comes_from_the_training_cells_alone():
    first, second = Text().adapt(["abc abc"]), Text().adapt(["xyz xyz"])
    assert {"abc"} <= set(first.vocabulary) and {"xyz"} <= set(second.vocabulary)
    assert set("".join(first.vocabulary[2:])) <= set("abc#")
    assert set("".join(second.vocabulary[2:])) <= set("xyz#")


def test_the_vocabulary_has_at_most_its_size():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(500)]
    assert len(Text(vocabulary_size=120).adapt(words).vocabulary) == 120


def test_the_vocabulary_is_the_same_each_time():
    assert Text().adapt(ROWS) == Text().adapt(ROWS)


def test_a_text_that_is_adapted_again_forgets_its_old_vocabulary():
    first = Text().adapt(["abc abc"])
    assert pieces(first, "abc") == ["abc"]
    again = first.adapt(["xyz xyz"])
    assert pieces(again, "xyz") == ["xyz"]


@pytest.mark.parametrize("blank", ["", " ", " \t\r\n "])
def test_blank_cells_are_missing(text, blank):
    features = text.preprocess(tf.constant(blank))
    assert features["present"] == 0
    assert not features["tokens"].numpy().any()


@pytest.mark.parametrize("blank", ["\u3000", "\xa0", "\u2028"])
def test_cells_of_other_alphabets_blanks_are_missing(text, blank):
    assert text.read(blank) == ""
    assert text.preprocess(tf.constant(blank))["present"] == 0


def test_read_strips():
    assert Text().read("  red car\n") == "red car"


@pytest.mark.parametrize("cell", [b"\xff\xfe\x00", "café".encode("latin-1"), b"red \x80 car", b"red\0car"])
def test_bytes_that_are_no_utf_8_crash_nothing(text, cell):
    assert text.preprocess(tf.constant(cell))["present"] == 1


def alone(features):
    """One row's features as a batch."""
    return {name: tensor[tf.newaxis] for name, tensor in features.items()}


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.3, 0.22, 0.38)])
def test_augmentation_makes_so_many_tokens_unknown(chance, low, high):
    text = Text(max_tokens=400, token_dropout=chance).adapt(["red car"])
    features = alone(text.preprocess(tf.constant("red " * 300)))
    tokens = text.augment(features, tf.constant([1, 2]))["tokens"].numpy()[0]
    hidden = tokens == 1
    assert low <= hidden[:300].mean() <= high
    assert not tokens[300:].any()
    assert (tokens[:300][~hidden[:300]] == text.vocabulary.index("red")).all()


def test_the_encoding_does_not_see_the_padding(text):
    cells = tf.constant(["the red car"])
    vectors = []
    for max_tokens in (8, 16):
        keras.utils.set_random_seed(1)
        wide = text.model_copy(update={"max_tokens": max_tokens})
        inputs = {
            name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in wide.features.items()
        }
        model = keras.Model(inputs, wide.encode(inputs).vector)
        vectors.append(model({name: value[None] for name, value in wide.preprocess(cells[0]).items()}).numpy())
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


@pytest.mark.parametrize(
    ("values", "is_claimed"),
    [
        (["the red car", "a blue boat", "boat"], True),
        (["红色的汽车", "蓝色的船", "船"], True),
        (["red", "blue", "red"], False),
        (["2024-01-01", "17", "3.5"], False),
    ],
)
def test_columns_of_words_are_claimed(values, is_claimed):
    reason = Text.claims(pd.Series(values, dtype=object))
    assert (reason is not None) == is_claimed
    if is_claimed:
        assert reason == "67% of the cells hold several words"


# Drawing


def one(place, tokens=16, value=1.0):
    """An attribution of one word piece."""
    return value * (np.arange(tokens) == place)


def colored(drawn):
    return {word for word, title in words(drawn).items() if title not in ("0", "not read")}


def test_drawing_escapes():
    drawn = Text().draw("1 < 2 & <b>\0\x1b")
    assert "1 &lt; 2 &amp; &lt;b&gt;\ufffd\ufffd" in drawn
    assert Page(Text().draw(" ")).text == Page(Text().draw(None)).text == "missing"


def test_the_word_of_the_piece_is_coloured_as_it_is_written(text):
    drawn = text.draw("The RED  Café, (2½ ﬁne) straße!", one(1, value=-0.3), "integrated gradients")
    assert words(drawn)["RED"] == "-0.300" and colored(drawn) == {"RED"}
    assert "background:rgba(255,120,0,0.60)" in drawn and "full colour: 0.300" in drawn
    assert Page(drawn).text.startswith("The RED  Café, (2½ ﬁne) straße!")


def test_word_pieces_are_added_up_to_words(text):
    first, both = (np.count_nonzero(text.preprocess(tf.constant(cell))["tokens"]) for cell in ("red", "red careder"))
    assert both - first > 1
    places = np.arange(16)
    drawn = text.draw("red CarEder, boat", np.where((places >= first) & (places < both), 0.5, 0.0))
    assert words(drawn)["CarEder"] == html.signed(0.5 * (both - first)) and colored(drawn) == {"CarEder"}


@pytest.mark.parametrize(
    ("written", "place", "word"),
    [
        ("红色的汽车", 2, "的"),  # each for itself
        ("السيارة الحمراء", 1, "الحمراء"),
        ("👍 🚗", 1, "🚗"),
        ("… red", 3, "red"),  # three points in NFKC
        ("re\0d\u00a0car", 0, "re\ufffdd"),  # the tokenizer drops the null byte
        ("a =\u0338 b", 2, "b"),  # composed to one letter that is no sign: split at blanks alone
        ('<script src="evil"', 0, "&lt;"),
    ],
)
def test_words_of_any_script_get_their_own_colour(text, written, place, word):
    drawn = text.draw(written, one(place))
    assert word in colored(drawn)
    assert len(colored(drawn)) == 1
    assert "<script" not in drawn and '<div dir="auto"' in drawn


def test_what_is_beyond_the_last_token_is_marked_not_read():
    short = Text(max_tokens=3, vocabulary_size=500).adapt(ROWS)
    drawn = short.draw("The red car красная машина", np.array([0.0, 0.0, -2.0]))
    assert words(drawn) == {"The": "0", "red": "0", "car": "-2.00", " красная машина": "not read"}
    assert "the model does not read what is pale" in drawn
    assert "not read" not in short.draw("The red car ", np.zeros(3))


def test_long_texts_are_folded_and_very_long_ones_cut(text):
    for drawn in (text.draw("red car " * 300), text.draw("red car " * 300, one(3))):
        page = Page(drawn)
        assert [tag for tag, _ in page.elements].count("details") == 1
        assert re.sub(r"… [0-9,]+ more characters", "", page.text).startswith("red car " * 300)
        assert len(page.text.split("…")[0]) <= 500
    drawn = text.draw("red car " * 100_000, one(3))
    assert len(drawn) < 50_000 and "more characters are not shown" in drawn
    assert len(text.draw("x" * 1_000_000, one(0))) < 50_000


def test_a_text_of_nothing_that_counts_is_not_coloured(text):
    drawn = text.draw("red car", np.zeros(16), "occlusion")
    assert colored(drawn) == set() and "background" not in drawn and "all attributions are 0" in drawn


def test_the_scale_may_be_given(text):
    drawn = text.draw("red car", one(0, value=0.1), scale=0.4)
    assert "rgba(0,114,255,0.15)" in drawn and "full colour: 0.400" in drawn


def test_halves_of_characters_are_drawn(text):
    assert Page(text.draw("\ud800 red", one(1))).text.startswith("\ufffd red")


# Encoders

SMALL = {"max_tokens": 7, "embedding_width": 10, "ngram_buckets": 53, "ngram_width": 9}
ENCODERS = {
    "lstm": {"type": "recurrent", "both_ways": False, "units": 5},
    "gru": {"type": "recurrent", "cell": "gru", "both_ways": False, "units": 5},
    "bilstm": {"type": "recurrent", "units": 5},
    "cnn": {"type": "convolution", "filters": (6,)},
    "bag": {"type": "bag"},
    "transformer": {"type": "transformer", "width": 12, "heads": 3},
}
LAYERED = ("lstm", "gru", "bilstm", "transformer")  # what has a depth and more than one pooling
WIDTHS = {"lstm": 2 * 5, "gru": 2 * 5, "bilstm": 4 * 5, "cnn": 3 * 6, "bag": 10, "transformer": 2 * 12}
TOKEN_WIDTHS = {"lstm": 5, "gru": 5, "bilstm": 10, "cnn": 18, "bag": 10, "transformer": 12}
from_scratch = pytest.mark.parametrize("encoder", WIDTHS)


def model_of(text):
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in text.features.items()}
    encoding = text.encode(inputs)
    return keras.Model(inputs, {"vector": encoding.vector, "tokens": encoding.tokens, "mask": encoding.mask})


def batch(text, cells):
    rows = [text.preprocess(tf.constant(cell)) for cell in cells]
    return {name: tf.stack([row[name] for row in rows]) for name in rows[0]}


def gradients(model, features):
    with tf.GradientTape() as tape:
        vector = model(features, training=False)["vector"]
        # the sum alone would hide what a normalisation behind the weights makes of it
        loss = tf.reduce_sum(tf.square(vector - tf.random.stateless_normal(vector.shape, (1, 2))))
    return dict(zip([weight.path for weight in model.trainable_variables],
                    tape.gradient(loss, model.trainable_variables), strict=True))  # fmt: skip


def dead(found):
    """A key's bias aside: it adds the same to each of a query's scores, so that no softmax sees it."""
    return [
        path
        for path, gradient in found.items()
        if "key/bias" not in path and (gradient is None or not np.any(tf.convert_to_tensor(gradient)))
    ]


@pytest.fixture(scope="module")
def small():
    """A function: encoder, its and the text's settings -> a small text, its vocabulary learned from ROWS once."""
    vocabulary = Text(vocabulary_size=300).adapt(ROWS).vocabulary

    def make(name, sizes=None, **settings):
        encoder = ENCODERS[name] | (sizes or {})
        return Text(encoder=encoder, vocabulary=vocabulary, backbone="", **SMALL | settings)

    return make


@from_scratch
@pytest.mark.parametrize(
    ("depth", "settings"), [(1, {}), (2, {"normalization": "layer", "ngrams": 0})], ids=["plain", "deep"]
)
def test_every_encoder_gives_its_shapes_and_gradients_reach_every_weight(small, encoder, depth, settings):
    text = small(encoder, {"depth": depth} if encoder in LAYERED else {}, **settings)
    model, features = model_of(text), batch(text, ["the red car", "naïve café", ""])
    outputs = model(features)
    assert outputs["vector"].shape == (3, WIDTHS[encoder] + (9 if text.ngrams else 0))
    assert outputs["tokens"].shape == (3, 7, TOKEN_WIDTHS[encoder])
    np.testing.assert_array_equal(outputs["mask"], features["tokens"].numpy() > 0)
    assert np.isfinite(outputs["vector"]).all()
    assert not dead(gradients(model, features))


@pytest.mark.parametrize(
    ("encoder", "sizes"),
    [
        *((name, {}) for name in ENCODERS),
        *((name, {"pooling": "last"}) for name in ("lstm", "gru", "bilstm")),
        ("cnn", {"pooling": "mean_and_max"}),
        ("transformer", {"pooling": "first"}),
    ],
)
def test_no_encoder_sees_the_padding(small, encoder, sizes):
    vectors = []
    for max_tokens in (8, 13):
        keras.utils.set_random_seed(1)
        text = small(encoder, sizes, max_tokens=max_tokens)
        vectors.append(model_of(text)(batch(text, ["the red car"]))["vector"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


@pytest.mark.parametrize("encoder", ["lstm", "gru", "bilstm", "cnn", "transformer"])
def test_the_order_of_words_matters_to_all_but_the_bag(small, encoder):
    for name, differs in ((encoder, True), ("bag", False)):
        text = small(name, ngrams=0)
        first, second = model_of(text)(batch(text, ["red car the", "the car red"]))["vector"].numpy()
        assert np.allclose(first, second, atol=1e-6) != differs


def test_depth_and_heads_and_widths_are_what_the_settings_say(small):
    def count(text, layer):
        return sum(type(each).__name__ == layer for each in model_of(text).layers)

    assert count(small("gru", {"depth": 3}), "GRU") == 3
    assert count(small("bilstm", {"depth": 2}), "Bidirectional") == 2
    assert count(small("transformer", {"depth": 4}), "MultiHeadAttention") == 4
    assert count(small("cnn", {"kernel_steps": (2, 3)}), "Conv1D") == 2
    assert count(small("lstm", normalization="batch"), "BatchNormalization") == 1
    assert count(small("lstm", ngrams=0), "NgramBag") == 0


def test_a_width_that_the_heads_do_not_share_is_an_error():
    with pytest.raises(ValueError, match="width is 16, expected a multiple of heads, which is 3"):
        Text(encoder={"type": "transformer", "width": 16, "heads": 3})


@from_scratch
def test_features_do_not_depend_on_an_encoder_that_learns_from_scratch(small, encoder):
    text, other = Text(encoder=ENCODERS[encoder], max_tokens=7).adapt(ROWS), Text(max_tokens=7).adapt(ROWS)
    exclude = text.tunable_fields()
    assert text.model_dump_json(exclude=exclude) == other.model_dump_json(exclude=exclude)


# Word vectors


@pytest.fixture
def vectors(tmp_path):
    """A function: lines -> the path of a file that holds them."""

    def write(*lines, name="vectors.txt"):
        path = tmp_path / name
        path.write_bytes((gzip.compress if name.endswith("gz") else bytes)("\n".join(lines).encode() + b"\n"))
        return str(path)

    return write


def embedding(text):
    return next(layer for layer in model_of(text).layers if isinstance(layer, keras.layers.Embedding)).get_weights()[0]


@pytest.mark.parametrize("header", [[], ["3 2"]])
@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
def test_whole_words_start_with_their_vectors(vectors, header, name, caplog, monkeypatch):
    path = vectors(*header, "Boats 3 -4", "boats 9 9", "new york 5 6", "zebra 7 8", name=name)
    text = Text(word_vectors=path, embedding_width=2, vocabulary_size=100).adapt(["boats bots", "Boats"])
    monkeypatch.setattr(logging.getLogger("mmkeras"), "propagate", True)
    with caplog.at_level(logging.INFO, "mmkeras"):
        table = embedding(text)
    np.testing.assert_array_equal(table[text.vocabulary.index("boats")], [3, -4])
    assert "zebra" not in text.vocabulary
    assert f"1 of {len(text.vocabulary)} word pieces" in caplog.text
    others = np.delete(table, text.vocabulary.index("boats"), axis=0)
    assert others.any(axis=1).all() and not np.isin(others, [9, 5, 6]).any()


def test_frequent_words_that_the_file_knows_come_into_the_vocabulary(vectors):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(200)]
    cells = [" ".join(words), " ".join(words[:30])]
    path = vectors(*(f"{word} 1 2" for word in words))
    plain, started = (
        Text(word_vectors=file, embedding_width=2, vocabulary_size=100).adapt(cells) for file in (None, path)
    )
    assert len(started.vocabulary) == len(plain.vocabulary) == 100
    assert len({*words} & {*plain.vocabulary}) < len({*words[:30]} & {*started.vocabulary}) == 30
    assert {*words[30:]} & {*started.vocabulary}


def test_case_counts_where_it_is_to_count(vectors):
    path = vectors("boat 1 2", "Boat 3 4")
    text = Text(word_vectors=path, embedding_width=2, lowercase=False).adapt(["Boat boat"])
    table = embedding(text)
    np.testing.assert_array_equal(table[text.vocabulary.index("Boat")], [3, 4])
    np.testing.assert_array_equal(table[text.vocabulary.index("boat")], [1, 2])


def test_a_trained_text_needs_the_file_no_more(vectors):
    path = vectors("boat 1 2")
    text = Text(word_vectors=path, embedding_width=2).adapt(["boat"])
    shape = embedding(text).shape
    Path(path).unlink()
    assert embedding(text.trained()).shape == shape
    with pytest.raises(ValueError, match=r"word_vectors: .*vectors.txt cannot be read"):
        embedding(text)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["boat 1 2"], "holds vectors of 2 numbers, but embedding_width is 3; set embedding_width to 2"),
        (["10 2", "boat 1 2"], "holds vectors of 2 numbers, but embedding_width is 3"),
        (["sea 1 2 3", "boat 1 2 x"], 'line 2: expected 3 numbers after a word, got "1 2 x"'),
    ],
)
def test_a_file_of_other_vectors_is_an_error(vectors, lines, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Text(word_vectors=vectors(*lines), embedding_width=3).adapt(["boat sea"])


# A pretrained encoder


def pretrained(preset, **settings):
    """An `encoder` of this preset."""
    return {"type": "pretrained", "preset": str(preset), **settings}


def with_encoder(text, **changes):
    return text.model_copy(update={"encoder": (text.encoder[0].model_copy(update=changes),)})


HUB_CELLS = ["The red CARS", "Ελλάδα red", "naïve the car 一二 red red red red red", "", "the car's"]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A tiny BERT of random weights, saved as keras-hub saves one, and its backbone."""
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed: no pretrained encoder is tested")
    keras.utils.set_random_seed(3)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "car", "##s", "the", "一", "naive", "'", "s"]
    folder = str(tmp_path_factory.mktemp("presets") / "bert")
    backbone = hub.models.BertBackbone(
        vocabulary_size=len(pieces), num_layers=2, num_heads=2, hidden_dim=6, intermediate_dim=8, max_sequence_length=11
    )
    for saved in (backbone, hub.models.BertTokenizer(pieces, lowercase=True)):
        saved.save_to_preset(folder)
    return folder, backbone


@pytest.fixture(scope="module")
def bert(preset):
    """Adapted, with its weights to be fetched from the preset."""
    return Text(encoder=pretrained(preset[0]), **SMALL, ngrams=0).adapt(["anything"])


def test_a_backbones_tokens_are_those_of_its_own_preprocessor(bert, preset):
    import keras_hub

    own = keras_hub.models.TextClassifierPreprocessor.from_preset(preset[0], sequence_length=7)
    own = tf.function(own, input_signature=[bert.cell])
    for cell in filter(None, HUB_CELLS):
        tokens = bert.preprocess(tf.constant(cell))["tokens"].numpy()
        wanted = own(tf.constant(cell))
        np.testing.assert_array_equal(tokens > 0, wanted["padding_mask"])
        np.testing.assert_array_equal(np.maximum(tokens - 1, 0), wanted["token_ids"])  # [PAD] is number 0 there
    # [CLS] the red car ##s [SEP]
    assert bert.preprocess(tf.constant(HUB_CELLS[0]))["tokens"].numpy().tolist() == [3, 9, 6, 7, 8, 4, 0]
    assert not bert.preprocess(tf.constant(" "))["tokens"].numpy().any()


@pytest.mark.parametrize("cell", [b"\xff\xfe\x00", b"red \x80 car", b"red\0car", b"\xed\xa0\x80"])
def test_a_backbones_tokenizer_takes_any_bytes(bert, cell):
    features = bert.preprocess(tf.constant(cell))
    assert features["present"] == 1 and features["tokens"][0] == 3


def test_words_of_a_backbones_tokens_get_their_own_colour(bert):
    """7 tokens: [CLS] the car ##s [UNK] red [SEP]; the last sign is cut off."""
    drawn = bert.draw("The CARS, red!", one(3, tokens=7, value=-0.5), "integrated gradients")
    assert words(drawn) == {"The": "0", "CARS": "-0.500", ",": "0", "red": "0", "!": "not read"}
    assert colored(bert.draw("red", one(0, tokens=7))) == colored(bert.draw("red", one(2, tokens=7))) == set()


def test_a_backbone_gives_what_keras_hub_gives(bert, preset):
    features = batch(bert, HUB_CELLS[:2])
    tokens = model_of(bert)(features)["tokens"]
    is_real = features["tokens"] > 0
    wanted = preset[1](
        {
            "token_ids": tf.maximum(features["tokens"] - 1, 0),
            "padding_mask": is_real,
            "segment_ids": tf.zeros_like(features["tokens"]),
        }
    )
    real = is_real.numpy()
    np.testing.assert_allclose(tokens.numpy()[real], wanted["sequence_output"].numpy()[real], atol=1e-5)


def test_a_frozen_backbone_has_nothing_to_train(bert):
    model = model_of(bert)
    assert model.trainable_variables == []
    assert len(model.weights) > 20
    features = batch(bert, HUB_CELLS[:2])
    np.testing.assert_array_equal(model(features, training=False)["tokens"], model(features, training=True)["tokens"])


def test_the_top_blocks_can_be_trained(bert):
    model = model_of(with_encoder(bert, unfrozen_blocks=1))
    slopes = gradients(model, batch(bert, HUB_CELLS[:2] + [""]))
    assert {path.split("/")[0] for path in slopes} == {"transformer_layer_1"}
    assert not dead(slopes)
    with pytest.raises(ValueError, match="unfrozen_blocks: the pretrained encoder has 2, got 3"):
        model_of(with_encoder(bert, unfrozen_blocks=3))


def test_a_trained_backbone_is_built_without_its_preset(bert, preset, tmp_path):
    moved = Path(shutil.copytree(preset[0], tmp_path / "moved"))
    text = with_encoder(bert, preset=str(moved))
    weights = model_of(text).get_weights()
    shutil.rmtree(moved)
    again = build("modality", json.loads(text.trained().model_dump_json()), "here")
    _hub_tokenizer.cache_clear()
    model = model_of(again)
    model.set_weights(weights)
    cells = batch(again, HUB_CELLS)
    np.testing.assert_array_equal(cells["tokens"], batch(bert, HUB_CELLS)["tokens"])
    np.testing.assert_allclose(model(cells)["vector"], model_of(bert)(cells)["vector"], atol=1e-6)
    with pytest.raises(ValueError, match='preset ".*moved": keras-hub cannot load it'):
        model_of(text)


def test_a_backbones_tokenizer_is_made_inside_a_dataset(bert):
    _hub_tokenizer.cache_clear()
    dataset = tf.data.Dataset.from_tensor_slices(HUB_CELLS).map(bert.preprocess)
    assert dataset.element_spec == bert.features
    _hub_tokenizer.cache_clear()
    wanted = batch(bert, HUB_CELLS)["tokens"]
    np.testing.assert_array_equal(np.stack([row["tokens"] for row in dataset]), wanted)


@pytest.mark.parametrize("family", ["DistilBert", "Electra"])
def test_other_families_of_word_pieces_are_understood(preset, family, tmp_path):
    import keras_hub

    classes = [getattr(keras_hub.models, family + part) for part in ("Backbone", "Tokenizer")]
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 6, "intermediate_dim": 8, "max_sequence_length": 11}
    sizes |= {"vocab_size": 6, "embedding_dim": 6} if family == "Electra" else {"vocabulary_size": 6}
    for part in (classes[0](**sizes), classes[1](["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red"])):
        part.save_to_preset(tmp_path / "tiny")
    text = Text(encoder=pretrained(tmp_path / "tiny", unfrozen_blocks=1), **SMALL).adapt(["red"])
    features = batch(text, ["red blue", ""])
    assert features["tokens"].numpy()[0].tolist() == [3, 6, 2, 4, 0, 0, 0]
    assert not dead(gradients(model_of(text), features))


def test_a_backbones_features_are_exported(bert, tmp_path):
    module = tf.Module()
    module.features = tf.function(
        lambda cells: tf.map_fn(bert.preprocess, cells, fn_output_signature=bert.features),
        input_signature=[tf.TensorSpec((None,), tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path)).features(tf.constant(HUB_CELLS))
    np.testing.assert_array_equal(loaded["tokens"], batch(bert, HUB_CELLS)["tokens"])


def test_augmentation_masks_a_backbones_pieces_and_leaves_its_start_and_end(bert):
    text = bert.model_copy(update={"token_dropout": 0.999})
    augmented = text.augment(alone(text.preprocess(tf.constant("the red cars"))), tf.constant([1, 2]))
    assert augmented["tokens"].numpy().tolist() == [[3, 5, 5, 5, 5, 4, 0]]


def test_a_backbone_takes_the_n_gram_bag_beside_it(bert):
    text = bert.model_copy(update={"ngrams": 3})
    assert model_of(text)(batch(text, HUB_CELLS))["vector"].shape == (5, 2 * 6 + 9)


def test_a_preset_that_does_not_fit_is_an_error(preset, tmp_path):
    hub = pytest.importorskip("keras_hub")
    with pytest.raises(ValueError, match="takes at most 11 tokens, but max_tokens is 12"):
        Text(encoder=pretrained(preset[0]), max_tokens=12).adapt(["red"])
    with pytest.raises(ValueError, match=r'preset ".*nowhere": keras-hub cannot load it'):
        Text(encoder=pretrained(tmp_path / "nowhere")).adapt(["red"])
    pieces = {"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 3, "a": 4, "b": 5, "ab": 6}
    hub.models.RobertaTokenizer(pieces, ["a b"]).save_to_preset(tmp_path / "roberta")
    hub.models.RobertaBackbone(7, 1, 1, 2, 2).save_to_preset(tmp_path / "roberta")
    with pytest.raises(ValueError, match="RobertaTokenizer cannot be put into the graph; .* BERT, DistilBERT, ELECTRA"):
        Text(encoder=pretrained(tmp_path / "roberta")).adapt(["red"])


@pytest.mark.parametrize(
    ("encoder", "settings", "message"),
    [
        ("pretrained", {}, 'needs "preset"'),
        (pretrained("x"), {"word_vectors": "y"}, 'has an embedding of its own; leave "word_vectors" out'),
        (pretrained("x"), {"max_tokens": 2}, "needs max_tokens of at least 3"),
    ],
)
def test_settings_that_do_not_fit_a_pretrained_encoder_are_errors(encoder, settings, message):
    with pytest.raises(ValueError, match=message):
        Text(encoder=encoder, **settings)


def test_without_keras_hub_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match=r'pip install "mmkeras\[pretrained\]"'):
        Text(encoder=pretrained("x")).adapt(["red"])


# What a column tells


def surveyed(*cells):
    return Text(max_tokens=9).survey(pd.Series(cells, range(2, 2 + len(cells)), dtype=object))


def doubted(*cells):
    return [(row, doubt.kind) for row, doubt in surveyed(*cells).doubts]


def test_words_characters_and_scripts_are_measured():
    survey = surveyed("a red car", "синий дом", "蓝色的房子", " two words ")
    assert survey.measures["words"].tolist() == [3, 2, 1, 2]
    assert survey.measures["characters"].tolist() == [9, 9, 5, 9]
    assert survey.shares == {"Latin": 0.5, "Cyrillic": 0.25, "Han": 0.25}


SENTENCES = ["the red car", "where is my order", "ein blaues Haus"]


@pytest.mark.parametrize("cell", ["...", "-", "N/A", "null", "?!", "x", "7", " .. "])
def test_texts_that_say_nothing_are_doubted(cell):
    assert doubted(*SENTENCES, cell) == [(5, "nearly empty")]


@pytest.mark.parametrize("cell", ["no", "OK", "龙", "👍", "C++", "None of it", "№ 5"])
def test_short_texts_that_say_something_are_not(cell):
    assert doubted(*SENTENCES, cell) == []


def test_letters_are_not_doubted_among_letters():
    assert doubted("a", "b", "c", "d e") == []


def test_a_text_that_is_far_too_long_is_doubted():
    assert doubted(*SENTENCES, "word " * 20_000) == []
    ((row, doubt),) = surveyed(*SENTENCES, "word " * 20_001).doubts
    assert (row, doubt.kind, doubt.what) == (5, "far too large", "100,004 characters")
    assert doubt.remedy == "shorten it: training reads the first 9 word pieces"


@pytest.mark.parametrize("cell", ["cafÃ© au lait", "itâ€™s here", "caf\ufffd au lait", "cut\x00off here"])
def test_damaged_letters_are_doubted(cell):
    assert doubted(*SENTENCES, cell) == [(5, "damaged letters")]


@pytest.mark.parametrize("cell", ["café au lait", "it’s here", "São Paulo", "SÃO PAULO", "Ã"])
def test_letters_with_accents_are_not(cell):
    assert "damaged letters" not in dict(doubted(*SENTENCES, cell)).values()
