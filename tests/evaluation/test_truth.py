"""Each of many broken and odd cells is what it has to be, and changes no other row's answer by a single bit."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_broken import KINDS, Opened
from fixtures_everything import COLUMNS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkeras.contracts.config import Access, build, parse_config
from mmkeras.contracts.registry import find, members
from mmkeras.features.columns import missing_cell, prepare, read_cells
from mmkeras.network.build import build_network
from mmkeras.network.inference import predict_rows
from mmkeras.serving.saved_model import write_saved_model
from mmkeras.table.manifest import Manifest

SMALL = {
    settings["type"]: settings | {"files": 1} if "files" in settings else settings for settings in COLUMNS.values()
}
# Faults of a canonical cell; what is wrong with a file of another kind has words of its own.
SAME_WORDS = ("truncated PNG", "truncated JPEG", "truncated WAV", "damaged", "got")
BY_MODALITY = {name: [kind for kind, broken in KINDS.items() if broken.modality == name] for name in SMALL}


@pytest.fixture(scope="module")
def small(adapted):
    """A function: a modality's name and settings -> a small one, adapted to its examples."""

    def small(name, **settings):
        modality = adapted(build("modality", SMALL[name], "here"))
        return build("modality", modality.model_dump() | settings, "here")

    return small


@pytest.fixture(scope="module")
def outcomes(small, tmp_path_factory):
    """{kind: (whether it is present, what is wrong with it)}, as training and `predict` see it."""
    groups = {}
    for kind, broken in KINDS.items():
        groups.setdefault((broken.modality, broken.settings), []).append(kind)
    found = {}
    for (name, changed), kinds in groups.items():
        cells = [KINDS[kind].written(tmp_path_factory.mktemp("cell")) for kind in kinds]
        if changed:  # for a cell or two a graph takes longer to trace than to run
            found.update(
                {kind: outcome(small(name, **dict(changed)), cell) for kind, cell in zip(kinds, cells, strict=True)}
            )
            continue
        column = prepare(small(name), pd.Series([cell.strip() for cell in cells]), "memory")
        for kind, place in zip(kinds, column.index, strict=True):
            features = {name: values[place] for name, values in column.arrays.items()}
            assert features["present"] or not any(np.any(values) for values in features.values())
            assert all(np.isfinite(values).all() for values in features.values())
            found[kind] = features["present"], column.bad.get(place, "")
    return found


def outcome(modality, cell):
    try:
        features, fault = modality.examine(tf.constant(modality.read(cell), modality.cell.dtype))
        return float(features["present"]), fault.numpy().decode()
    except ValueError as error:
        return 0.0, str(error)


def test_there_are_forty_kinds_or_more_of_every_outcome():
    assert {broken.modality for broken in KINDS.values()} == set(members("modality"))
    assert sum(broken.outcome != "ok" or kind not in SMALL for kind, broken in KINDS.items()) >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_it_has_to_be(kind, outcomes):
    present, reason = outcomes[kind]
    broken = KINDS[kind]
    assert (present, bool(reason)) == {"ok": (1, False), "missing": (0, False), "bad": (0, True)}[broken.outcome], (
        reason
    )
    assert reason.startswith(broken.reason)
    assert "\n" not in reason and len(reason) < 300


def test_nothing_was_unpickled(outcomes):
    assert outcomes["npy of objects"][1]
    assert not Opened.was_unpickled


# Neighbours


@pytest.fixture(scope="module")
def schema(small, adapted_head):
    columns = {f"{name}_column": small(name) for name in SMALL}
    config = parse_config({
        "columns": {column: {"type": modality.type_name()} for column, modality in columns.items()},
        "targets": {"label": {"type": "classification"}},
        "fusion": {"type": "concat", "units": [6]},
    })  # fmt: skip
    head = adapted_head(find("head", "classification")())
    return config.model_copy(update={"columns": columns, "targets": {"label": head}})


@pytest.fixture(scope="module")
def model(schema):
    import keras

    keras.utils.set_random_seed(3)
    return build_network(schema.columns, schema.fusion, schema.targets)


def good_cell(kind_of, folder):
    good = {"image": "png", "audio": "wav", "video": "mp4", "timeseries": "npy"}
    return KINDS[good.get(kind_of, kind_of)].written(folder)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A function: {modality: kind} -> a table of three rows; the second holds these cells, the others good ones."""
    folder = tmp_path_factory.mktemp("good")

    def rows(kinds):
        columns = {}
        for name in SMALL:
            (folder / name).mkdir(exist_ok=True)
            good = good_cell(name, folder / name)
            cell = KINDS[kinds[name]].written(tmp_path_factory.mktemp("broken")) if name in kinds else good
            columns[f"{name}_column"] = [good, cell.strip(), good]
        return Manifest(pd.DataFrame(columns, dtype=object), folder, "table", Access(allow_outside=True))

    return rows


def one_of_each(number):
    """{modality: its kind of this number}, of those that need no settings."""
    plain = {name: [kind for kind in kinds if not KINDS[kind].settings] for name, kinds in BY_MODALITY.items()}
    return {name: kinds[number % len(kinds)] for name, kinds in plain.items()}


def assert_row_untouched(schema, model, rows, number, wanted):
    kinds = one_of_each(number)
    predictions, statuses = predict_rows(model, schema, rows(kinds))
    np.testing.assert_array_equal(predictions["label"][[0, 2]], wanted[[0, 2]])
    assert np.isfinite(predictions["label"]).all()
    assert statuses[[0, 2]].tolist() == ["ok", "ok"]
    for name, kind in kinds.items():
        # That a file is empty is known before it is read.
        reason = "is empty (0 bytes)" if kind.endswith("zero bytes") else KINDS[kind].reason
        word = {"ok": "", "missing": f"missing: {name}_column", "bad": f"bad: {name}_column: {reason}"}
        assert word[KINDS[kind].outcome] in statuses[1], kind


@pytest.fixture(scope="module")
def wanted(schema, model, rows):
    return predict_rows(model, schema, rows({}))[0]["label"]


@pytest.mark.parametrize("number", [3, 25])
def test_broken_cells_change_no_other_row_of_predict(number, schema, model, rows, wanted):
    assert_row_untouched(schema, model, rows, number, wanted)


@pytest.mark.slow
def test_no_kind_changes_another_row_of_predict(schema, model, rows, wanted):
    for number in range(max(map(len, BY_MODALITY.values()))):
        assert_row_untouched(schema, model, rows, number, wanted)


@pytest.fixture(scope="module")
def serve(schema, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    write_saved_model(model, schema, folder)
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def sent(modality, kind):
    """What a client sends who sends a file as it is; None where there is no such thing."""
    broken = KINDS[kind]
    if not modality.from_file:
        return float(np.float32(broken.cell)) if broken.cell in ("nan", "inf", "3.5") else (
            None if modality.cell.dtype != tf.string else broken.cell.encode()
        )  # fmt: skip
    if modality.cell.dtype != tf.string or isinstance(broken.cell, str):
        return None
    parts = broken.cell if isinstance(broken.cell, list) else [broken.cell]
    return parts if modality.cell.shape.rank else (parts[0] if len(parts) == 1 else None)


def padded(modality, cells):
    """(B, …): shorter cells are filled up at their ends."""
    if not modality.cell.shape.rank:
        return tf.constant(cells, modality.cell.dtype)
    most = max(map(len, cells))
    filler = missing_cell(modality)
    if modality.cell.dtype == tf.string:
        return tf.constant([[*cell, *[b""] * (most - len(cell))] for cell in cells])
    return tf.constant(
        [np.pad(cell, [(0, most - len(cell)), (0, 0)], constant_values=np.nan) for cell in cells], filler.dtype
    )


@pytest.mark.slow
def test_broken_cells_change_no_other_row_of_the_exported_model(schema, serve, rows, outcomes):
    """And their status says what `predict` says, where what is sent is what is read."""
    table = rows({})
    good = {column: read_cells(modality, table.rows[column])[0] for column, modality in schema.columns.items()}

    def answers(**changed):
        cells = {
            column: padded(modality, [good[column], changed.get(column, good[column]), good[column]])
            for column, modality in schema.columns.items()
        }
        return {name: tensor.numpy() for name, tensor in serve(**cells).items()}

    wanted, tried = answers(), 0
    for name, kinds in BY_MODALITY.items():
        column = f"{name}_column"
        for kind in kinds:
            cell = sent(schema.columns[column], kind)
            if cell is None:
                continue
            found = answers(**{column: cell})
            for output in ("probabilities", "label"):
                np.testing.assert_array_equal(found[output][[0, 2]], wanted[output][[0, 2]], err_msg=kind)
            status = found["status"][1].decode()
            assert found["status"][[0, 2]].tolist() == [b"ok", b"ok"]
            assert status == "ok" or status.startswith((f"bad: {column}: ", f"missing: {column}")), kind
            if name != "video" and outcomes[kind][1].startswith(SAME_WORDS):
                assert status == f"bad: {column}: {outcomes[kind][1]}", kind
            tried += 1
    assert tried > 60


# Fuzzing: whatever the bytes, reading and examining come to an end, with a ValueError at most


def examples(name, modality):
    """Cells' bytes that are mutated: valid ones of every kind that the modality reads."""
    found = [KINDS[kind].cell for kind in BY_MODALITY[name] if isinstance(KINDS[kind].cell, bytes)]
    return [cell for cell in found if 0 < len(cell) < 20_000] or [str(modality.example(1)).encode()]


@st.composite
def mutations(draw, contents):
    """Bytes of a file with some of them changed, cut out or repeated; or any bytes at all."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        part = draw(st.binary(max_size=5))
        end = draw(st.sampled_from([at, at + len(part), len(content)]))
        content[at:end] = part
    return draw(st.sampled_from([bytes(content), draw(st.binary(max_size=60))]))


def fuzz(modality, name, folder, count):
    examine = tf.function(modality.examine, input_signature=[modality.cell])
    path = folder / f"cell{'.csv' if name == 'timeseries' else ''}"

    def check(cell):
        features, fault = examine(tf.constant(cell, modality.cell.dtype))
        present = float(features["present"])
        assert present in (0, 1) and not (present and fault.numpy())
        for values in features.values():
            assert np.isfinite(values).all() and (present or not np.any(values))

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=count < 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(examples(name, modality)))
    def go(content):
        if modality.cell.dtype == tf.string:
            check([content] if modality.cell.shape.rank else content)
        try:
            if modality.from_file:
                path.write_bytes(content)
                check(modality.read(str(path)))
            else:
                check(modality.read(content.decode("utf-8", "replace")))
        except ValueError:
            pass

    go()


@pytest.mark.parametrize("name", BY_MODALITY)
def test_random_and_mutated_bytes_crash_nothing(name, small, tmp_path):
    fuzz(small(name), name, tmp_path, 8 if name == "video" else 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_MODALITY)
def test_many_random_and_mutated_bytes_crash_nothing(name, small, tmp_path):
    fuzz(small(name), name, tmp_path, 1500)
