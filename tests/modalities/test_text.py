"""Text: which word pieces a cell becomes, in any language."""

import unicodedata

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mmkeras.modalities.text import PADDING, UNKNOWN, Text

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


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.3, 0.15, 0.45)])
def test_augmentation_makes_so_many_tokens_unknown(chance, low, high):
    text = Text(max_tokens=400, token_dropout=chance).adapt(["red car"])
    features = text.preprocess(tf.constant("red " * 300))
    tokens = text.augment(features, tf.constant([1, 2]))["tokens"].numpy()
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


def test_drawing_escapes():
    assert Text().draw("1 < 2 & <b>") == "<p>1 &lt; 2 &amp; &lt;b&gt;</p>"
