"""Series: every way to write or store one, gaps and ends, and the encoders that must not see padding."""

import re
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_drawn import Page, heats

from mmkeras.components.modalities.timeseries import Timeseries
from mmkeras.contracts.registry import find
from mmkeras.train import train

BASIC_MOTIONS = Path(__file__).parents[4] / "shared/data/basicmotions"
NAN = np.nan
SERIES = np.array([[0.5, 7], [NAN, 8], [1.5, -9]], np.float32)  # 3 steps, 2 channels
PLAIN = {"mean": (0.0, 0.0), "deviation": (1.0, 1.0)}


def features(series, cell):
    return {name: tensor.numpy() for name, tensor in series.preprocess(tf.constant(cell, tf.float32)).items()}


# Reading


def test_the_name_finds_the_class():
    assert find("modality", "timeseries") is Timeseries


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1 2.5 nan 4", [[1], [2.5], [NAN], [4]]),
        ("1, 2.5, nan, 4", [[1], [2.5], [NAN], [4]]),
        ("1,,-3e2", [[1], [NAN], [-300]]),
        ("1;2;3", [[1], [2], [3]]),
        ("0.5,7 nan,8 1.5,-9", SERIES),
        ("0.5, 7; , 8; 1.5, -9;", SERIES),
        ("0.5 7\nnan 8\n1.5 -9", SERIES),
        ("[[0.5, 7], [null, 8], [1.5, -9]]", SERIES),
        ("[1, nan, 2]", [[1], [NAN], [2]]),
        ("3", [[3]]),
        ("1 inf 2", [[1], [NAN], [2]]),
    ],
)
def test_numbers_in_the_cell(value, wanted):
    assert Timeseries().paths(value) == []
    cell = Timeseries().read(value)
    assert cell.dtype == np.float32
    np.testing.assert_array_equal(cell, wanted)


@pytest.mark.parametrize("value", ["a.npy", "run 1 2 3.csv", "2024/01.parquet", "/data/7", "1 2 3.npy"])
def test_names_of_files_are_no_numbers(value):
    assert Timeseries().paths(value) == [value]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1 2 x3 4", '"x3" is not a number'),
        ("1,2 3 4,5", "steps hold 1 to 2 numbers"),
        ("[[1, 2], [3]]", "equally many numbers"),
        ("[1, 2", "not a list of numbers"),
        ('["a", 2]', "not a list of numbers"),
        ("[[[1], [2]]]", r"shape \(1, 2, 1\), expected \(steps, channels\)"),
        ("[]", "holds no finite number"),
        ("nan nan", "holds no finite number"),
    ],
)
def test_numbers_that_cannot_be_used(value, message):
    assert Timeseries().paths(value) == []
    with pytest.raises(ValueError, match=message):
        Timeseries().read(value)


def npy(path, values):
    np.save(path, values)


def csv(text):
    return lambda path, values: path.write_text(text, encoding="utf-8")


def parquet(path, values):
    pd.DataFrame(values, columns=["x", "y"]).to_parquet(path)


def timed_parquet(path, values):
    table = pd.DataFrame(values, columns=["x", "y"])
    table.insert(0, "Time", pd.date_range("2024-01-01", periods=len(values)))
    table.to_parquet(path)


FILES = {
    "npy": ("a.npy", npy),
    "npy of doubles": ("a.npy", lambda path, values: np.save(path, values.astype(np.float64))),
    "csv": ("a.csv", csv("0.5,7\n,8\n1.5,-9\n")),
    "csv with header": ("a.csv", csv("x,y\n0.5,7\n,8\n1.5,-9\n")),
    "csv with times": ("a.csv", csv("time,x,y\n10:01,0.5,7\n10:02,nan,8\n10:03,1.5,-9\n")),
    "csv with index": ("a.csv", csv(",x,y\n0,0.5,7\n1,,8\n2,1.5,-9\n")),
    "csv with semicolons": ("a.csv", csv("\ufeffx;y\r\n0.5;7\r\n;8\r\n1.5;-9\r\n")),
    "csv with tabs": ("a.csv", csv("0.5\t7\nNA\t8\n1.5\t-9\n")),
    "csv with blanks": ("a.txt", csv("0.5 7\nnan 8\n1.5 -9\n")),
    "parquet": ("a.parquet", parquet),
    "parquet with times": ("a.parquet", timed_parquet),
    "named as something else": ("a.jpg", parquet),
}


@pytest.mark.parametrize(("name", "write"), FILES.values(), ids=FILES)
def test_every_kind_of_file(tmp_path, name, write):
    with (tmp_path / name).open("wb") as file:
        write(file if write is npy else tmp_path / name, SERIES)
    np.testing.assert_array_equal(Timeseries().read(str(tmp_path / name)), SERIES)


def test_channels_first(tmp_path):
    np.save(tmp_path / "a.npy", SERIES.T)
    np.save(tmp_path / "b.npy", SERIES[:, 1])
    turned = Timeseries(channels_first=True)
    np.testing.assert_array_equal(turned.read(str(tmp_path / "a.npy")), SERIES)
    np.testing.assert_array_equal(turned.read(str(tmp_path / "b.npy")), SERIES[:, 1:])
    np.testing.assert_array_equal(turned.read("[[0.5, null, 1.5], [7, 8, -9]]"), SERIES)


def test_one_column_is_one_channel(tmp_path):
    (tmp_path / "a.csv").write_text("time\n1\n2\n")
    np.testing.assert_array_equal(Timeseries().read(str(tmp_path / "a.csv")), [[1], [2]])


def test_what_is_too_large_is_a_gap(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1.0, 1e300, -np.inf, 2.0]))
    np.testing.assert_array_equal(Timeseries().read(str(tmp_path / "a.npy"))[:, 0], [1, NAN, NAN, 2])


BAD_FILES = {
    "empty": (b"", "is empty"),
    "noise": (bytes(range(128, 256)), "not a .npy, .csv or .parquet file"),
    "cut npy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'", "not a readable .npy file"),
    "cut parquet": (b"PAR1" + b"\0" * 99, "not a readable .parquet file"),
    "words": (b"x,y\n1,2\n3,four\n", "not all columns are numbers: .*four"),
    "header alone": (b"x,y\n", "holds no finite number"),
    "ragged": (b"1,2\n3,4,5\n", "not a readable .csv file"),
    "gaps alone": (b"x,y\n,nan\n", "holds no finite number"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Timeseries().read(str(tmp_path / "bad"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\), expected \(steps, channels\)"),
        (np.float32(7), r"shape \(\)"),
        (np.array(["a", "b"]), "type <U1, expected numbers"),
        (np.array([1j, 2]), "type complex128, expected numbers"),
        (np.array([{}, 1], dtype=object), "not a readable .npy file of numbers: .*[Pp]ython objects"),
        (np.zeros((0, 3)), "not a readable|holds no finite number"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, values, message):
    np.save(tmp_path / "bad.npy", values, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        Timeseries().read(str(tmp_path / "bad.npy"))


def test_another_number_of_channels_than_in_training():
    series = Timeseries().adapt([SERIES])
    with pytest.raises(ValueError, match="got 2 steps of 3 channels, expected 2 channels .*channels_first"):
        series.read("1,2,3 4,5,6")


# Adapting


def test_mean_and_deviation_ignore_gaps_and_belong_to_each_channel():
    series = Timeseries().adapt([SERIES, np.array([[NAN, 2.0]])])
    np.testing.assert_allclose(series.mean, [1, 2])  # (0.5 + 1.5) / 2; (7 + 8 - 9 + 2) / 4
    np.testing.assert_allclose(series.deviation, [0.5, np.sqrt((25 + 36 + 121 + 0) / 4)])
    assert Timeseries().cell.shape == (None, None)
    assert series.cell == tf.TensorSpec((None, 2), tf.float32)


def test_a_channel_without_change_or_numbers_stays_finite():
    series = Timeseries(steps=2).adapt([np.array([[0.1, NAN]] * 3, np.float32)])
    assert series.mean == (pytest.approx(0.1), 0.0)
    assert series.deviation == (1.0, 1.0)
    assert np.isfinite(features(series, [[0.1, NAN], [5, 9]])["values"]).all()


def test_most_training_cells_say_how_many_channels_there_are():
    series = Timeseries().adapt([np.ones((9, 3)), SERIES, SERIES + 1])
    assert len(series.mean) == 2


def test_no_usable_training_cell_is_a_value_error():
    with pytest.raises(ValueError, match="no cell"):
        Timeseries().adapt([np.zeros((0, 2)), np.full((3, 2), NAN)])


# Features


def test_gaps_are_filled_along_lines_and_ends_with_the_nearest():
    series = Timeseries(steps=6, fit="cut", **PLAIN)
    found = features(series, [[NAN, 1], [1, NAN], [NAN, NAN], [3, 4], [NAN, 5], [NAN, NAN]])
    np.testing.assert_allclose(found["values"].T, [[1, 1, 2, 3, 3, 0], [1, 2, 3, 4, 5, 0]])
    np.testing.assert_array_equal(found["observed"].T, [[0, 1, 0, 1, 0, 0], [1, 0, 0, 1, 1, 0]])
    np.testing.assert_array_equal(found["mask"], [1, 1, 1, 1, 1, 0])


def test_an_empty_channel_is_the_mean():
    found = features(Timeseries(steps=2, fit="cut", mean=(5.0, 9.0), deviation=(2.0, 3.0)), [[9, NAN], [NAN, NAN]])
    np.testing.assert_allclose(found["values"], [[2, 0], [0, 0]])


def test_long_series_are_cut():
    found = features(Timeseries(steps=2, fit="cut", **PLAIN), [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(found["values"], [[1, 2], [3, 4]])


def test_resampling_follows_lines():
    found = features(Timeseries(steps=4, **PLAIN), [[0, 8], [1, 4], [NAN, NAN]])
    np.testing.assert_allclose(found["values"].T, [[0, 0.25, 0.75, 1], [8, 7, 5, 4]])
    np.testing.assert_array_equal(found["mask"], [1, 1, 1, 1])


def test_resampling_to_fewer_steps_averages():
    """A new step lies in the middle of two old ones; their weights are 3 each, those of the next ones 1 each."""
    found = features(Timeseries(steps=2, mean=(0.0,), deviation=(1.0,)), [[7], [0], [0], [14]])
    np.testing.assert_allclose(found["values"][:, 0], [3, 6], rtol=1e-5)


def test_one_step_is_a_series():
    found = features(Timeseries(steps=3, **PLAIN), [[2, 4]])
    np.testing.assert_array_equal(found["values"], [[2, 4]] * 3)


@pytest.mark.parametrize("fit", ["cut", "resample"])
@pytest.mark.parametrize("cell", [np.zeros((0, 2)), np.full((3, 2), NAN), np.full((1, 2), np.inf)])
def test_no_number_is_missing(fit, cell):
    assert not any(values.any() for values in features(Timeseries(steps=3, fit=fit, **PLAIN), cell).values())


@pytest.mark.parametrize("fit", ["cut", "resample"])
def test_padding_at_the_end_changes_nothing(fit):
    series = Timeseries(steps=5, fit=fit, **PLAIN)
    alone, padded = features(series, SERIES), features(series, np.pad(SERIES, ((0, 4), (0, 0)), constant_values=NAN))
    for name in alone:
        np.testing.assert_array_equal(padded[name], alone[name])


def test_an_extreme_number_stays_finite():
    found = features(Timeseries(steps=2, mean=(0.0,), deviation=(1e-3,)), [[3e38], [0]])
    np.testing.assert_array_equal(found["values"][:, 0], [20, 0])


# Augmentation


def test_augmentation_moves_scales_and_hides_within_its_limits():
    cell = np.outer(np.arange(1, 21), [1, 10]).astype(np.float32)  # 20 real steps of 25
    still = {"noise": 0.0, "scale": 0.0, "shift": 0.0, "mask_steps": 0}
    base = Timeseries(steps=25, fit="cut", mean=(0.0, 0.0), deviation=(100.0, 100.0), **still)
    found = base.preprocess(tf.constant(cell))
    values = found["values"].numpy()
    rows = {name: tf.repeat(tensor[tf.newaxis], 30, axis=0) for name, tensor in found.items()}

    def drawn(**changes):
        changed = base.model_copy(update=changes).augment(rows, tf.constant([3, 1]))
        return [{name: tensor[row] for name, tensor in changed.items()} for row in range(30)]

    assert all(np.array_equal(one["values"], values) for one in drawn())
    moves = {round(float(one["values"][10, 0]) * 100) - 11 for one in drawn(shift=0.1)}
    assert moves == {-2, -1, 0, 1, 2}
    for one in drawn(scale=0.2):
        ratio = one["values"].numpy()[:20] / values[:20]
        np.testing.assert_allclose(ratio, ratio[:1].repeat(20, axis=0), rtol=1e-4)
        assert (np.abs(ratio - 1) <= 0.2001).all() and ratio[0, 0] != ratio[0, 1]
    noise = np.stack([one["values"].numpy() - values for one in drawn(noise=0.5)])
    assert noise[:, :20].std() == pytest.approx(0.5, rel=0.1) and not noise[:, 20:].any()
    hidden = drawn(mask_steps=3)
    assert {int((one["observed"].numpy()[:20] == 0).all(axis=1).sum()) for one in hidden} == {0, 1, 2, 3}
    assert all(np.array_equal(one["values"].numpy() == 0, one["observed"].numpy() == 0) for one in hidden)
    assert all(np.array_equal(one["mask"], found["mask"]) for one in hidden)


# Encoding

ENCODERS = {
    "cnn": {"type": "convolution", "filters": (4, 6)},
    "cnn with layer normalisation": {"type": "convolution", "filters": (4, 6), "normalization": "layer"},
    "lstm": {"type": "recurrent", "units": 8},
    "last state": {"type": "recurrent", "units": 8, "pooling": "last"},
    "gru": {"type": "recurrent", "cell": "gru", "units": 8, "depth": 2},
    "bilstm": {"type": "recurrent", "both_ways": True, "units": 8},
    "transformer": {"type": "transformer", "width": 8, "heads": 2},
}


def encoder(series):
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in series.features.items()}
    encoding = series.encode(inputs)
    return keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask, encoding.present])


@pytest.mark.parametrize("settings", ENCODERS.values(), ids=ENCODERS)
def test_encoders_do_not_see_what_lies_behind_a_series(settings):
    found = []
    for steps in (11, 22):
        keras.utils.set_random_seed(1)
        series = Timeseries(steps=steps, fit="cut", encoder=settings, **PLAIN)
        cells = [series.example(seed)[:9] for seed in range(3)]
        batch = {name: np.stack([features(series, cell)[name] for cell in cells]) for name in series.features}
        vector, tokens, mask, present = encoder(series)(batch)
        assert tokens.shape[:2] == mask.shape and vector.shape[0] == 3 and mask.dtype == tf.float32
        assert present.numpy().tolist() == [1, 1, 1]
        found.append(vector.numpy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0][0] - found[0][1]).max() > 1e-3


def test_gaps_are_shown_to_the_encoder():
    keras.utils.set_random_seed(1)
    series = Timeseries(steps=8, encoder={"filters": (4,)}, **PLAIN)
    whole = features(series, np.zeros((8, 2)))
    holed = features(series, [[0, 0]] * 3 + [[NAN, 0]] * 2 + [[0, 0]] * 3)
    np.testing.assert_array_equal(whole["values"], holed["values"])
    first, second = (encoder(series)({k: v[None] for k, v in one.items()})[0].numpy() for one in (whole, holed))
    assert np.abs(first - second).max() > 1e-4


def test_a_transformer_whose_heads_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="width is 10, expected a multiple of heads, which is 4"):
        Timeseries(encoder={"type": "transformer", "width": 10})


# Around it


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a.npy", "b.CSV", "c.txt"], "67% of the cells end as files of series do"),
        (["1 2 3 4 5 6 7 8", "[1,2,3,4,5,6,7,8,9]", "1 2"], "67% of the cells hold 8 or more numbers"),
        (["1 2 3 4 5 6 7", "3.5", "8"], None),
        (["he paid 3 4 5 6 7 8 9 10", "a b c d e f g h i", "x.wav"], None),
        (["a b c d e f g h i", "x.wav"], None),
    ],
)
def test_columns_of_series_are_claimed(values, reason):
    assert Timeseries.claims(pd.Series(values, dtype=object)) == reason


def test_files_that_hold_a_channel_in_each_row_are_suggested_to_be_turned(tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((3, 50)))
    np.save(tmp_path / "tall.npy", np.zeros((50, 3)))
    assert Timeseries.suggest(pd.Series([str(tmp_path / "wide.npy"), "gone.npy"])) == {"channels_first": True}
    assert Timeseries.suggest(pd.Series([str(tmp_path / "tall.npy"), "1 2 3"])) == {}


def test_a_drawing_has_a_line_for_each_stretch():
    drawn = Timeseries().draw(SERIES)
    tags = [tag for tag, _ in Page(drawn).elements]
    assert (tags.count("polyline"), tags.count("circle")) == (1, 2)  # one channel has a gap and a point on each side
    # Steps in the middle of each third of 304 px; 7, 8, -9 in the second lane, which goes from 48 to 84
    assert 'points="106.7,50.1 208.0,48.0 309.3,84.0"' in drawn
    assert Page(drawn).text == "11.50.5" + "28-9" + "channelstep 13"


def test_the_colours_lie_on_their_steps_and_channels():
    series = Timeseries(steps=6)  # two for each step
    values = np.zeros((6, 2))
    values[4, 1], values[0, 0] = -0.5, 0.25
    drawn = series.draw(SERIES, values, "integrated gradients")
    (heat,) = heats(drawn)
    np.testing.assert_allclose(heat, [[0.5, 0, 0, 0, 0, 0], [0, 0, 0, 0, -1, 0]], atol=0.03)
    image = next(attributes for tag, attributes in Page(drawn).elements if tag == "image")
    assert (image["x"], image["width"], image["height"]) == ("56", "304.0", "88")
    assert "strongest -0.500 at step 3 of channel 2" in drawn and "full colour: 0.500" in drawn


def test_what_is_cut_off_has_no_colour():
    drawn = Timeseries(steps=2, fit="cut").draw(np.ones((8, 1), np.float32), np.ones((2, 1)))
    image = next(attributes for tag, attributes in Page(drawn).elements if tag == "image")
    assert float(image["width"]) == 304 / 4 and "the model reads the first 2 steps" in drawn
    short = Timeseries(steps=9, fit="cut").draw(np.ones((3, 1), np.float32), np.arange(9)[:, None])
    assert heats(short)[0].shape == (1, 3)  # the rest is padding


def test_a_long_series_of_many_channels_is_drawn_small():
    series = np.random.default_rng(0).normal(size=(50_000, 70)).astype(np.float32)
    series[:, 33] *= 0
    series[777, 33] = 5
    values = np.zeros((128, 70))
    values[:, 33] = 1.0
    drawn = Timeseries().draw(series, values)
    assert len(drawn) < 100_000 and "12 of 70 channels are shown" in drawn
    assert ">34<" in drawn and "strongest +1.00" in drawn
    spike = re.search(r'>34</text>.*?points="([^"]*)"', drawn)[1]
    assert len({point.split(",")[1] for point in spike.split(" ")}) == 2  # it is not thinned away
    assert Page(Timeseries().draw(np.full((4, 2), NAN))).text == Page(Timeseries().draw(None)).text == "missing"


def test_the_baseline_sees_level_spread_and_change_of_each_channel():
    table = Timeseries().baseline().fit_transform([SERIES, np.zeros((5, 2), np.float32), np.full((1, 2), NAN)])
    assert table.shape == (3, 21)
    np.testing.assert_allclose(table[0, :10], [1, 0.5, 0.5, 1.5, 0.75, 1, 1.25, 1, 1, 0.5])
    assert table[:, -1].tolist() == [3, 5, 1]
    assert np.isfinite(table).all()


# Chosen by cross-validation on the 40 training rows alone: accuracy 0.97 to 1 with the defaults of the encoder.
CONFIG = """
manifest: {manifest}
columns:
  motion: {{type: timeseries, channels_first: true}}
fusion: {{type: concat}}
targets:
  activity: {{type: classification}}
split: {{column: split}}
train: {{epochs: 60, batch_size: 8, patience: 15, modality_dropout: 0}}
"""


@pytest.mark.slow
def test_motions_of_a_smart_watch_are_told_apart(tmp_path):
    """40 rows to learn from, 40 of the official split to be judged by."""
    if not BASIC_MOTIONS.is_dir():
        pytest.skip(f"{BASIC_MOTIONS} is not there: the accuracy on real series was NOT measured")
    (tmp_path / "config.yaml").write_text(CONFIG.format(manifest=BASIC_MOTIONS / "manifest.csv"))
    run = train(str(tmp_path / "config.yaml"), run=tmp_path / "run")
    assert run.metrics["test"]["activity"]["accuracy"] >= 0.95


# What is measured and doubted


def test_steps_channels_and_gaps_are_measured():
    assert Timeseries().measure("", SERIES) == {
        "steps": 3, "channels": 2, "gaps_percent": pytest.approx(100 / 6)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1 2 3 4", []),
        ("1 nan 2 4", []),
        ("1 nan nan nan 2", ["mostly gaps"]),
        ("5 5 5 5", ["nothing changes"]),
        ("5,1 5,1 5,2", []),
        ("5,nan 5,nan 6,nan", []),
        ("5,nan,nan 5,nan,nan", ["mostly gaps", "nothing changes"]),
        ("[7]", ["one step only"]),
    ],
)
def test_series_that_say_little_are_doubted(value, wanted):
    series = Timeseries()
    assert [doubt.kind for doubt in series.doubts(value, series.read(value))] == wanted
