"""The hostile table, row by row: what its column `expect` asks for, in preparation, training, prediction and export.

Kinds: "ok"; "missing", as if the cell were empty; "bad", named with row, column and file (the table says "error").
"""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_slow import few_of

from mmkeras.contracts.config import parse_config
from mmkeras.contracts.registry import walk
from mmkeras.features.columns import table_cells
from mmkeras.features.fitted import fit_schema, prepare_rows
from mmkeras.table import bad_rows
from mmkeras.table.manifest import Manifest, read_table
from mmkeras.table.paths import refusal
from mmkeras.table.plan import Plan, checked, planned
from mmkeras.training.trainer import train_plan

HOSTILE = Path(__file__).parents[2] / "shared/data/hostile"
pytestmark = pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"{HOSTILE} is not there")

TABLES = ("manifest.csv", "manifest_odd.csv")
SOUND = {
    "type": "audio", "seconds": 0.5, "sample_rate_hz": 8000, "fft_samples": 128, "hop_samples": 100, "mel_bins": 9,
    "encoder": [{"type": "convolution", "filters": [4]}, {"type": "recurrent", "units": 5}],
}  # fmt: skip
CONFIG = {
    "columns": {
        "text": {"type": "text", "max_tokens": 7, "vocabulary_size": 120, "embedding_width": 6, "ngram_buckets": 50,
                 "ngram_width": 3, "encoder": {"type": "recurrent", "both_ways": False, "units": 5}},
        "image": {"type": "image", "height_px": 16, "width_px": 14, "size_bins": 3, "thumbnail_px": 2,
                  "encoder": {"type": "picture", "filters": [4, 6]}},
        "audio": SOUND,
        "effect": SOUND,
        "width": {"type": "number"},
        "height": {"type": "number"},
    },
    "fusion": {"type": "concat", "units": [7]},
    "targets": {"category": {"type": "classification"}},
    "split": {"column": "split", "group": "group"},
    "train": {"epochs": 1, "batch_size": 8},
}  # fmt: skip
BY_PATH = {  # what one look at a path tells
    "zero_byte_image", "missing_file", "path_escape", "directory_path", "symlink_loop", "absolute_path",
    "backslash_path",
}  # fmt: skip
KIND = {"error": "bad", "missing": "missing", "ok": "ok"}


def expectations() -> dict[str, tuple[str, set[str]]]:
    """{fault: (column, kinds)} as the table's README says."""
    found = {}
    for line in (HOSTILE / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) in (5, 6) and re.fullmatch("[a-z0-9_]+", cells[0]) and cells[0] != "fault":
            expect, also = cells[-3:-1]
            found[cells[0]] = cells[1], {KIND[word] for word in (expect, also) if word}
    return found


def manifest_of(name: str) -> Manifest:
    return read_table(HOSTILE / name)


def with_known_labels(name: str) -> Manifest:
    """The table without the label that train never has, which is refused before any file."""
    manifest = manifest_of(name)
    labels = manifest.rows["category"].replace("dinosaurs", "animals")
    return replace(manifest, rows=manifest.rows.assign(category=labels))


def config_with(policy: str):
    return parse_config({**CONFIG, "on_bad_file": policy})


@pytest.fixture(scope="module", autouse=True)
def with_links(tmp_path_factory):
    """A copy in which the two links point to each other, as they do unless a copy made files of them."""
    folder = tmp_path_factory.mktemp("data")
    copy = shutil.copytree(HOSTILE, folder / "hostile", symlinks=True, copy_function=shutil.copy)
    (folder / "stamps-mini").symlink_to(HOSTILE.with_name("stamps-mini"))
    copy.joinpath("image").chmod(0o755)
    for here, there in (("loop-a.jpg", "loop-b.jpg"), ("loop-b.jpg", "loop-a.jpg")):
        (copy / "image" / here).unlink()
        (copy / "image" / here).symlink_to(there)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "HOSTILE", copy)
        yield


@pytest.fixture(scope="module", params=few_of(TABLES, "manifest.csv"))
def prepared(request, tmp_path_factory):
    """(manifest, schema, features, folder of bad_rows.csv), with the policy to count bad cells as missing."""
    folder, manifest, config = tmp_path_factory.mktemp("hostile"), manifest_of(request.param), config_with("missing")
    plan = checked(config, manifest)
    fitted = plan.of_config(fit_schema(plan))
    return manifest, fitted.config, prepare_rows(fitted, folder, names_foreign=True), folder


def kinds_of_features(manifest, features) -> pd.DataFrame:
    """The kind of every cell."""
    found = {}
    for column, held in features.columns.items():
        is_bad = np.isin(held.index, list(held.bad))
        is_there = held.arrays["present"][held.index] > 0
        assert not (is_bad & is_there).any()
        found[column] = np.where(is_bad, "bad", np.where(is_there, "ok", "missing"))
    return pd.DataFrame(found, manifest.rows.index)


def kinds_of_statuses(manifest, columns, statuses) -> pd.DataFrame:
    """The same as the statuses tell it."""
    found = {
        column: [
            next((kind for kind in ("bad", "missing") if re.search(rf"\b{kind}: {column}\b", status)), "ok")
            for status in statuses
        ]
        for column in columns
    }
    return pd.DataFrame(found, manifest.rows.index)


def surprises(manifest: Manifest, kinds: pd.DataFrame) -> list[tuple]:
    """(row, column, fault, kind) of the cells that are not as expected."""
    expected, found = expectations(), []
    for row, fault in manifest.rows["fault"].items():
        broken, allowed = expected.get(fault, (None, set()))
        for column in kinds:
            is_empty = not manifest.rows[column][row].strip()
            right = allowed if column == broken else {"missing" if is_empty else "ok"}
            if kinds[column][row] not in right:
                found.append((row + 1, column, fault, kinds[column][row]))
    return found


def bad_cells(folder: Path) -> set[tuple[int, str]]:
    table = pd.read_csv(folder / bad_rows.FILE)
    return set(zip(table["row"], table["column"], strict=True))


def test_the_readme_names_every_fault():
    faults = {fault for name in TABLES for fault in manifest_of(name).rows["fault"]} - {""}
    assert len(faults) == 30
    assert faults <= expectations().keys()


def test_every_cell_is_as_expected(prepared):
    manifest, _, features, _ = prepared
    assert surprises(manifest, kinds_of_features(manifest, features)) == []


def test_every_bad_cell_is_named_with_its_file(prepared):
    manifest, _, features, folder = prepared
    kinds = kinds_of_features(manifest, features)
    rows, columns = np.nonzero((kinds == "bad").to_numpy())
    expected = {(int(row) + 1, kinds.columns[column]) for row, column in zip(rows, columns, strict=True)}
    labels = {(row + 1, "category") for row, fault in manifest.rows["fault"].items() if fault == "unknown_label"}
    assert bad_cells(folder) == expected | labels
    for _, cell in pd.read_csv(folder / bad_rows.FILE).iterrows():
        named = manifest.rows[cell["column"]][cell["row"] - 1].strip()
        assert cell["path"].endswith(named.lstrip("./"))
        assert len(cell["reason"]) > 5
        assert "\n" not in cell["reason"]


def test_what_a_look_tells_is_refused_before_anything_is_read(prepared):
    manifest, schema, _, _ = prepared
    cells = table_cells(manifest, schema.columns)
    told = {manifest.rows["fault"][row] for column in cells for row, cell in cells[column].items() if refusal(cell)}
    assert told == BY_PATH & set(manifest.rows["fault"])


def test_broken_rows_change_nothing_in_other_rows(prepared):
    manifest, schema, features, _ = prepared
    is_clean = (manifest.rows["fault"] == "").to_numpy()
    clean = replace(manifest, rows=manifest.rows[is_clean].reset_index(drop=True))
    alone = prepare_rows(Plan(schema, clean, None), _scratch(prepared))
    for column in schema.columns:
        together = features.columns[column].rows(np.flatnonzero(is_clean))
        for feature, values in alone.columns[column].rows(np.arange(len(clean.rows))).items():
            np.testing.assert_array_equal(values, together[feature], err_msg=f"{column} {feature}")


def _scratch(prepared) -> Path:
    folder = prepared[3] / "alone"
    folder.mkdir(exist_ok=True)
    return folder


def test_rows_that_break_are_left_out_of_every_split(prepared, tmp_path):
    manifest, schema, _, _ = prepared
    config = schema.model_copy(update={"on_bad_file": "drop"})
    plan = checked(config, manifest)
    prepare_rows(plan, tmp_path, names_foreign=True)
    split, kept = plan.split, bad_rows.in_use(plan.split, tmp_path)
    left_out = {row for row, _ in bad_cells(tmp_path)}
    assert left_out == {int(row) + 1 for row in np.flatnonzero(kept == "unused")}
    expected = expectations()
    for row, fault in manifest.rows["fault"].items():
        if not fault:
            assert kept[row] == split[row]
        elif expected[fault][1] == {"bad"}:
            assert kept[row] == "unused", fault


def test_a_label_that_train_never_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'manifest\.csv column "category": the class "dinosaurs" .*\(row 10\)'):
        checked(config_with("error"), manifest_of("manifest.csv"), tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_paths_are_refused_in_one_message_that_names_them_all(name, tmp_path):
    manifest = with_known_labels(name)
    with pytest.raises(ValueError, match=rf"{name}: \d cells in \d rows cannot be used") as caught:
        checked(config_with("error"), manifest, tmp_path)
    assert len(str(caught.value).splitlines()) <= 7
    faults = {manifest.rows["fault"][row - 1] for row, _ in bad_cells(tmp_path)}
    assert faults == BY_PATH & set(manifest.rows["fault"])


def test_content_that_breaks_is_refused_after_it_was_read(prepared, tmp_path):
    manifest, schema, _, folder = prepared
    config = schema.model_copy(update={"on_bad_file": "error"})
    with pytest.raises(ValueError, match="cells in .* rows cannot be used"):
        prepare_rows(Plan(config, manifest, None), tmp_path)
    assert bad_cells(tmp_path) == {cell for cell in bad_cells(folder) if cell[1] != "category"}


def test_tables_as_excel_and_windows_write_them():
    clean, excel = (manifest_of(name).rows for name in ("manifest_clean.csv", "manifest_bom_crlf.csv"))
    pd.testing.assert_frame_equal(clean, excel)
    with pytest.raises(
        ValueError, match=r"manifest_bad_utf8\.csv line \d+: got byte 0x.. at position \d+, expected UTF-8"
    ):
        manifest_of("manifest_bad_utf8.csv")


def test_the_clean_table_has_no_bad_cell():
    manifest = manifest_of("manifest_clean.csv")
    checked(config_with("error"), manifest)
    cells = table_cells(manifest, config_with("error").columns)
    assert [cell for column in cells.values() for cell in column if refusal(cell)] == []


# Trainings, answers and the exported model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A function: (table, policy) -> its training."""
    known, folder = {}, tmp_path_factory.mktemp("runs")

    def run(name: str, policy: str):
        if (name, policy) not in known:
            known[name, policy] = train_plan(
                planned(config_with(policy), manifest_of(name)), folder / f"{policy}-{name}"
            )
        return known[name, policy]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["missing", "drop"])
@pytest.mark.parametrize("name", TABLES)
def test_every_policy_trains_and_says_what_it_did(runs, name, policy):
    run = runs(name, policy)
    bad = bad_cells(run.folder)
    assert run.metrics["bad_cells"]["policy"] == policy
    assert run.metrics["bad_cells"]["cells"] == len(bad)
    assert run.metrics["bad_cells"]["rows"] == len({row for row, _ in bad})
    assert (run.splits == "unused").sum() == (len({row for row, _ in bad}) if policy == "drop" else 0)
    assert np.isfinite(run.history["loss"]).all()
    assert bad_rows.summary(run.metrics["bad_cells"], run.folder) in (run.folder / "run.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_error_policy_trains_nothing(name, tmp_path):
    with pytest.raises(ValueError):
        train_plan(planned(config_with("error"), with_known_labels(name)), tmp_path / "run")
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["bad_rows.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_answered_in_order_with_its_status(runs, name):
    from mmkeras.predict import predict

    manifest, run = manifest_of(name), runs(TABLES[0], "missing")
    answers = predict(run, HOSTILE / name)
    assert answers["row"].tolist() == list(range(1, len(manifest.rows) + 1))
    assert answers["label"].isin(run.schema.targets["category"].classes).all()
    assert np.isfinite(answers["probability"]).all()
    assert surprises(manifest, kinds_of_statuses(manifest, run.schema.columns, answers["status"])) == []


@pytest.mark.slow
def test_a_broken_row_changes_no_other_rows_answer(runs, tmp_path):
    from mmkeras.network.inference import predict_rows

    run, manifest = runs(TABLES[0], "missing"), manifest_of(TABLES[0])
    mended = manifest.rows.copy()
    broken = np.flatnonzero(mended["fault"] != "")
    for column in run.schema.columns:
        mended.loc[broken, column] = ""
    model = run.network()
    found, _ = predict_rows(model, run.schema, manifest)
    without, _ = predict_rows(model, run.schema, replace(manifest, rows=mended))
    is_clean = (manifest.rows["fault"] == "").to_numpy()
    np.testing.assert_array_equal(found["category"][is_clean], without["category"][is_clean])


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_exported_model_answers_every_row(runs, name, tmp_path_factory):
    import tensorflow as tf

    from mmkeras.export import export

    run, manifest = runs(TABLES[0], "missing"), manifest_of(name)
    served = tf.saved_model.load(str(export(run, tmp_path_factory.mktemp("export") / "model")))
    answer = served.signatures["serving_default"](**sent(run.schema.columns, manifest))
    statuses = [status.decode() for status in answer["status"].numpy()]
    assert len(statuses) == len(manifest.rows)
    assert np.isfinite(answer["probability"].numpy()).all()
    kinds = kinds_of_statuses(manifest, run.schema.columns, statuses)
    # A client has no file where the path leads to none, and no number where the table has none.
    nothing = kinds.where(~((kinds == "missing") & unsent(manifest, kinds)), "bad")
    assert surprises(manifest, nothing) == []


def sent(columns, manifest: Manifest) -> dict:
    """What a client sends: a file's content, as it is where it cannot be read, and nothing where there is none."""
    import tensorflow as tf

    cells = table_cells(manifest, columns)
    found = {}
    for column, modality in walk(columns):
        values = [_content(modality, cell) for cell in cells[column]]
        found[column] = tf.constant(np.array(values, dtype=object if modality.cell.dtype == tf.string else None))
    return {name: tf.cast(values, columns[name].cell.dtype) for name, values in found.items()}


def _content(modality, cell: str):
    empty = b"" if modality.cell.dtype.name == "string" else np.nan
    if not cell or refusal(cell):
        return empty
    try:
        content = modality.read(cell)
        return content.encode() if isinstance(content, str) else content
    except ValueError:
        return Path(cell).read_bytes() if modality.from_file else empty


def unsent(manifest: Manifest, kinds: pd.DataFrame) -> pd.DataFrame:
    """Which cells are filled in the table, but have no content that could be sent."""
    files = {"image", "audio", "effect"}
    faults = manifest.rows["fault"]
    return pd.DataFrame({
        column: (faults.isin(BY_PATH) if column in files else faults == "number_with_unit")
        & (manifest.rows[column] != "")
        for column in kinds
    })  # fmt: skip
