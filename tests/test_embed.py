"""Vectors of a table's rows: in order, the model's own, empty where a cell is missing, whatever the fusion."""

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures_everything import SMALL_FUSIONS
from fixtures_slow import few_of
from fixtures_tables import command

from mmkeras.contracts.config import parse_config
from mmkeras.contracts.fusion import own_prediction
from mmkeras.contracts.registry import members
from mmkeras.embed import embed
from mmkeras.features.fitted import fit_schema
from mmkeras.network.build import build_network
from mmkeras.predict import predict
from mmkeras.serving.vectors import _names
from mmkeras.table.manifest import read_table
from mmkeras.table.plan import Plan
from mmkeras.training.run import Run

pytest_plugins = "fixtures_tables"

MEDIA = ("photo", "voice")
# Two columns that cost nothing
SMALL = {
    "manifest": "small.csv",
    "columns": {"size": {"type": "number", "bins": 3, "units": 4}, "colour": {"type": "category", "width": 3}},
    "targets": {"kind": {"type": "classification"}, "price": {"type": "regression"}},
    "split": {"column": "split"},
    "train": {"epochs": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def vectors(run, table):
    return embed(run, table)


def test_each_row_has_its_number_its_status_and_its_vectors(vectors, run, table):
    rows = pd.read_csv(table)
    assert vectors.columns.tolist() == ["row", "status", "fused", "photo", "question", "voice"]
    assert vectors["row"].tolist() == list(range(1, 61))
    assert vectors["status"].tolist() == predict(run, table)["status"].tolist()
    for column in ("photo", "question", "voice"):
        assert vectors[column].isna().tolist() == rows[column].isna().tolist()
    assert np.stack(vectors["fused"]).shape == (60, 11)  # fusion.units
    assert np.stack(vectors["fused"]).dtype == np.float32


def test_the_fused_vector_is_what_the_answer_is_made_of(run, vectors, table):
    """The joint layer and each column's own on the vectors, added, give the predictions."""
    model, (head,) = run.network().model, run.schema.targets.values()
    whole = vectors.dropna()
    raw = _dense(model, "intent_joint", whole["fused"])
    for column in ("photo", "question", "voice"):
        raw += _dense(model, f"{own_prediction('intent', column)}_raw", whole[column])
    raw /= head.temperature
    shares = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    answers = predict(run, table).loc[whole.index]
    assert [head.classes[i] for i in shares.argmax(axis=1)] == answers["label"].tolist()
    np.testing.assert_allclose(shares.max(axis=1), answers["probability"], atol=1e-5)


def _dense(model, name, vectors):
    kernel, bias = model.get_layer(name).get_weights()
    return np.stack(vectors) @ kernel + bias


def test_parquet_holds_lists_of_numbers(run, table, vectors, tmp_path, capsys):
    assert embed(run, table, output=tmp_path / "vectors.parquet") is None
    assert "60 rows in" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.parquet"]
    held = pq.read_table(tmp_path / "vectors.parquet")
    assert held.schema.field("fused").type == pa.list_(pa.float32())
    assert held["photo"].null_count == 5
    assert_same(pd.read_parquet(tmp_path / "vectors.parquet"), vectors)
    flat = held["fused"].combine_chunks().flatten().to_numpy().reshape(-1, 11)
    np.testing.assert_allclose(flat, np.stack(vectors["fused"]), atol=1e-6)


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert found.columns.tolist() == wanted.columns.tolist()
    assert found[["row", "status"]].to_numpy().tolist() == wanted[["row", "status"]].to_numpy().tolist()
    for name in wanted.columns[2:]:
        assert found[name].isna().tolist() == wanted[name].isna().tolist()
        np.testing.assert_allclose(np.stack(found[name].dropna()), np.stack(wanted[name].dropna()), atol=1e-5)


def test_chunks_give_what_one_chunk_gives(run, table, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr("mmkeras.network.inference.CHUNK_ROWS", 23)
    assert_same(embed(run, table), vectors)
    embed(run, table, output=tmp_path / "vectors.parquet")
    assert pq.ParquetFile(tmp_path / "vectors.parquet").num_row_groups == 3
    assert_same(pd.read_parquet(tmp_path / "vectors.parquet"), vectors)


def test_a_row_does_not_depend_on_the_others(run, table, vectors):
    backwards = pd.read_csv(table).iloc[::-1]
    for name in MEDIA:
        backwards[name] = backwards[name].map(lambda cell: str(table.parent / cell), na_action="ignore")
    found = embed(run, backwards, allow_outside=True)
    assert_same(found.iloc[::-1].assign(row=range(1, 61)), vectors)


def test_hostile_and_empty_rows_keep_their_place(run, own_table, capsys):
    rows = pd.read_csv(own_table, dtype=str, keep_default_na=False).head(4)
    rows.loc[0, "question"] = "<script>\t\u202e" + "喂🎉" * 3000
    rows.loc[1, ["question", "photo", "voice"]] = ""
    own_table.with_name("2.png").write_bytes(b"no picture")
    rows.loc[3, "photo"] = "../../etc/passwd"
    found = embed(run, rows_in(own_table, rows))
    assert found["status"].str.split(":").str[0].tolist() == ["ok", "prior; missing", "bad", "bad"]
    assert found.loc[1, ["fused", "photo", "question", "voice"]].isna().all()
    assert found["photo"].isna().tolist() == [False, True, True, True]
    assert np.isfinite(np.stack(found["fused"].dropna())).all()
    assert "1 row names files outside the table's folder" in capsys.readouterr().out


def rows_in(table, rows):
    rows.to_csv(table, index=False)
    return table


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    rows = np.arange(24)
    pd.DataFrame({
        "size": np.where(rows % 7 == 3, "", rows.astype(str)), "colour": np.where(rows % 5 == 3, "", "red"),
        "kind": np.take(["a", "b"], rows % 2), "price": rows * 2,
        "split": np.take(["train", "valid", "test"], rows % 3),
    }).to_csv(folder / "small.csv", index=False)  # fmt: skip
    return folder


@pytest.mark.parametrize("fusion", few_of(members("fusion"), "concat", "decision", "transformer"))
def test_every_fusion_has_a_fused_vector(fusion, small, tmp_path):
    config = parse_config({**SMALL, "fusion": {"type": fusion, **SMALL_FUSIONS.get(fusion, {})}})
    found = embed(untrained(config, read_table(small / "small.csv"), tmp_path / "run"), small / "small.csv")
    fused = np.stack(found["fused"].dropna())
    assert len(fused) == 23  # row 4 holds nothing
    assert fused.std(axis=0).max() > 0
    assert found["colour"].isna().tolist() == [row % 5 == 3 for row in range(24)]
    assert len({vector.tobytes() for vector in found["colour"].dropna()}) == 1  # red
    assert len({vector.tobytes() for vector in found["size"].dropna()}) > 10


def untrained(config, manifest, folder) -> Run:
    """A run whose weights are those of the start."""
    keras.utils.set_random_seed(0)
    plan = Plan(config, manifest, manifest.rows["split"])
    run = Run.create(folder, plan)
    schema = fit_schema(plan)
    run.write_schema(schema)
    build_network(schema.columns, schema.fusion, schema.targets).model.save_weights(folder / "model.weights.h5")
    run.write_json("metrics.json", {})
    return run


def test_columns_called_as_ours_get_another_name():
    assert _names(["b", "row", "row_"], {"fused"}) == {"b": "b", "row": "row__", "row_": "row_"}
    assert _names(["fused", "status"], {"fused"}) == {"fused": "fused_", "status": "status_"}


@pytest.mark.parametrize("name", ["vectors.csv", "vectors", "vectors.parquet.gz"])
def test_other_formats_are_refused_before_any_work(run, table, tmp_path, name):
    with pytest.raises(ValueError, match=r"vectors are written as Parquet; expected a name that ends in \.parquet"):
        embed(run, table, output=tmp_path / name)


def test_a_place_that_cannot_be_written_is_told_before_any_work(run, table, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is no folder; name a file in a folder that is there"):
        embed(run, table, output=tmp_path / "nowhere" / "vectors.parquet")
    (tmp_path / "taken.parquet").mkdir()
    with pytest.raises(ValueError, match=r"taken\.parquet is a folder; name a file"):
        embed(run, table, output=tmp_path / "taken.parquet")


def test_half_a_file_is_never_left(run, table, tmp_path, monkeypatch):
    output = tmp_path / "vectors.parquet"
    output.write_bytes(b"the old file")
    monkeypatch.setattr("mmkeras.serving.vectors._arrow", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        embed(run, table, output=output)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the old file"]


def test_table_that_lacks_a_column_is_refused(run, table):
    with pytest.raises(ValueError, match=r'DataFrame: no column "voice"'):
        embed(run, pd.read_csv(table).drop(columns="voice"))


@pytest.mark.slow
def test_command_writes_what_the_function_returns(run, table, vectors, tmp_path):
    done = command("mmkeras", "embed", run.folder, table, "-o", tmp_path / "vectors.parquet")
    assert done.returncode == 0, done.stderr
    assert_same(pd.read_parquet(tmp_path / "vectors.parquet"), vectors)
    done = command("mmkeras.embed", run.folder, table, "-o", tmp_path / "vectors.csv")
    assert done.returncode == 1
    assert done.stderr.startswith("error: -o ") and done.stderr.count("\n") == 1
