"""What every modality, encoder, fusion and head promises, tried on all that are there.

A new file is tested by being there.
"""

import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_broken import KINDS
from fixtures_drawn import Page
from scipy.sparse import csr_matrix, issparse

from mmkeras.base.statistics import resample_weights
from mmkeras.contracts.component import PACKAGES
from mmkeras.contracts.config import build
from mmkeras.contracts.encoder import Parts, can_read
from mmkeras.contracts.modality import Survey
from mmkeras.contracts.registry import find, members
from mmkeras.features.columns import missing_cell
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.build import build_network

MODALITIES, FUSIONS, HEADS = members("modality"), members("fusion"), members("head")
EVERY = [(kind, name) for kind in PACKAGES for name in members(kind)]
# Each modality with each encoder that can read it
PAIRS = [
    (name, encoder)
    for name in MODALITIES
    for encoder in members("encoder")
    if can_read(find("encoder", encoder), find("modality", name).offers)
]
pytest_plugins = "fixtures_encoders"
SEED = tf.constant([3, 5])
every_modality = pytest.mark.parametrize("name", MODALITIES)
every_modality_of_files = pytest.mark.parametrize(
    "name", [name for name in MODALITIES if find("modality", name).from_file]
)


def is_made_of_bytes(modality):
    return modality.from_file and modality.cell.dtype == tf.string


@pytest.fixture
def modality(name, adapted):
    return adapted(find("modality", name)())


@pytest.fixture(scope="session")
def fit(adapted, adapted_head):
    """A function: (kind, name) -> the member with all that training rows teach it."""

    def fit(kind, name):
        found = find(kind, name)()
        return {"modality": adapted, "head": adapted_head}.get(kind, lambda found: found)(found)

    return fit


def numbers(features):
    return {name: np.asarray(tensor) for name, tensor in features.items()}


def assert_same(got, wanted, tolerance=1e-6):
    assert got.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name)


def assert_spec(features, spec):
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in features.items()} == {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in spec.items()
    }


def missing(modality):
    """What a client sends where it has nothing."""
    return tf.constant(missing_cell(modality), modality.cell.dtype)


def tensor(modality, cell):
    return tf.constant(cell, modality.cell.dtype)


def together(modality, cells):
    """(N, …) cells as a client sends them: shorter ones are filled up at their ends."""
    filler = b"" if modality.cell.dtype == tf.string else np.nan
    arrays = [np.array(tensor(modality, cell)) for cell in cells]
    shape = np.max([array.shape for array in arrays], axis=0).astype(int)
    padding = [[(0, most - size) for most, size in zip(shape, array.shape, strict=True)] for array in arrays]
    padded = [
        np.pad(array, widths, constant_values=filler) if widths else array
        for array, widths in zip(arrays, padding, strict=True)
    ]
    return tensor(modality, np.stack(padded))


def cells_and_neighbours(modality):
    """Three ordinary cells among a missing one, one of another length, and one that means nothing."""
    examples = [modality.example(seed) for seed in (11, 12, 13)]
    return [examples[0], missing(modality), long(modality, examples[1]), examples[1], strange(modality), examples[2]]


def long(modality, cell):
    if isinstance(cell, float):
        return cell * 40
    return np.tile(cell, (40, 1)) if isinstance(cell, np.ndarray) else cell * 40


def strange(modality):
    if modality.cell.dtype != tf.string:
        return np.full([size or 3 for size in modality.cell.shape], np.inf)
    if not modality.from_file:
        return "\0\ufffd" * 50
    return [random_bytes(1), b""] if modality.cell.shape.rank else random_bytes(1)


def random_bytes(seed, count=999):
    return np.random.default_rng(seed).bytes(count)


def written(cell, folder):
    """A canonical cell as a table holds it."""
    if isinstance(cell, str | float):
        return str(cell)
    if isinstance(cell, np.ndarray):
        np.save(folder / "cell.npy", cell)
        return str(folder / "cell.npy")
    paths = [folder / f"{i}" for i in range(len(cell) if isinstance(cell, list) else 1)]
    for path, content in zip(paths, cell if isinstance(cell, list) else [cell], strict=True):
        path.write_bytes(content)
    return ";".join(map(str, paths))


# Every component


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize("is_fitted", [False, True])
def test_json_holds_everything(kind, name, is_fitted, fit):
    member = fit(kind, name) if is_fitted else find(kind, name)()
    assert build(kind, json.loads(member.model_dump_json()), "here") == member


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_settings_are_the_configuration_without_the_fitted_state(kind, name, fit):
    member = fit(kind, name)
    settings = member.settings()
    assert settings["type"] == name
    assert settings.keys() == {"type", *type(member).model_fields} - member.fitted_fields()
    assert json.loads(json.dumps(settings)) == settings
    assert build(kind, settings, "here") == find(kind, name)()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_fitted_fields_are_empty_until_they_are_adapted(kind, name, fit):
    blank, full = find(kind, name)(), fit(kind, name)
    untouched = {field: getattr(blank, field) for field in blank.fitted_fields()}
    assert untouched.pop("temperature", 1) == 1  # of a run that is older than temperatures too
    assert set(untouched.values()) <= {None}
    assert all(getattr(full, field) is not None for field in full.fitted_fields())


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_public_field_can_be_set_from_outside(kind, name):
    """No default is out of its own field's range: pydantic does not check defaults by itself."""
    found = find(kind, name)
    settings = found().settings()
    for field, value in settings.items():
        assert build(kind, {"type": name, field: value}, "here") == found()


# Modalities: what is looked at before anything is trained


@every_modality
def test_an_example_is_measured_and_not_doubted(name, tmp_path):
    """The cell is read again from what a table would hold; measures are the same kinds of figures for each."""
    modality = find("modality", name)()
    figures = []
    for seed in (1, 2):
        value = written(modality.example(seed), tmp_path)
        cell = modality.read(value)
        assert modality.doubts(value, cell) == []
        figures.append(modality.measure(value, cell))
        survey = modality.survey(pd.Series([value], [seed], dtype=object))
        assert not survey.doubts and not survey.errors
        figures[-1] |= {measure: numbers[0] for measure, numbers in survey.measures.items()}
        assert figures[-1] or survey.shares
    assert figures[0].keys() == figures[1].keys()
    assert np.isfinite([*figures[0].values()]).all()


@every_modality
def test_a_survey_knows_the_rows_that_cannot_be_read(name):
    modality = find("modality", name)()
    if modality.from_file:
        assert modality.survey(pd.Series(["no such file"] * 2, dtype=object)) == Survey()
        return
    values = pd.Series(["1.5", "?!", "\0", "a b"], [3, 5, 7, 9], dtype=object)
    survey, refused = modality.survey(values), {}
    for row, value in values.items():
        try:
            modality.read(value)
        except ValueError as error:
            refused[row] = str(error)
    assert survey.errors == refused


# Modalities: features


@every_modality
def test_features_are_what_the_spec_says(modality):
    assert modality.features["present"].shape == ()
    assert all(spec.shape.is_fully_defined() for spec in modality.features.values())
    for cell in cells_and_neighbours(modality):
        assert_spec(modality.preprocess(tensor(modality, cell)), modality.features)


@every_modality
def test_examples_are_present_and_differ_by_seed(modality):
    assert np.array_equal(modality.example(1), modality.example(1))
    assert not np.array_equal(modality.example(1), modality.example(2))
    first, second = (numbers(modality.preprocess(tensor(modality, modality.example(seed)))) for seed in (1, 2))
    assert first["present"] == second["present"] == 1
    assert any(not np.array_equal(first[feature], second[feature]) for feature in first)
    assert all(np.isfinite(values).all() for values in first.values())


@every_modality
def test_a_missing_cell_gives_zeros(modality):
    for values in numbers(modality.preprocess(missing(modality))).values():
        assert not values.any()


@every_modality
def test_what_fills_a_batch_up_changes_nothing(modality):
    """An empty string or NaN at the end of a cell of any length."""
    if not modality.cell.shape.rank:
        return
    cell = np.array(tensor(modality, modality.example(5)))
    filler = b"" if modality.cell.dtype == tf.string else np.nan
    padded = np.pad(cell, [(0, 3), *([(0, 0)] * (cell.ndim - 1))], constant_values=filler)
    wanted = numbers(modality.preprocess(tensor(modality, cell)))
    assert_same(numbers(modality.preprocess(tensor(modality, padded))), wanted, tolerance=0)


@every_modality_of_files
def test_bytes_that_mean_nothing_count_as_missing(modality):
    if not is_made_of_bytes(modality):
        return
    for seed in range(20):
        cell = random_bytes(seed, 10 * seed)
        features = modality.preprocess(tensor(modality, [cell] if modality.cell.shape.rank else cell))
        for values in numbers(features).values():
            assert not values.any()


@every_modality
def test_a_cell_that_is_cut_off_anywhere_crashes_nothing(modality):
    cell = modality.example(4)
    if isinstance(cell, float):
        return
    preprocess = tf.function(modality.preprocess, input_signature=[modality.cell])
    part = cell[0] if isinstance(cell, list) else cell
    for stop in sorted({*range(0, min(len(part), 70)), *np.linspace(0, len(part) - 1, 40, dtype=int)}):
        features = numbers(preprocess(tensor(modality, [part[:stop]] if isinstance(cell, list) else part[:stop])))
        assert features["present"] in (0, 1)
        assert all(np.isfinite(values).all() for values in features.values())


@every_modality
def test_direct_mapped_batched_and_exported_are_one(modality, tmp_path):
    cells = cells_and_neighbours(modality)
    direct = [numbers(modality.preprocess(tensor(modality, cell))) for cell in cells]
    batch = together(modality, cells)
    wanted = {feature: np.stack([features[feature] for features in direct]) for feature in modality.features}

    dataset = tf.data.Dataset.from_tensor_slices(batch).map(modality.preprocess, num_parallel_calls=2)
    assert dataset.element_spec == modality.features
    assert_same(numbers(next(iter(dataset.batch(len(cells))))), wanted)

    preprocessor = Preprocessor({"column": modality})
    assert_same(numbers(preprocessor({"column": batch})["column"]), wanted)

    module = tf.Module()
    module.features = tf.function(preprocessor.__call__, input_signature=[preprocessor.cells])
    tf.saved_model.save(module, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))
    assert_same(numbers(reloaded.features({"column": batch})["column"]), wanted)


@every_modality
def test_cells_of_one_sort_are_examined_together_as_each_alone(modality):
    sorts = {}
    for cell in [*cells_and_neighbours(modality), *(modality.example(seed) for seed in range(20))]:
        found, fault = modality.examine(tensor(modality, cell))
        canonical = np.array(tensor(modality, cell), object if modality.cell.dtype == tf.string else None)[()]
        sorts.setdefault(modality.sort_of(canonical), []).append((cell, found, fault.numpy()))
    sorts.pop(None, None)
    for sort, cells in sorts.items():
        good = [(cell, found) for cell, found, fault in cells if not fault]
        for some in filter(None, (good, good[:1], good[1:2])):
            features = modality.examine_many(together(modality, [cell for cell, _ in some]), sort)
            assert_spec({name: values[0] for name, values in features.items()}, modality.features)
            wanted = {name: np.stack([found[name] for _, found in some]) for name in modality.features}
            assert_same(numbers(features), wanted, tolerance=0)
        for cell in (cell for cell, _, fault in cells if fault):
            with pytest.raises(tf.errors.OpError):
                modality.examine_many(together(modality, [cell]), sort)


@every_modality
def test_a_neighbour_changes_nothing(modality):
    preprocessor = Preprocessor({"column": modality})
    cells = cells_and_neighbours(modality)
    all_of_them = numbers(preprocessor({"column": together(modality, cells)})["column"])
    for i, cell in enumerate(cells):
        alone = numbers(preprocessor({"column": together(modality, [cell])})["column"])
        assert_same(alone, {feature: values[i : i + 1] for feature, values in all_of_them.items()}, tolerance=0)


@every_modality
def test_what_is_read_from_a_table_is_canonical(modality, tmp_path):
    """Reading a canonical cell gives a cell with the same features, so that a client may send files as they are."""
    cell = modality.example(6)
    wanted = numbers(modality.preprocess(tensor(modality, cell)))
    got = numbers(modality.preprocess(tensor(modality, modality.read(written(cell, tmp_path)))))
    assert_same(got, wanted, tolerance=1e-2)


@every_modality_of_files
def test_a_file_that_means_nothing_is_a_value_error(modality, tmp_path):
    (tmp_path / "noise").write_bytes(random_bytes(2))
    (tmp_path / "nothing").write_bytes(b"")
    for name in ("noise", "nothing"):
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            modality.read(str(tmp_path / name))


@every_modality
def test_tunable_fields_leave_the_features_alone(modality):
    """Features from the cache stay good when such a field changes."""
    changes = {}
    for field in modality.tunable_fields():
        value = getattr(modality, field)
        if isinstance(value, bool):
            changes[field] = not value
        elif isinstance(value, int | float):
            changes[field] = value * 2 if value >= 1 else value / 2
    cell = tensor(modality, modality.example(7))
    other = build("modality", json.loads(modality.model_dump_json()) | changes, "here")
    assert other.features == modality.features
    assert_same(numbers(other.preprocess(cell)), numbers(modality.preprocess(cell)), tolerance=0)


@every_modality
def test_a_column_without_a_training_cell_is_a_value_error(name):
    modality = find("modality", name)()
    with pytest.raises(ValueError, match="no cell"):
        modality.adapt([])


# Modalities: augmentation


def features_of(modality, cells):
    """(B, …) features."""
    rows = [modality.preprocess(tensor(modality, cell)) for cell in cells]
    return {name: tf.stack([row[name] for row in rows]) for name in rows[0]}


def batched(modality, rows):
    return {name: tf.TensorSpec((rows, *spec.shape), spec.dtype) for name, spec in modality.features.items()}


@every_modality
def test_augmentation_keeps_the_spec_and_follows_its_seed(modality):
    features = features_of(modality, [modality.example(seed) for seed in (8, 9, 10)])
    augmented = modality.augment(features, SEED)
    assert_spec(augmented, batched(modality, 3))
    assert_same(numbers(modality.augment(features, SEED)), numbers(augmented), tolerance=0)
    others = [numbers(modality.augment(features, tf.constant([3, other]))) for other in range(6, 12)]
    assert any(not np.array_equal(other[name], augmented[name]) for other in others for name in augmented)
    assert all((other["present"] == 1).all() for other in others)
    assert all(np.isfinite(values).all() for other in others for values in other.values())


@every_modality
def test_every_row_of_a_batch_is_augmented_for_itself(modality):
    """Of 40 rows that are the same, some differ, whatever the chance that one changes at all."""
    features = modality.preprocess(tensor(modality, modality.example(8)))
    same = {name: tf.repeat(values[tf.newaxis], 40, axis=0) for name, values in features.items()}
    augmented = numbers(modality.augment(same, SEED))
    assert any(len(np.unique(values.reshape(40, -1), axis=0)) > 1 for values in augmented.values())


@every_modality
def test_augmentation_draws_the_same_inside_a_dataset(modality):
    features = features_of(modality, [modality.example(8), modality.example(9)])
    dataset = tf.data.Dataset.from_tensors(features).map(lambda features: modality.augment(features, SEED))
    assert dataset.element_spec == batched(modality, 2)
    assert_same(numbers(next(iter(dataset))), numbers(modality.augment(features, SEED)), tolerance=1e-4)


@every_modality
def test_augmentation_takes_a_batch_of_any_size(modality):
    features = features_of(modality, [modality.example(8), modality.example(9)])
    signature = {name: tf.TensorSpec((None, *spec.shape), spec.dtype) for name, spec in modality.features.items()}
    augment = tf.function(lambda features: modality.augment(features, SEED), input_signature=[signature])
    # A graph folds constants, and a place in a picture that comes out otherwise in its last bit shows it.
    assert_same(numbers(augment(features)), numbers(modality.augment(features, SEED)), tolerance=1e-4)


@every_modality
def test_augmentation_leaves_a_missing_cell_missing(modality):
    features = features_of(modality, [missing(modality), modality.example(8), missing(modality)])
    for seed in range(5):
        for values in numbers(modality.augment(features, tf.constant([seed, 1]))).values():
            assert not values[[0, 2]].any()


# Modalities: encoding


def batch_of(modality):
    """Three rows of two columns; in the last row one of them is missing."""
    cells = {
        "column": together(modality, [modality.example(21), modality.example(22), missing(modality)]),
        "other": together(modality, [modality.example(23), missing(modality), modality.example(24)]),
    }
    return Preprocessor({"column": modality, "other": modality})(cells)


@every_modality
def test_the_encoding_has_the_shapes_it_promises(modality):
    inputs = {
        feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=feature)
        for feature, spec in modality.features.items()
    }
    encoding = modality.encode(inputs)
    model = keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask, encoding.present])
    vector, tokens, mask, present = (np.asarray(part) for part in model(batch_of(modality)["column"]))
    assert vector.shape == (3, encoding.vector.shape[-1])
    assert tokens.shape == (3, encoding.tokens.shape[1], encoding.tokens.shape[2])
    assert mask.shape == tokens.shape[:2]
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert mask[:2].any(axis=1).all()
    np.testing.assert_array_equal(present, [1, 1, 0])
    assert {part.dtype for part in (vector, tokens, mask, present)} == {np.dtype(np.float32)}
    assert not np.array_equal(vector[0], vector[1])


def assert_every_weight_learns(model, features, head, unused="nothing"):
    targets = head.encode_target(pd.Series(["1", "2", "3"], dtype=object))
    with tf.GradientTape() as tape:
        predictions = model(features, training=False)
        loss = sum(tf.reduce_sum(head.loss()(targets, prediction)) for prediction in predictions.values())
    gradients = tape.gradient(loss, model.trainable_variables)
    dead = [
        variable.path
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        # Attention looks at how scores differ, which what is added to all keys does not change.
        if not variable.path.endswith(("key/bias", unused))
        if gradient is None or not np.any(tf.convert_to_tensor(gradient))
    ]
    assert np.isfinite(loss)
    assert not dead


@every_modality
def test_gradients_reach_every_weight_of_a_modality(modality, fit):
    keras.utils.set_random_seed(1)
    fusion, head = fit("fusion", "concat"), fit("head", "classification")
    model = build_network({"column": modality, "other": modality}, fusion, {"target": head}).model
    assert_every_weight_learns(model, batch_of(modality), head)


# By default each fusion with one kind of target, and each kind of target with one fusion
@pytest.mark.parametrize(
    ("fusion_name", "head_name"),
    [
        pytest.param(fusion, head, marks=() if head == HEADS[0] or fusion == FUSIONS[0] else pytest.mark.slow)
        for fusion in FUSIONS
        for head in HEADS
    ],
)
def test_gradients_reach_every_weight_of_a_fusion_and_a_head(fusion_name, head_name, fit):
    keras.utils.set_random_seed(1)
    modality, fusion, head = fit("modality", "number"), fit("fusion", fusion_name), fit("head", head_name)
    model = build_network({"column": modality, "other": modality}, fusion, {"target": head}).model
    # A fusion may leave what is absent out altogether.
    assert_every_weight_learns(model, batch_of(modality), head, unused="or_absent/absent")


# Modalities: what people see


@every_modality
def test_a_cell_is_drawn_as_html_that_escapes(modality):
    attack = '"><script>alert(1)</script>\0'
    assert modality.draw(modality.example(1)) != modality.draw(modality.example(2))
    assert re.match(r"<(\w+)", modality.draw(modality.example(1)))
    if modality.cell.dtype == tf.string:
        cell = attack.encode() if modality.from_file else attack
        drawn = modality.draw([cell] if modality.cell.shape.rank else cell)
        assert "<script" not in drawn and "\0" not in drawn


def with_several_files(name):
    """A member with its defaults, and one that takes several files, where there is such a setting."""
    found = find("modality", name)
    return [found(), *([found(files=3)] if "files" in found.model_fields else [])]


def attribution_of(modality, seed):
    shapes = {feature: (1, *spec.shape) for feature, spec in modality.features.items()}
    numbers = np.random.default_rng(seed).normal(size=shapes[modality.content])
    shape = modality.attribute({feature: np.zeros(shapes[feature]) for feature in shapes} | {modality.content: numbers})
    return np.random.default_rng(seed).normal(size=shape.shape[1:])


@pytest.mark.parametrize("name", MODALITIES)
def test_every_example_is_drawn_with_its_attribution(name, adapted):
    """All of them are small, whole, say what found them, and tell one attribution from another."""
    for modality in map(adapted, with_several_files(name)):
        for seed in (1, 2, 3):
            cell, attribution = modality.example(seed), attribution_of(modality, seed)
            drawn = modality.draw(cell, attribution, "a <method>")
            page = Page(drawn)
            assert "a <method>" in page.text and "full colour" in page.text
            assert len(drawn) < 100_000
            assert not {tag for tag, _ in page.elements} & {"script", "style", "link"}
            assert drawn != modality.draw(cell) and drawn != modality.draw(cell, -attribution, "a <method>")
            assert "all attributions are 0" in modality.draw(cell, np.zeros_like(attribution))
            assert "full colour: 9,000" in modality.draw(cell, attribution, scale=9000.0)
            Page(modality.draw(cell, np.full_like(attribution, np.nan)))


@every_modality
def test_an_attribution_of_another_shape_is_refused(modality):
    wrong = np.zeros((2, *attribution_of(modality, 1).shape))
    with pytest.raises(ValueError, match=r"attribution: got the shape .* expected .* for this column's cells"):
        modality.draw(modality.example(1), wrong)


@every_modality
def test_cells_that_nobody_can_read_are_drawn(modality):
    """What is missing, cut, long or of nonsense bytes says so, or shows what is there."""
    attribution = attribution_of(modality, 1)
    cells = [None, *cells_and_neighbours(modality)]
    if is_made_of_bytes(modality):
        example = modality.example(1)
        one = example if isinstance(example, bytes) else example[0]
        damaged = [b"", b"\0", random_bytes(1), one[: len(one) // 2], one[:30], one[:-3] + b"???"]
        cells = [cell if isinstance(example, bytes) else [cell, cell] for cell in damaged]
    for cell in cells:
        cell = cell.decode() if isinstance(cell, bytes) and not modality.from_file else cell
        cell = cell.numpy() if tf.is_tensor(cell) else cell
        for drawn in (modality.draw(cell), modality.draw(cell, attribution, "some method")):
            assert Page(drawn).elements


@pytest.mark.parametrize("kind", KINDS)
def test_broken_cells_are_drawn_as_far_as_they_are_read(kind, tmp_path, adapted):
    broken = KINDS[kind]
    modality = adapted(find("modality", broken.modality)(**dict(broken.settings)))
    try:
        cell = modality.read(broken.written(tmp_path))
    except ValueError:
        return
    Page(modality.draw(cell))
    Page(modality.draw(cell, attribution_of(modality, 1), "some method"))


@every_modality
def test_the_cell_is_described_for_a_client(modality):
    assert "missing" in modality.cell_description


@every_modality
def test_columns_of_something_else_are_not_claimed(name):
    found = find("modality", name)
    for values in (["notes.pdf", "list.pdf", "plan.pdf"], [f"ID-{i * 7919 % 1000:04}" for i in range(60)]):
        assert found.claims(pd.Series(values, dtype=object)) is None


@every_modality
def test_a_classical_baseline_learns_its_cells(modality, fit):
    cells = [modality.example(seed) for seed in (1, 2, 3) * 4]
    inputs = modality.baseline().fit_transform(cells)
    assert inputs.shape[0] == 12 and inputs.ndim == 2
    head = fit("head", "classification")
    targets = head.encode_target(pd.Series(["1", "2", "3"] * 4, dtype=object))
    model = head.scorer.baseline(issparse(inputs), seed=0)
    if hasattr(model, "n_estimators"):
        model.set_params(n_estimators=20, n_jobs=1)
    predictions = head.scorer.baseline_predictions(model.fit(inputs, targets), inputs)
    assert predictions.argmax(axis=-1).tolist() == targets.tolist()


# Encoders

WIDTHS = {"steps": (8, 5), "bands": (8, 5), "pixels": (32, 33, 3), "frames": (4, 16, 17, 3)}
every_pair = pytest.mark.parametrize(("name", "encoder"), PAIRS, ids=lambda value: value)


@pytest.fixture
def pair(name, encoder, adapted, request):
    """An adapted modality whose encoder stands alone, as small as the encoder's own sizes let it be."""
    settings = {"type": encoder}
    if "preset" in find("encoder", encoder).model_fields:
        settings["preset"] = str(request.getfixturevalue("preset"))
    sizes = {"max_tokens": 9, "frames": 3, "seconds": 0.5, "steps": 40, "height_px": 32, "width_px": 32}
    own = {key: value for key, value in sizes.items() if key in find("modality", name).model_fields}
    # Frames are three colours then, which is all that some networks can read.
    own |= {"differences": False} if "differences" in find("modality", name).model_fields else {}
    keras.utils.set_random_seed(1)
    try:
        modality = build("modality", {"type": name, "encoder": settings, **own}, "here")
    except ValueError as refusal:  # `Encoder.check`: parts of another shape than it can read, such as one channel
        pytest.skip(f"the encoder refuses these parts: {refusal}")
    return adapted(modality)


@every_pair
def test_an_encoder_gives_what_it_promises_to_every_modality_that_it_can_read(pair):
    inputs = {
        feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=feature) for feature, spec in pair.features.items()
    }
    encoding = pair.encode(inputs)
    model = keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask])
    rows = Preprocessor({"column": pair})(
        {"column": together(pair, [pair.example(21), pair.example(22), missing(pair)])}
    )["column"]
    vector, tokens, mask = (np.asarray(part) for part in model(rows))
    assert vector.shape == (3, encoding.vector.shape[-1]) and tokens.shape[:2] == mask.shape
    assert tokens.shape == (3, *encoding.tokens.shape[1:])
    assert {part.dtype for part in (vector, tokens, mask)} == {np.dtype(np.float32)}
    assert all(np.isfinite(part).all() for part in (vector, tokens))
    assert mask[:2].any(axis=1).all() and set(np.unique(mask)) <= {0, 1}
    assert not np.array_equal(vector[0], vector[1])
    for row in range(3):  # no row sees its neighbours
        alone = model({feature: values[row : row + 1] for feature, values in rows.items()})
        np.testing.assert_allclose(alone[0][0], vector[row], rtol=1e-3, atol=1e-4)


@every_pair
def test_gradients_reach_every_weight_of_an_encoder(pair, encoder, fit):
    if encoder in ("pretrained", "applications"):
        pytest.skip("what others have designed has weights of no use here; its own tests look at it")
    head = fit("head", "classification")
    model = build_network({"column": pair, "other": pair}, fit("fusion", "concat"), {"target": head}).model
    assert_every_weight_learns(model, batch_of(pair), head)


@every_pair
def test_features_depend_on_an_encoder_only_by_what_it_needs(pair, name, encoder, adapted):
    stored = json.loads(pair.model_dump_json())
    assert build("modality", stored, "here") == pair
    other = adapted(build("modality", pair.settings() | {"encoder": None}, "here"))
    differ = {field for field in type(pair).model_fields if getattr(pair, field) != getattr(other, field)}
    needs = pair.encoder[0].needs(pair._shape_read)
    assert differ - {"encoder"} <= needs.keys()
    if not needs:
        assert pair.feature_settings() == other.feature_settings()


READERS = [(encoder, kind) for encoder in members("encoder") for kind in sorted(find("encoder", encoder).reads)]


@pytest.mark.parametrize(
    ("encoder", "kind"), [pair for pair in READERS if pair[1] in ("steps", "bands")], ids=lambda value: value
)
def test_an_encoder_does_not_see_what_is_masked(encoder, kind):
    keras.utils.set_random_seed(1)
    values, mask = keras.Input(WIDTHS[kind]), keras.Input(WIDTHS[kind][:1])
    encoded = find("encoder", encoder)().encode(Parts(kind, values, mask))
    model = keras.Model([values, mask], [encoded.vector, encoded.tokens, encoded.mask])
    random = np.random.default_rng(0)
    # Behind the end of each row; the last row has nothing but its first step, which is zeros as a missing cell's is.
    real = (np.arange(8) < np.array([[5], [8], [0]])).astype(np.float32)
    steps = random.normal(size=(3, *WIDTHS[kind])) * real[..., None]
    garbage = steps + 50 * random.normal(size=steps.shape) * (1 - real[..., None])
    garbage[2, 0] = 0
    for training in (False, True) if not has_dropout(find("encoder", encoder)()) else (False,):
        wanted, found = model([steps, real], training=training), model([garbage, real], training=training)
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-4)
        np.testing.assert_allclose(found[1] * found[2][..., None], wanted[1] * wanted[2][..., None], atol=1e-4)
    other = steps.copy()
    other[0, 3] += 1
    assert not np.allclose(model([other, real])[0][0], wanted[0][0], atol=1e-3)


def has_dropout(encoder):
    return getattr(encoder, "dropout", 0) > 0


@pytest.mark.parametrize("encoder", [name for name in members("encoder") if find("encoder", name).reads & {"steps"}])
def test_what_reads_steps_can_stand_behind_any_other(encoder, adapted):
    keras.utils.set_random_seed(1)
    chain = ["convolution", encoder]
    series = adapted(build("modality", {"type": "timeseries", "steps": 40, "encoder": chain}, "here"))
    inputs = {
        feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=feature)
        for feature, spec in series.features.items()
    }
    encoding = series.encode(inputs)
    assert encoding.mask.shape[1] == encoding.tokens.shape[1] <= 40 // 2**3  # halved three times
    assert len(encoding.vector.shape) == 2


# Fusions


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_does_not_see_the_order_of_a_dict(name, modality_pair, fit):
    fusion, heads = fit("fusion", name), {"target": fit("head", HEADS[0])}
    models = []
    for columns in (modality_pair, dict(reversed(modality_pair.items()))):
        keras.utils.set_random_seed(2)
        models.append(build_network(columns, fusion, heads).model)
    features = Preprocessor(modality_pair)(
        {column: together(modality, [modality.example(1)]) for column, modality in modality_pair.items()}
    )
    first, second = (model(features)["target"] for model in models)
    np.testing.assert_array_equal(first, second)


@pytest.fixture
def modality_pair(adapted):
    """Two columns of different kinds."""
    return {
        column: adapted(find("modality", name)()) for column, name in zip("ab", ("number", "category"), strict=True)
    }


# Heads


@pytest.fixture
def head(name, fit):
    return fit("head", name)


@pytest.fixture
def prediction(head):
    """(4, …) of an untrained output layer."""
    vector = keras.Input((5,))
    model = keras.Model(vector, head.output(head.raw(vector, "raw"), "answer"))
    assert {"raw", "answer"} <= {layer.name for layer in model.layers}
    assert model.layers[-1].name == "answer" and model.output.dtype == "float32"
    return model(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32))


@pytest.mark.parametrize("name", HEADS)
def test_targets_are_encoded_as_the_spec_says(head):
    targets = head.encode_target(pd.Series(["1", "3", "2", "1"], dtype=object))
    assert targets.shape == (4, *head.target.shape)
    assert targets.dtype == head.target.dtype.as_numpy_dtype
    weights = head.sample_weights(targets)
    assert weights.shape == (4,) and weights.dtype == np.float32 and (weights > 0).all()
    assert head.scorer.known(targets).tolist() == [True] * 4


@pytest.mark.parametrize("name", HEADS)
def test_a_row_without_a_target_does_not_count(head):
    targets = head.encode_target(pd.Series(["1", "", "2"], dtype=object))
    weights = head.sample_weights(targets)
    assert weights[1] == 0 and weights[0] > 0 and weights[2] > 0
    assert head.scorer.known(targets).tolist() == [True, False, True]


@pytest.mark.parametrize("name", HEADS)
def test_loss_metrics_and_answers_take_what_the_head_puts_out(head, prediction):
    targets = head.encode_target(pd.Series(["1", "3", "2", "1"], dtype=object))
    losses = head.loss()(targets, prediction)
    assert losses.shape == (4,) and np.isfinite(losses).all()
    for metric in head.metrics():
        metric.update_state(targets, prediction)
        assert np.isfinite(metric.result())
    answers = head.answer(prediction)
    assert answers.keys() == head.answer_description.keys()
    assert all(tensor.shape[0] == 4 for tensor in answers.values())


@pytest.mark.parametrize("name", HEADS)
def test_scores_are_plain_numbers_and_the_report_is_text(head, prediction):
    targets = head.encode_target(pd.Series(["1", "3", "2", "1"], dtype=object))
    scores = head.scorer.score(targets, prediction.numpy())
    assert scores and all(type(value) is float and np.isfinite(value) for value in scores.values())
    assert isinstance(head.scorer.report(targets, prediction.numpy()), str)


@pytest.mark.parametrize("name", HEADS)
def test_the_prior_is_a_prediction_and_the_best_that_knows_nothing(head):
    targets = head.encode_target(pd.Series(["1", "2", "3", "2", "1"], dtype=object))
    prior = np.tile(head.prior, (5, 1))
    assert head.prior.ndim == 1 and np.isfinite(head.prior).all()
    others = prior + 0.5 if head.predicts == "numbers" else prior[:, ::-1]
    loss = head.loss()
    assert np.mean(loss(targets, prior.astype(np.float32))) < np.mean(loss(targets, others.astype(np.float32)))


@pytest.mark.parametrize("name", HEADS)
def test_models_that_agree_are_joined_to_what_they_say(head, prediction):
    np.testing.assert_allclose(head.scorer.join([prediction.numpy()] * 3), prediction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_heads_classical_model_learns(head, is_sparse):
    values = pd.Series(["1", "2", "3"] * 10, dtype=object)
    inputs = np.repeat(np.eye(3), 10, axis=0).reshape(3, 10, 3).transpose(1, 0, 2).reshape(30, 3)
    targets = head.encode_target(values)
    scorer = head.scorer
    model = scorer.baseline(is_sparse, seed=0)
    if hasattr(model, "n_estimators"):
        model.set_params(n_estimators=20, n_jobs=1)
    inputs = csr_matrix(inputs) if is_sparse else inputs
    learned = scorer.score(targets, scorer.baseline_predictions(model.fit(inputs, targets), inputs))
    unlearned = scorer.score(targets, np.tile(head.prior, (30, 1)))
    assert next(iter(learned.values())) > next(iter(unlearned.values()))


@pytest.mark.parametrize("name", HEADS)
def test_a_target_that_never_changes_is_refused(head):
    with pytest.raises(ValueError, match="row"):
        head.check(pd.Series(["1"] * 6, dtype=object), pd.Series(["train"] * 3 + ["valid", "test", "test"]))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_no_field_is_both_fitted_and_tunable(kind, name):
    found = find(kind, name)
    assert not found.fitted_fields() & found.tunable_fields()


# What heads are judged by


@pytest.fixture
def judged(head):
    """(encoded targets, predictions that lean to them) of 40 rows."""
    rng = np.random.default_rng(1)
    targets = head.encode_target(pd.Series(rng.choice(["1", "2", "3"], 40), dtype=object))
    noise = rng.normal(size=(40, len(head.prior)))
    if head.predicts == "numbers":
        return targets, (targets + 0.5 * noise).astype(np.float32)
    truth = np.eye(3)[targets] if head.predicts == "distribution" else targets
    odds = np.exp(noise + 2 * truth)
    shares = odds / odds.sum(axis=1, keepdims=True) if head.predicts == "distribution" else odds / (2 + odds)
    return targets, shares.astype(np.float32)


@pytest.mark.parametrize("name", HEADS)
def test_figures_of_resamples_are_the_scores_of_their_rows(head, judged):
    targets, predictions = judged
    (weights,) = resample_weights(np.arange(40) // 2, seed=0, resamples=30)
    found = head.scorer.resampled(targets, predictions, weights)
    assert list(found) == list(head.scorer.score(targets, predictions))
    first = head.scorer.resampled(targets, predictions, weights, first_only=True)
    assert list(first) == list(found)[:1]
    np.testing.assert_array_equal(*(next(iter(each.values())) for each in (first, found)))
    for i, row in enumerate(weights):
        rows = np.repeat(np.arange(40), row.astype(int))
        scores = head.scorer.score(targets[rows], predictions[rows])
        got = {metric: values[i] for metric, values in found.items() if np.isfinite(values[i])}
        assert got == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_each_row_has_an_answer_and_a_loss(head, judged):
    (targets, predictions), scorer = judged, head.scorer
    losses = scorer.losses(targets, predictions)
    assert losses.shape == (40,) and (losses >= 0).all()
    named = next(iter(head.answer(tf.constant(predictions)).values())).numpy()
    texts = scorer.answer_texts(predictions)
    if scorer.class_names is None:
        assert [float(text) for text in texts] == pytest.approx(named.tolist(), rel=1e-5)
        assert scorer.right(targets, predictions) is scorer.confidences(predictions) is None
        np.testing.assert_allclose(losses, np.abs(scorer.numbers(targets) - scorer.numbers(predictions))[:, 0])
        return
    assert texts == [text.decode() for text in named]
    right, confidences = scorer.right(targets, predictions), scorer.confidences(predictions)
    truth, chosen = (each.toarray() for each in scorer.indicators(targets, predictions))
    assert right.tolist() == (truth == chosen).all(axis=1).tolist()
    assert truth.shape == (40, len(scorer.class_names)) and scorer.numbers(targets) is None
    assert ((confidences > 0) & (confidences <= 1)).all()
    assert confidences[right].mean() > confidences[~right].mean()
    assert losses[right].mean() < losses[~right].mean()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_a_temperature_changes_no_answer_and_not_the_prior(head, judged, temperature):
    _, predictions = judged
    predictions[0] = head.prior
    found = head.scorer.tempered(predictions, temperature)
    assert head.scorer.answer_texts(found) == head.scorer.answer_texts(predictions)
    assert found[0].tolist() == predictions[0].tolist()
    assert (head.link == "identity") == (found == predictions).all()
    np.testing.assert_allclose(head.scorer.tempered(found, 1 / temperature), predictions, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_tuning_finds_by_what_logits_were_multiplied(head):
    if head.link == "identity":
        return
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 3000) if head.predicts == "distribution" else rng.random((3000, 3))
    draws = rng.random((3000, 1 if head.predicts == "distribution" else 3))
    if head.predicts == "distribution":
        targets = (draws > np.cumsum(shares, axis=1)).sum(axis=1).clip(0, 2).astype(np.int32)
    else:
        targets = (draws < shares).astype(np.float32)
    overconfident = head.scorer.tempered(shares.astype(np.float32), 1 / 3)
    tuned = head.tune(targets, overconfident)
    assert tuned.temperature == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(tuned.scorer.tempered(overconfident, tuned.temperature), shares, atol=0.05)
    before, after = (head.scorer.losses(targets, each).mean() for each in (overconfident, shares.astype(np.float32)))
    assert after < before


@pytest.mark.parametrize("name", HEADS)
def test_a_few_rows_that_are_all_right_do_not_ask_for_certainty(head, judged):
    targets = judged[0][:12]
    sure = np.eye(3)[targets] if head.predicts == "distribution" else targets
    tuned = head.tune(targets, (0.1 + 0.7 * sure).astype(np.float32))
    assert 0.3 < tuned.temperature <= 1
    nothing = head.tune(targets, np.tile(head.prior, (12, 1)))
    assert nothing.temperature == 1
