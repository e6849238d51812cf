"""Old configs: refused with the words that replace them, each spelling by itself and a whole column."""

import re

import pytest
import yaml

from mmkeras.contracts.config import build, parse_config
from mmkeras.contracts.old_spellings import OLD, flow, new_spelling, rows

ROWS = list(rows())
READ_OTHERWISE = ("audio", "encoder: transformer")  # no error: it names an encoder still, now without convolutions


def plain(text):
    return yaml.safe_load(f"{{{text}}}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1]}")
def test_every_spelling_is_refused_with_its_new_one(row):
    modality, old, new = row
    # Networks of keras.applications need larger pictures, what halves them often too
    column = {"type": modality, **({"height_px": 64, "width_px": 64} if modality in ("image", "video") else {})}
    understood = build("modality", column | plain(new), "config.yaml columns.it")
    if (modality, old) == READ_OTHERWISE:
        return
    with pytest.raises(ValueError) as caught:
        build("modality", column | plain(old), "config.yaml columns.it")
    message = str(caught.value)
    assert message.startswith("config.yaml columns.it: ") and "\n" not in message
    (printed,) = re.findall("write `(.*)`", message)
    pasted = plain(printed)["it"]
    assert build("modality", pasted, "pasted") == understood
    assert all(f'"{key}' in message for key in plain(old) if key != "encoder")


def test_every_old_key_and_network_has_a_row():
    for modality, old in OLD.items():
        said = [plain(row[1]) for row in ROWS if row[0] == modality]
        assert set(old.keys) <= {key for each in said for key in each}
        for key, values in old.networks.items():
            still = {"bag", "transformer", "pretrained"} if modality != "audio" else set()
            assert set(values) - still <= {each.get(key) for each in said}


def test_a_whole_column_keeps_what_is_not_the_encoders():
    old = {
        "type": "audio", "seconds": 5, "convolutions": 0, "encoder": "lstm", "units": 128, "bidirectional": False,
        "pooling": False, "dropout": 0, "mask_bands": 0, "picture_filters": [3],
    }  # fmt: skip
    with pytest.raises(ValueError) as caught:
        parse_config({"columns": {"my.voice": old}, "targets": {"y": "classification"}}, "config.yaml")
    assert str(caught.value) == (
        'config.yaml columns.my.voice: "encoder: lstm", "convolutions", "units", "bidirectional", "pooling", '
        '"picture_filters": encoders are spelled otherwise now; write `my.voice: {type: audio, seconds: 5, dropout: 0, '
        "mask_bands: 0, encoder: {type: recurrent, cell: lstm, units: 128, pooling: last, both_ways: false}}`"
    )


def test_sizes_beside_a_new_encoder_move_into_it():
    raw = {"encoder": ["convolution", {"type": "recurrent", "cell": "gru"}], "units": 7}
    wanted = ["{type: convolution}", "{type: recurrent, cell: gru, units: 7}"]
    assert flow(new_spelling("audio", raw)) == f"type: audio, encoder: [{', '.join(wanted)}]"
    assert new_spelling("text", {"encoder": "recurrent", "units": 7})["encoder"] == {"type": "recurrent", "units": 7}


def test_what_is_new_is_left_alone():
    for raw in ({"encoder": "transformer"}, {"encoder": {"type": "recurrent", "units": 3}}, {}):
        assert new_spelling("text", raw) == {"type": "text", **raw}
    assert new_spelling("number", {"units": 3}) == {"type": "number", "units": 3}


def test_fitted_state_is_not_printed():
    with pytest.raises(ValueError) as caught:
        build("modality", {"type": "text", "units": 3, "vocabulary": ["a"] * 1000}, "schema.json columns.q")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "wrong",
    [{"convolutions": "many"}, {"encoder": {"units": 3}, "depth": 2}, {"filters": "x"}, {"encoder": 5, "units": 3}],
)
def test_old_settings_that_never_were_right_are_refused_too(wrong):
    with pytest.raises(ValueError, match="encoders are spelled otherwise now"):
        build("modality", {"type": "audio", **wrong}, "config columns.voice")
