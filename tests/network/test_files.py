"""Several files in a cell, for a modality that only says what happens to one."""

from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mmkeras.base import html
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt
from mmkeras.network.files import FileModality

LETTERS = 5


class Note(FileModality):
    """A file's first letters as their numbers, 1 for a; digits are bad."""

    noun: ClassVar = "note"
    endings: ClassVar = (".note", ".memo")
    content: ClassVar = "letters"

    def read_file(self, path):
        content = Path(path).read_bytes()
        if content.isdigit():
            raise ValueError("digits only")
        return content

    def measure_file(self, path, content):
        return {"letters": len(content), "name_letters": len(Path(path).stem)}

    def file_doubts(self, path, content):
        return [Doubt("loud", f"{Path(path).name} is {content.decode()}", "whisper")] if content.isupper() else []

    @property
    def file_description(self):
        return "small letters"

    @property
    def file_features(self):
        return {"letters": tf.TensorSpec((LETTERS,), tf.float32), "present": tf.TensorSpec((), tf.float32)}

    def examine_file(self, content):
        letters = (
            tf.cast(
                tf.io.decode_raw(
                    content,
                    tf.uint8,
                    fixed_length=LETTERS,
                ),
                tf.float32,
            )[:LETTERS]
            - 96.0
        )
        is_bad = tf.strings.regex_full_match(content, "[0-9]+")
        is_good = tf.cast(~is_bad & (tf.strings.length(content) > 0), tf.float32)
        return {"letters": tf.maximum(letters, 0.0) * is_good, "present": is_good}, tf.where(is_bad, "digits only", "")

    def sort_of_file(self, content):
        return "short" if len(content) < 3 else "long"

    def augment_files(self, features, seed):
        noise = tf.random.stateless_uniform(tf.shape(features["letters"]), seed)
        return {**features, "letters": features["letters"] + noise * features["present"][:, tf.newaxis]}

    def encode_files(self, inputs):
        tokens = keras.ops.expand_dims(inputs["letters"], -1) * keras.ops.ones((2,))
        mask = keras.ops.cast(inputs["letters"] > 0, "float32") * keras.ops.expand_dims(inputs["present"], -1)
        return Encoding(inputs["letters"] * 10.0, tokens, mask, inputs["present"])

    def example_file(self, generator):
        return bytes(generator.integers(97, 123, 4, dtype=np.uint8))

    @property
    def attribution_shape(self):
        return LETTERS, 1

    def draw_file(self, content, values=None, scale=0.0):
        return html.note(f"{content.decode()} {'' if values is None else values.sum():}")


ONE, THREE = Note(), Note(files=3)


@pytest.fixture
def notes(tmp_path):
    for name, content in (("a", b"ab"), ("b", b"cde"), ("bad", b"123"), ("loud", b"LOUD")):
        (tmp_path / f"{name}.note").write_bytes(content)
    return lambda *names: ";".join(str(tmp_path / f"{name}.note") for name in names)


def encoded(modality, rows):
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype, name=name) for name, spec in modality.features.items()}
    encoding = modality.encode(inputs)
    model = keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask, encoding.present])
    features = [modality.preprocess(tf.constant(row, tf.string)) for row in rows]
    return [output.numpy() for output in model({name: tf.stack([row[name] for row in features]) for name in inputs})]


def test_the_setting_is_there_and_none_of_it_a_member_wrote():
    assert THREE.settings() == {"type": Note.__module__, "files": 3, "file_pooling": "mean"}
    assert Note.tunable_fields() == {"file_pooling"}
    for files in (0, 65):
        with pytest.raises(ValueError, match="files"):
            Note(files=files)


def test_reading_one_file_and_several(notes):
    assert ONE.read(notes("a")) == b"ab"
    assert ONE.paths("x;y") == ["x;y"]
    assert THREE.read(notes("a", "b")) == [b"ab", b"cde"]
    assert THREE.read(notes("b")) == [b"cde"]
    assert THREE.paths(" x; y;") == ["x", "y"]


def test_a_file_with_a_semicolon_in_its_name_is_one_file(tmp_path):
    path = tmp_path / "a;b.note"
    path.write_bytes(b"xyz")
    assert ONE.read(str(path)) == b"xyz"


@pytest.mark.parametrize(
    ("modality", "names", "message"),
    [
        (ONE, ["bad"], "^digits only$"),
        (ONE, ["a", "b"], "^names 2 files, expected at most 1; set files: 2 for this column$"),
        (THREE, ["a", "b", "a", "b"], "^names 4 files, expected at most 3; set files: 4 for this column$"),
        (THREE, ["a", "bad"], "^file 2 of 2: digits only$"),
        (THREE, ["a", "none", "b"], "^file 2 of 3: No such file or directory$"),
    ],
)
def test_what_is_wrong_names_the_file(notes, modality, names, message):
    with pytest.raises(ValueError, match=message):
        modality.read(notes(*names))


def test_measures_are_means_and_doubts_are_of_each(notes):
    assert ONE.measure(notes("b"), b"cde") == {"letters": 3, "name_letters": 1}
    assert THREE.measure(notes("a", "loud"), [b"ab", b"LOUD"]) == {"letters": 3, "name_letters": 2.5, "files": 2}
    assert ONE.doubts(notes("loud"), b"LOUD") == [Doubt("loud", "loud.note is LOUD", "whisper")]
    assert [doubt.what for doubt in THREE.doubts(notes("a", "loud"), [b"ab", b"LOUD"])] == ["loud.note is LOUD"]


def test_what_a_client_sends():
    assert (ONE.cell.shape.as_list(), ONE.cell_description) == ([], "small letters; empty: missing")
    assert THREE.cell.shape.as_list() == [None]
    assert THREE.cell_description == ("list of up to 3 notes, each small letters; no or only empty ones: missing")


def test_features_of_several_are_those_of_each():
    assert {name: spec.shape.as_list() for name, spec in THREE.features.items()} == {
        "letters": [3, LETTERS], "file_mask": [3], "present": [],
    }  # fmt: skip
    features, fault = THREE.examine(tf.constant(["ab", "", "cde"]))
    assert fault.numpy() == b""
    np.testing.assert_array_equal(features["letters"], [[1, 2, 0, 0, 0], [3, 4, 5, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(features["letters"][1], ONE.preprocess(tf.constant("cde"))["letters"])
    np.testing.assert_array_equal(features["file_mask"], [1, 1, 0])
    assert features["present"] == 1


@pytest.mark.parametrize(
    ("cell", "fault"),
    [([], ""), (["", ""], ""), (["ab", "123"], "file 2 of 2: digits only"), (["ab"] * 4, "names 4 files, expected")],
)
def test_missing_and_bad_cells_are_zeros(cell, fault):
    features, words = THREE.examine(tf.constant(cell, tf.string, (len(cell),)))
    assert words.numpy().decode().startswith(fault) and bool(words.numpy()) == bool(fault)
    assert not any(values.numpy().any() for values in features.values())


def test_only_single_files_have_a_sort():
    assert ONE.sort_of(b"ab") == "short"
    assert THREE.sort_of([b"ab"]) is None


def test_every_file_is_augmented_for_itself():
    features = {name: values[tf.newaxis] for name, values in THREE.preprocess(tf.constant(["aa", "aa"])).items()}
    changed = THREE.augment(features, tf.constant([1, 2]))
    first, second, absent = changed["letters"].numpy()[0] - features["letters"].numpy()[0]
    assert (first != second).all() and (first > 0).all()
    assert not absent.any()
    np.testing.assert_array_equal(changed["file_mask"], [[1, 1, 0]])


def test_one_encoder_serves_all_files():
    rows = [["ab", "cde"], ["cde"]]
    padded = [[*row, *[""] * (2 - len(row))] for row in rows]
    vector, tokens, mask, present = encoded(THREE, padded)
    alone, alone_tokens, alone_mask, _ = encoded(ONE, ["ab", "cde"])
    np.testing.assert_allclose(vector, [alone.mean(axis=0), alone[1]])
    assert tokens.shape == (2, 3 * LETTERS, 2)
    np.testing.assert_allclose(tokens[0, : 2 * LETTERS], alone_tokens.reshape(-1, 2))
    np.testing.assert_array_equal(mask[0], [*alone_mask.ravel(), *[0] * LETTERS])
    np.testing.assert_array_equal(mask[1].sum(), 3)
    np.testing.assert_array_equal(present, [1, 1])


def test_attention_weighs_files():
    keras.utils.set_random_seed(1)
    (vector, *_), (mean, *_) = (
        encoded(Note(files=3, file_pooling=way), [["ab", "zz"]]) for way in ("attentive", "mean")
    )
    assert np.abs(vector - mean).max() > 1e-3


def test_examples_claims_and_room():
    assert ONE.example(3) == ONE.example(3) != ONE.example(4)
    assert {len(THREE.example(seed)) for seed in range(12)} == {2, 3}
    assert Note.claims(pd.Series(["a.note;B.MEMO", "c.note", "d.txt"])) == "67% of the cells end as note files do"
    assert Note.claims(pd.Series(["a.txt", "b.txt", "c.note"])) is None
    assert Note.suggest(pd.Series(["a.note", "a.note; b.memo"])) == {"files": 2}
    assert Note.suggest(pd.Series(["a.note", "a.txt;b.txt"])) == {}


def test_what_is_learned_from_is_each_file_of_good_cells():
    def measure(content):
        return tf.strings.length(content), tf.constant("bad" if content == b"bad" else "")

    chunks = THREE.measured_files([[b"a", b"", b"bc"], [b"def", b"bad"], [b"four"]], measure, 2)
    assert [[int(length) for (length,) in chunk] for chunk in chunks] == [[1, 2], [4]]
    with pytest.raises(ValueError, match="no cell of a training row can be learned from"):
        list(ONE.measured_files([b"bad", b""], measure, 2))


def test_each_file_is_drawn_under_its_part():
    assert "missing" in ONE.draw(b"") and "missing" in THREE.draw([])
    values = np.zeros((3, LETTERS, 1))
    values[0], values[1] = 0.25, 0.5
    drawn = THREE.draw([b"ab", b"cde"], values, "shapley")
    assert "ab 1.25" in drawn and "cde 2.5" in drawn
    with pytest.raises(ValueError, match="shape"):
        THREE.draw([b"ab"], np.zeros((LETTERS, 1)))
