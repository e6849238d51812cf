"""Numbers: what a table may write, how they are scaled, and which columns are taken for numbers."""

import math

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_drawn import Page, words

from mmkeras.components.modalities.number import Number

SEED = tf.constant([3, 5])


def value(number, cell):
    return float(number.preprocess(tf.constant(cell, tf.float32))["value"][0])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3.5", 3.5),
        (" -2 ", -2.0),
        ("+.5", 0.5),
        ("7.", 7.0),
        ("1e-3", 0.001),
        ("1,234", 1234.0),
        ("-12,345,678.25", -12345678.25),
        ("007", 7.0),
    ],
)
def test_a_number_is_read(text, number):
    assert Number().read(text) == number


@pytest.mark.parametrize("text", ["NA", "nan", "NULL", "None", "?", "-", "n/a", "."])
def test_words_for_missing_are_nan(text):
    assert math.isnan(Number().read(text))


def test_the_words_for_missing_can_be_chosen():
    number = Number(missing=("-999", "Unbekannt"))
    assert math.isnan(number.read("-999")) and math.isnan(number.read("unbekannt"))
    with pytest.raises(ValueError, match='got "NA", expected a number'):
        number.read("NA")


@pytest.mark.parametrize("text", ["abc", "45%", "$3", "3,5", "1,23,456", "12,3456", "1_000", "inf", "1e", "٣", "1 2"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="^got .*, expected a number$") as caught:
        Number().read(text)
    assert f'"{text}"' in str(caught.value)


def test_a_number_beyond_float32_is_refused():
    with pytest.raises(ValueError, match='got "1e39", expected a number between -3.4e[+]38 and 3.4e[+]38'):
        Number().read("1e39")


def test_z_scores_are_worked_out_by_hand():
    number = Number(scaling="zscore").adapt([1.0, 3.0, math.nan, 5.0, 7.0, math.inf])
    assert number.mean == 4.0
    assert number.deviation == pytest.approx(math.sqrt(5))
    assert value(number, 9.0) == pytest.approx(5 / math.sqrt(5))


def test_quantiles_are_worked_out_by_hand():
    """Four rows lie at shares 0, 1/3, 2/3 and 1; a uniform variable of deviation 1 reaches from -√3 to √3."""
    number = Number(scaling="quantile").adapt([10.0, 0.0, 40.0, 20.0])
    assert number.quantile_values == (0.0, 10.0, 20.0, 40.0)
    wanted = {-5: 0, 0: 0, 5: 1 / 6, 10: 1 / 3, 30: 5 / 6, 40: 1, 1e30: 1}
    assert {cell: (value(number, cell) / math.sqrt(3) + 1) / 2 for cell in wanted} == pytest.approx(wanted, abs=1e-6)


def test_the_middle_of_equal_quantiles_stands_for_them():
    number = Number(scaling="quantile").adapt([0.0] * 3 + [1.0, 2.0])  # shares 0, 1/4, 1/2 are 0; then 3/4 and 1
    wanted = {0: 0.25, 1: 0.75, 0.5: 0.625}
    assert {cell: (value(number, cell) / math.sqrt(3) + 1) / 2 for cell in wanted} == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("quantiles", [7, 50, 1000])
def test_quantiles_agree_with_scikit_learn(quantiles):
    from sklearn.preprocessing import QuantileTransformer

    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.lognormal(size=173).astype(np.float32), [1.5] * 60]).astype(np.float64)
    reference = QuantileTransformer(n_quantiles=min(quantiles, len(rows))).fit(rows[:, None])
    number = Number(scaling="quantile", quantiles=quantiles).adapt(rows)
    cells = np.concatenate([rows, rng.uniform(-1, 20, 50).astype(np.float32)])
    dataset = tf.data.Dataset.from_tensor_slices(tf.constant(cells, tf.float32)).map(number.preprocess)
    shares = np.array([features["value"][0] for features in dataset.as_numpy_iterator()])
    # Half a row: quantiles that differ by rounding errors alone are equal in float32.
    wanted = reference.transform(cells[:, None])[:, 0]
    np.testing.assert_allclose((shares / math.sqrt(3) + 1) / 2, wanted, atol=0.5 / len(rows) + 1e-4)


@pytest.mark.parametrize("scaling", ["zscore", "quantile"])
@pytest.mark.parametrize("rows", [[0.1] * 7, [3e38, -3e38, 5.0], [1e9, 1e9 + 1]])
def test_strange_columns_give_finite_values(scaling, rows):
    number = Number(scaling=scaling).adapt(rows)
    if len(set(rows)) == 1:
        assert number.deviation == 1 and value(number, rows[0]) == pytest.approx(0, abs=1e-6)
    for cell in (*rows, 0.0, -3e38, 3e38):
        assert math.isfinite(value(number, cell))


@pytest.mark.parametrize("scaling", ["zscore", "quantile"])
@pytest.mark.parametrize("cell", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_missing(scaling, cell):
    features = Number(scaling=scaling).adapt([5.0, 6.0, 9.0]).preprocess(tf.constant(cell))
    assert float(features["value"][0]) == features["present"] == 0


@pytest.mark.parametrize("cells", [[], [math.nan, math.inf]])
def test_a_column_without_a_number_is_refused(cells):
    with pytest.raises(ValueError, match="no cell of a training row can be learned from"):
        Number().adapt(cells)


def test_augmentation_adds_so_much_noise_to_what_is_there():
    number = Number(noise=0.5, scaling="zscore").adapt([1.0, 2.0])
    features = {"value": tf.repeat([[1.0], [0.0]], 1000, axis=0), "present": tf.repeat([1.0, 0.0], 1000)}
    values = number.augment(features, SEED)["value"].numpy()
    assert np.mean(values[:1000]) == pytest.approx(1, abs=0.05)
    assert np.std(values[:1000]) == pytest.approx(0.5, abs=0.05)
    assert not values[1000:].any()
    np.testing.assert_array_equal(number.augment(features, SEED)["value"], values)


def test_preprocessing_is_the_same_in_an_export(tmp_path):
    number, module = Number().adapt([1.0, 2.0, 4.0]), tf.Module()
    module.features = tf.function(number.preprocess, input_signature=[number.cell])
    tf.saved_model.save(module, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))
    for cell in (1.5, 3.0, math.nan):
        wanted = number.preprocess(tf.constant(cell))
        for name, tensor in reloaded.features(cell).items():
            np.testing.assert_allclose(tensor, wanted[name], rtol=1e-6, atol=1e-7)


def test_the_encoding_is_one_token():
    number = Number(units=5).adapt([1.0, 2.0, 4.0])
    inputs = {"value": keras.Input((1,), name="value"), "present": keras.Input((), name="present")}
    encoding = number.encode(inputs)
    model = keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask, encoding.present])
    values = np.array([[0.0], [1.0], [-1.0]], np.float32)
    vector, tokens, mask, present = model({"value": values, "present": np.array([0.0, 1.0, 1.0], np.float32)})
    assert vector.shape == (3, 5) and tokens.shape == (3, 1, 5)
    np.testing.assert_array_equal(tokens[:, 0], vector)
    assert mask.numpy().tolist() == [[1], [1], [1]]
    assert present.numpy().tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["0.5", "1", "NA", "20"], "numbers from 0.5 to 20 in 75% of the cells"),
        (["1,200", "3", "9"], "numbers from 3 to 1200"),
        (["1", "2", "3", "4", "5", "6"] * 9, "numbers from 1 to 6"),
        (["1", "2", "3", "4", "5"] * 9, None),  # codes or grades
        (["1.5", "2", "2.5"] * 9, "numbers from 1.5 to 2.5"),
        (["2019", "2020", "2021"] * 9, "numbers from 2019 to 2021"),
        (["007", "123", "456"], None),
        (["a", "1", "2"], None),
        (["NA", "?", "-"], None),
    ],
)
def test_columns_to_count_with_are_claimed(cells, reason):
    assert Number.claims(pd.Series(cells, dtype=object)) == reason


def test_the_baseline_puts_the_median_where_a_number_is_missing():
    columns = Number().baseline().fit_transform([1.0, None, 3.0, math.nan, 8.0])
    assert columns.tolist() == [[1], [3], [3], [3], [8]]


def test_drawing_shows_the_number_on_its_colour():
    assert Page(Number().draw(3.5)).text == "3.5"
    assert Page(Number().draw(-123456789.0)).text == "-123456789"
    drawn = Number().draw(3.5, np.array(-0.25), "integrated gradients", scale=1.0)
    assert words(drawn) == {"3.5": "-0.250"}
    assert "background:rgba(255,120,0,0.15)" in drawn and "full colour: 1.00" in drawn  # a quarter of 0.6
    assert "background:rgba(0,114,255,0.60)" in Number().draw(3.5, np.array(0.25))  # its own largest
    assert all(Page(Number().draw(cell)).text == "missing" for cell in (np.nan, None))
    assert Page(Number().draw(-np.inf)).text == "-inf"


# What a column tells


def surveyed(*cells, first_row=0):
    return Number().survey(pd.Series(cells, range(first_row, first_row + len(cells)), dtype=object))


def test_a_survey_holds_the_numbers_the_faults_and_what_is_missing():
    survey = surveyed("1", " 2.5 ", "1,000", "nan", "?", "12px", "inf", "1e99", first_row=3)
    assert survey.measures["value"].tolist() == [1, 2.5, 1000]
    assert list(survey.missing) == [6, 7]
    assert survey.errors.keys() == {8, 9, 10}
    assert survey.errors[8] == 'got "12px", expected a number'


@pytest.mark.parametrize("odd", [-999, 999, 99_999, 1e9])
@pytest.mark.parametrize("seed", range(3))
def test_numbers_far_out_are_doubted(odd, seed):
    numbers = np.random.default_rng(seed).normal(40, 12, 300).round(1).tolist()
    assert surveyed(*map(str, numbers)).doubts == []
    numbers[17] = odd
    ((row, doubt),) = surveyed(*map(str, numbers)).doubts
    assert (row, doubt.kind) == (17, "far out")
    assert doubt.what.startswith(f"{odd:.0f}; the median is ")


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.lognormal(3, 1, 300),
        lambda rng: rng.exponential(size=300),
        lambda rng: rng.poisson(0.3, 300),
        lambda rng: np.where(rng.random(300) < 0.9, 0, rng.lognormal(3, 1, 300)),
        lambda rng: np.where(rng.random(300) < 0.9, rng.normal(1, 0.1, 300), rng.normal(90, 2, 300)),
        lambda rng: np.full(300, 7),
        lambda rng: np.append(np.arange(9), 1e6),  # too few to say what is usual
    ],
    ids=["skewed", "exponential", "counts", "zeros", "two kinds", "constant", "few"],
)
def test_what_a_column_is_like_is_not_doubted(draw):
    for seed in range(5):
        assert surveyed(*map(str, draw(np.random.default_rng(seed)))).doubts == []


def test_one_number_for_missing_ones_may_stand_often():
    numbers = np.random.default_rng(0).normal(40, 12, 300)
    numbers[::9] = -9999
    assert [row for row, _ in surveyed(*map(str, numbers)).doubts] == list(range(0, 300, 9))
