"""Which encoder can stand where, how a config names them, and what they need of preprocessing."""

import json

import keras
import numpy as np
import pytest
import yaml

from mmkeras.contracts.config import build, json_schema, override, parse_config, read_config
from mmkeras.contracts.encoder import PARTS
from mmkeras.contracts.registry import find, members

OUTSIDE = '''
from typing import ClassVar

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoder import Encoded, Encoder

keras = lazy("keras")


class Narrow(Encoder):
    """Needs steps of a width that is its own."""

    reads: ClassVar = frozenset({"steps"})
    width: int = 9
    field: str = "mel_bins"

    def needs(self, shape):
        return {self.field: self.width}

    def encode(self, parts):
        return Encoded(parts.values, parts.mask, [keras.ops.sum(parts.values, axis=1)])
'''


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """The name of an encoder from outside."""
    (tmp_path / "of_tests").mkdir()
    (tmp_path / "of_tests/narrow.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "of_tests.narrow"


def column(kind, **settings):
    return build("modality", {"type": kind, **settings}, "config.yaml columns.voice")


def error(kind, encoder):
    with pytest.raises(ValueError) as caught:
        column(kind, encoder=encoder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def types(modality):
    return [encoder.type_name() for encoder in modality.encoder]


# What stands where nothing is said


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        ("text", ["recurrent"]),
        ("timeseries", ["convolution"]),
        ("audio", ["convolution", "recurrent"]),
        ("video", ["picture", "recurrent"]),
        ("image", ["picture"]),
    ],
)
def test_each_modality_has_encoders_of_its_own(kind, standard):
    assert types(column(kind)) == standard


def test_an_encoder_has_sizes_that_suit_the_modality():
    text, series = column("text", encoder="transformer"), column("timeseries", encoder="transformer")
    assert (text.encoder[0].width, series.encoder[0].width) == (96, 64)
    assert find("encoder", "transformer")().width == 64
    assert column("text", encoder={"type": "recurrent"}) == column("text", encoder="recurrent") == column("text")
    assert column("text", encoder={"type": "recurrent", "units": 3}).encoder[0].both_ways


@pytest.mark.parametrize(
    ("kind", "encoder", "dropouts"),
    [
        ("audio", None, [0.1, 0.1]),
        ("audio", "spectral", [0.1]),
        ("audio", ["transformer"], [0.1]),
        ("video", None, [0.2, 0]),
        ("timeseries", "transformer", [0.2]),
        ("timeseries", {"type": "transformer", "dropout": 0.05}, [0.05]),
        ("text", None, [0.1]),
    ],
)
def test_dropout_inside_an_encoder_follows_the_columns_own(kind, encoder, dropouts):
    chain = column(kind, encoder=encoder, dropout=0.2).encoder
    assert [each.dropout for each in chain] == dropouts


# Spellings


@pytest.mark.parametrize(
    "encoder",
    [
        "recurrent",
        {"type": "recurrent"},
        ["recurrent"],
        [{"type": "recurrent", "both_ways": True}],
        {"units": 48},
        None,
    ],
)
def test_one_encoder_may_be_said_in_several_ways(encoder):
    assert column("text", encoder=encoder) == column("text")


def test_a_chain_is_a_list_and_one_encoder_is_none():
    chain = column("audio", encoder=["convolution", {"type": "transformer", "depth": 2}])
    shown = chain.settings()["encoder"]
    assert [part["type"] for part in shown] == ["convolution", "transformer"] and shown[1]["depth"] == 2
    assert column("text").settings()["encoder"]["type"] == "recurrent"
    for modality in (chain, column("text")):
        assert build("modality", json.loads(modality.model_dump_json()), "here") == modality


def test_encoders_of_a_standard_chain_are_changed_by_number():
    changed = column("audio", encoder={1: {"units": 7}})
    assert changed.encoder[1].units == 7 and changed.encoder[0] == column("audio").encoder[0]
    assert types(column("audio", encoder={"1": {"type": "transformer"}})) == ["convolution", "transformer"]
    message = error("audio", {"units": 7})
    assert message.startswith("config.yaml columns.voice.encoder: expected a type, a list of encoders, or settings of")
    assert "encoder.0 (convolution), encoder.1 (recurrent); got {'units': 7}" in message


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["columns.q.encoder=transformer"], "transformer"),
        (["columns.q.encoder.units=64"], {"units": 64}),
        (["columns.q.encoder.units=64", "columns.q.encoder=recurrent"], {"type": "recurrent", "units": 64}),
        (["columns.q.encoder.type=transformer", "columns.q.encoder.depth=2"], {"type": "transformer", "depth": 2}),
        (["columns.q.encoder=[picture, transformer]", "columns.q.encoder.1.depth=2"],
         ["picture", {"type": "transformer", "depth": 2}]),
        (["columns.q.encoder.1.depth=2"], {"1": {"depth": 2}}),
    ],
)  # fmt: skip
def test_overrides_reach_encoders(overrides, wanted):
    assert override({"columns": {"q": {"type": "text"}}}, overrides)["columns"]["q"]["encoder"] == wanted


def test_overrides_turn_words_into_settings():
    raw = {"columns": {"q": "text"}, "fusion": "concat", "manifest": "t.csv"}
    found = override(raw, ["columns.q.encoder.units=3", "fusion.units=[5]"])
    assert found["columns"]["q"] == {"type": "text", "encoder": {"units": 3}}
    assert found["fusion"] == {"type": "concat", "units": [5]}
    with pytest.raises(ValueError, match='"manifest" holds no settings'):
        override(raw, ["manifest.a=3"])


@pytest.mark.parametrize("number", ["2", "last", "-1"])
def test_an_override_of_an_encoder_that_is_not_there(number):
    raw = {"columns": {"q": {"type": "audio", "encoder": ["convolution", "recurrent"]}}}
    with pytest.raises(ValueError, match=f'expected a number from 0 to 1, got "{number}"'):
        override(raw, [f"columns.q.encoder.{number}.units=3"])


def test_a_config_shows_all_settings_of_encoders_and_is_read_again(tmp_path):
    raw = {
        "manifest": "t.csv", "columns": {"q": {"type": "text"}, "voice": {"type": "audio"}},
        "targets": {"y": {"type": "classification"}},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw))
    config = read_config(tmp_path / "config.yaml", ["columns.voice.encoder.1.cell=gru"])
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert read_config(tmp_path / "again.yaml") == config
    shown = yaml.safe_load(config.to_yaml())["columns"]
    assert shown["q"]["encoder"].keys() == find("encoder", "recurrent")().settings().keys()
    assert [part["type"] for part in shown["voice"]["encoder"]] == ["convolution", "recurrent"]
    assert shown["voice"]["encoder"][1]["cell"] == "gru"
    again = read_config(tmp_path / "again.yaml", ["columns.voice.encoder.1.units=5", "columns.q.encoder=bag"])
    assert again.columns["voice"].encoder[1].units == 5 and types(again.columns["q"]) == ["bag"]


# Mistakes


@pytest.mark.parametrize(
    ("kind", "encoder", "message"),
    [
        ("text", "picture", '.encoder: "picture" reads pixels, "text" offers steps and pieces; expected one of bag, '
         "convolution, pretrained, recurrent, transformer"),
        ("image", "recurrent", '.encoder: "recurrent" reads steps, "image" offers pixels; expected one of '
         "applications, picture"),
        ("audio", "pretrained", '.encoder: "pretrained" reads pieces, "audio" offers steps and bands; expected'),
        ("video", ["recurrent"], '.encoder: "recurrent" reads steps, "video" offers frames; expected one of'),
        ("video", ["picture", "spectral"], '.encoder: "spectral" reads bands, "picture" gives steps; expected one of '
         "bag, convolution, recurrent, transformer"),
        ("text", "recurent", '.encoder.type: unknown encoder "recurent"; did you mean "recurrent"? ('),
        ("text", {"type": "recurrent", "unit": 3}, '.encoder.unit: unknown key "unit"; did you mean "units"? (cell, '),
        ("text", {"type": "recurrent", "heads": 3}, '.encoder.heads: unknown key "heads"'),
        ("text", {"type": "recurrent", "units": 0}, ".encoder.units: expected greater than or equal to 1, got 0"),
        ("audio", ["convolution", {"type": "recurrent", "unit": 3}], '.encoder.1.unit: unknown key "unit"; did you'),
        ("audio", [], ".encoder: expected at least one encoder, got none"),
        ("text", 5, ".encoder: expected a type, for example {type: "),
    ],
)  # fmt: skip
def test_mistakes_say_where_and_what_would_do(kind, encoder, message):
    assert error(kind, encoder).startswith(f"config.yaml columns.voice{message}")


# The schema


def test_the_schema_takes_what_the_config_takes():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    whole = {"manifest": "t.csv", "targets": {"y": {"type": "classification"}}}
    good = [
        ("text", "bag"), ("text", {"type": "recurrent", "units": 3}), ("audio", ["convolution", {"type": "recurrent"}]),
        ("video", ["picture", "transformer"]), ("image", "my.encoder"),
    ]  # fmt: skip
    for kind, encoder in good:
        jsonschema.validate(whole | {"columns": {"c": {"type": kind, "encoder": encoder}}}, schema)
    bad = [("text", "picture"), ("text", {"type": "recurrent", "unit": 3}), ("audio", []), ("image", ["recurent"])]
    for kind, encoder in bad:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(whole | {"columns": {"c": {"type": kind, "encoder": encoder}}}, schema)
    for kind in ("text", "audio"):
        shown = schema["$defs"][f"modality.{kind}"]["properties"]["encoder"]
        assert shown["default"] == column(kind).settings()["encoder"]


# What an encoder reads


@pytest.mark.parametrize("name", members("encoder"))
def test_every_encoder_reads_what_there_is(name):
    assert find("encoder", name).reads and find("encoder", name).reads <= PARTS.keys()


def test_every_kind_of_parts_is_offered_and_read():
    offered = {kind for name in members("modality") for kind in find("modality", name).offers}
    read = {kind for name in members("encoder") for kind in find("encoder", name).reads}
    assert offered == set(PARTS) and read | {"frames"} == set(PARTS)


def test_frames_are_read_one_by_one_and_their_vectors_are_steps(adapted):
    keras.utils.set_random_seed(1)
    picture = {"type": "picture", "filters": [4], "units": 6}
    video = adapted(column("video", frames=3, height_px=8, width_px=10, differences=False, encoder=[picture]))
    inputs = {name: keras.Input(spec.shape, name=name) for name, spec in video.features.items()}
    encoding = video.encode(inputs)
    model = keras.Model(inputs, [encoding.tokens, encoding.vector])
    frames = np.random.default_rng(0).normal(size=(2, 3, 8, 10, 3))
    mask = np.array([[1, 1, 1], [1, 1, 0]], np.float32)
    tokens, vector = model({"frames": frames, "mask": mask, "present": np.ones(2)})
    assert tokens.shape == (2, 3, 6)
    turned, _ = model({"frames": frames[:, ::-1], "mask": mask[:, ::-1], "present": np.ones(2)})
    np.testing.assert_allclose(turned[:, ::-1], tokens, atol=1e-6)
    np.testing.assert_allclose(vector[1], tokens[1, :2].numpy().mean(axis=0), atol=1e-6)


def test_places_of_a_picture_are_steps_too(adapted):
    encoder = [{"type": "picture", "filters": [4]}, {"type": "transformer", "width": 6, "heads": 2}]
    image = adapted(column("image", height_px=8, width_px=10, encoder=encoder))
    inputs = {name: keras.Input(spec.shape, name=name) for name, spec in image.features.items()}
    assert image.encode(inputs).tokens.shape == (None, 4 * 5, 6)


# What it needs of preprocessing


def test_a_need_is_taken_over_when_a_column_is_adapted(narrow):
    voice = column("audio", encoder=narrow)
    cells = [voice.example(1), voice.example(2)]
    adapted = voice.adapt(cells)
    assert (voice.mel_bins, adapted.mel_bins, len(adapted.mean)) == (48, 9, 9)
    assert adapted.features["spectrum"].shape[1] == 9
    fixed = column("audio", encoder={"type": narrow, "field": "mean", "width": 0})
    assert fixed.adapt(cells).mean == 0  # not what the cells have
    message = '"of_tests.narrow" needs pixels, which "audio" does not have'
    with pytest.raises(ValueError, match=message):
        column("audio", encoder={"type": narrow, "field": "pixels"}).adapt(cells)


def test_a_need_is_part_of_what_features_depend_on(narrow):
    """The cache's key holds what was taken over, a folder of prepared features what it came from."""
    voice = column("audio", encoder=narrow).feature_settings()
    other = column("audio", encoder={"type": narrow, "width": 7}).feature_settings()
    assert voice["encoder"] == {"type": narrow, "width": 9, "field": "mel_bins"}
    assert {key for key in voice if voice[key] != other[key]} == {"encoder"}
    assert "encoder" not in column("audio").feature_settings()
    assert column("audio", encoder="bag").feature_settings() == column("audio").feature_settings()
    bert = {"type": "pretrained", "preset": "bert_tiny_en_uncased", "unfrozen_blocks": 2}
    needs = {"type": "pretrained", "preset": "bert_tiny_en_uncased"}
    assert column("text", encoder=bert).feature_settings()["encoder"] == needs


def test_paths_of_encoders_start_at_the_config(tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "weights.h5").write_text("")
    raw = {
        "q": {"type": "text", "encoder": {"type": "pretrained", "preset": "bert"}},
        "r": {"type": "text", "encoder": {"type": "pretrained", "preset": "bert_tiny_en_uncased"}},
        "photo": {"type": "image", "encoder": {"type": "applications", "weights": "weights.h5"}},
    }
    config = parse_config({"columns": raw, "targets": {"y": {"type": "classification"}}})
    q, r, photo = (config.columns[name].located(tmp_path).encoder[0] for name in ("q", "r", "photo"))
    assert q.preset == str(tmp_path / "bert")
    assert r.preset == "bert_tiny_en_uncased"  # no file: a name
    assert photo.weights == str(tmp_path / "weights.h5")
