"""Features in shards: the same as from the files, shuffled well, read again exactly, refused where they do not fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fixtures_tables import CONFIG, python, write_table

from mmkeras.contracts.config import read_config
from mmkeras.contracts.objective import Objective, Setting
from mmkeras.features import write_records as module
from mmkeras.features.batches import Truth, batches, training_batches
from mmkeras.features.fitted import encoded_targets, fit_schema, open_records, prepare_rows
from mmkeras.prepare import prepare
from mmkeras.table.manifest import read_table
from mmkeras.table.plan import planned
from mmkeras.train import train

BATCH = 7


class Told(Objective):
    """Gives a batch its rows' targets as they are."""

    def example(self, example, setting):
        truths, weights = ({name: pair[i] for name, pair in example.targets.items()} for i in range(2))
        return replace(example, truths=truths, weights=weights)


class Prepared:
    """A table, its features in shards of five rows, and the same from its files."""

    def __init__(self, folder: Path):
        folder.mkdir()
        write_table(folder)
        settings = {**CONFIG, "columns": {name: CONFIG["columns"][name] for name in ("question", "photo")}}
        settings["train"] = {"epochs": 2, "batch_size": BATCH}
        self.path = folder / "config.yaml"
        self.path.write_text(yaml.safe_dump(settings, sort_keys=False))
        self.config = read_config(self.path)
        self.manifest = read_table(self.config.manifest)
        self.plan = planned(self.config, self.manifest)
        self.split = self.plan.split
        self.out = folder / "features"
        prepare(self.path, out=self.out)
        self.records = open_records(self.out, self.plan)
        self.schema = fit_schema(self.plan)
        fitted = self.plan.of_config(self.schema)
        self.features = prepare_rows(fitted, folder)
        self.targets = encoded_targets(fitted)

    def rows(self, name: str) -> np.ndarray:
        return np.flatnonzero(self.split == name)

    def drawn(self, source, epochs: range, rows=None, seed: int = 0, columns=()) -> list:
        """Every batch, with row numbers as the target."""
        rows = self.rows("train") if rows is None else rows
        numbers = np.arange(len(self.split)), np.ones(len(self.split), np.float32)
        found = training_batches(
            source,
            rows,
            Truth({"row": numbers}, {}, [Told()], Setting(dict(columns), None, {})),
            batch_size=BATCH,
            epochs=epochs,
            seed=seed,
            modality_dropout=0.0,
        )
        return [(targets["row"], features) for features, targets, _ in found.as_numpy_iterator()]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    with pytest.MonkeyPatch.context() as patch:
        small_shards(patch)
        return Prepared(tmp_path_factory.mktemp("prepared") / "table")


def small_shards(patch):
    """Five rows a shard, two in memory at once."""
    patch.setattr(module, "CHUNK_ROWS", 2)
    patch.setattr(module, "_most_rows", lambda specs, shard_mb: 5)


@pytest.fixture
def own(prepared, tmp_path, monkeypatch) -> Path:
    """The features' folder for a test that changes it."""
    small_shards(monkeypatch)
    return Path(shutil.copytree(prepared.out, tmp_path / "features"))


# The same features


def test_each_row_has_the_features_that_its_files_have(prepared):
    import tensorflow as tf

    for name in ("valid", "test"):
        pairs = zip(*(batches(s, prepared.rows(name), 5) for s in (prepared.records, prepared.features)), strict=True)
        for found, expected in pairs:
            # without augmentation the sources have the same columns, features and types
            tf.nest.assert_same_structure(found, expected)
            tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
    everything = prepared.features.rows(np.arange(len(prepared.split)))
    raw = tf.data.Dataset.range(1).flat_map(lambda e: prepared.records.shuffled(prepared.rows("train"), 1, 0, e))
    seen = []
    for rows, strings in raw:
        seen.append(int(rows[0]))
        for column, features in prepared.records.decoded(strings).items():
            for feature, values in features.items():
                np.testing.assert_array_equal(values[0], everything[column][feature][seen[-1]])
    assert sorted(seen) == prepared.rows("train").tolist()


def test_a_zipped_folder_holds_the_same(prepared, tmp_path):
    zipped = tmp_path / "zipped"
    prepare(prepared.path, out=zipped, gzip=True)
    records = open_records(zipped, prepared.plan)
    rows = prepared.rows("valid")
    for found, expected in zip(batches(records, rows, 5), batches(prepared.records, rows, 5), strict=True):
        np.testing.assert_array_equal(found["photo"]["pixels"], expected["photo"]["pixels"])


def test_fewer_columns_may_be_read(prepared):
    (first, *_) = batches(prepared.records.select(["photo"]), prepared.rows("valid"), 5)
    assert first.keys() == {"photo"}


def test_an_encoders_setting_may_change(prepared):
    config = read_config(prepared.path, ["columns.photo.encoder.filters=[3]"])
    records = open_records(prepared.out, planned(config, prepared.manifest))
    assert records.fitted(config.columns)["photo"].encoder[0].filters == (3,)
    assert records.fitted(config.columns)["photo"].mean == prepared.schema.columns["photo"].mean


# Order


def order(found) -> list[int]:
    return np.concatenate([rows for rows, _ in found]).tolist()


def test_every_epoch_has_its_own_order_and_no_row_twice(prepared):
    steps = len(prepared.rows("train")) // BATCH
    found = prepared.drawn(prepared.records, range(3))
    epochs = [order(found[i : i + steps]) for i in range(0, 3 * steps, steps)]
    assert len(found) == 3 * steps
    assert all(len(set(epoch)) == steps * BATCH and set(epoch) <= set(prepared.rows("train")) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_training_that_goes_on_sees_what_it_would_have_seen(prepared):
    steps = len(prepared.rows("train")) // BATCH
    columns = prepared.schema.columns
    whole, tail = (prepared.drawn(prepared.records, epochs, columns=columns) for epochs in (range(4), range(2, 4)))
    assert order(tail) == order(whole[2 * steps :])
    for (_, found), (_, expected) in zip(tail, whole[2 * steps :], strict=True):
        np.testing.assert_array_equal(found["photo"]["pixels"], expected["photo"]["pixels"])
    assert order(prepared.drawn(prepared.records, range(1), seed=1)) != order(whole[:steps])


def test_a_batch_holds_rows_of_many_shards(prepared):
    """The rows of a shard come from all over the table, and those of a batch from all over the shards."""
    shards = prepared.records.meta["shards"]["train"]
    rows = module._rows_of_shards(prepared.split, shards, "train", prepared.config.split.seed)
    assert all(np.ptp(found) > len(prepared.rows("train")) / 3 for found in rows)
    shard_of = {int(row): number for number, found in enumerate(rows) for row in found}
    per_batch = [len({shard_of[int(row)] for row in found}) for found, _ in prepared.drawn(prepared.records, range(5))]
    assert np.mean(per_batch) > 3.5  # of 8 shards a batch of 7 meets 4.9 where it is drawn at random


def test_one_shard_alone_is_read(tmp_path):
    small = Prepared(tmp_path / "table")  # which fills no second shard
    assert [len(shards) for shards in small.records.meta["shards"].values()] == [1, 1, 1]
    drawn = order(small.drawn(small.records, range(1)))
    assert len(set(drawn)) == len(drawn) == len(small.rows("train")) // BATCH * BATCH
    assert set(drawn) <= set(small.rows("train"))


def test_rows_that_are_left_out_are_not_read(prepared):
    kept = prepared.rows("train")[3:]
    assert set(order(prepared.drawn(prepared.records, range(6), kept))) == set(kept)
    kept = prepared.rows("valid")[1:]
    (found,) = batches(prepared.records, kept, 99)
    (expected,) = batches(prepared.features, kept, 99)
    np.testing.assert_array_equal(found["question"]["tokens"], expected["question"]["tokens"])


def test_rows_in_another_order_than_the_shards_are_refused(prepared):
    with pytest.raises(ValueError, match="in the table's order only"):
        prepared.records.ordered(prepared.rows("valid")[::-1], 5)


# Stopped and given again


def test_finished_shards_are_kept_and_the_rest_is_the_same(prepared, tmp_path, monkeypatch):
    small_shards(monkeypatch)
    out, write = tmp_path / "out", module.write_shard
    written = []

    def stop_at_the_fourth(path, records, compression):
        if len(written) == 3:
            (out / "train-00003.tfrecord.part").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path)
        return write(path, records, compression)

    monkeypatch.setattr(module, "write_shard", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        prepare(prepared.path, out=out)
    with pytest.raises(ValueError, match="is not finished; give the same `mmkeras prepare` command again"):
        open_records(out, prepared.plan)
    again = []
    monkeypatch.setattr(module, "write_shard", lambda *given: again.append(given[0]) or write(*given))
    prepare(prepared.path, out=out)
    shards = [shard["name"] for found in prepared.records.meta["shards"].values() for shard in found]
    assert len(again) == len(shards) - 3 and not set(again) & set(written)
    assert all((out / name).read_bytes() == (prepared.out / name).read_bytes() for name in shards)
    assert not list(out.glob("*.part"))
    again.clear()
    prepare(prepared.path, out=out)
    assert not again


def test_a_folder_that_holds_something_else_is_not_written_to(prepared, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="holds something else already; choose another --out"):
        prepare(prepared.path, out=tmp_path)


def test_a_folder_of_another_command_is_not_written_to(prepared, own):
    with pytest.raises(ValueError, match="begun with another table, config or options"):
        prepare(prepared.path, ["columns.photo.height_px=12"], out=own)


# What does not fit is refused


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["columns.photo.height_px=12"], r"columns.photo.height_px: was prepared with 16, got 12"),
        (["split.column=null"], "was prepared with another split; .*--out"),
        (["columns.voice={type: audio}"], r'holds no column "voice" \(photo, question\)'),
    ],
)
def test_other_settings_are_refused(prepared, overrides, message):
    with pytest.raises(ValueError, match=message):
        open_records(prepared.out, planned(read_config(prepared.path, overrides), prepared.manifest))


def test_another_table_is_refused(prepared):
    rows = prepared.manifest.rows.copy()
    rows.loc[0, "question"] = "another text"
    with pytest.raises(ValueError, match="was prepared with another table; .*--out"):
        open_records(prepared.out, planned(prepared.config, read_table(rows, prepared.manifest.folder)))


def test_no_features_are_refused(prepared, tmp_path):
    with pytest.raises(ValueError, match="holds no prepared.json; expected a folder that `mmkeras prepare` wrote"):
        open_records(tmp_path, prepared.plan)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_shard_that_lost_bytes_is_named_before_training(prepared, own, damage):
    shard = own / "train-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-9]) if damage == "cut" else shard.unlink()
    with pytest.raises(ValueError, match="train-00002.tfrecord: is not there or has lost some of its"):
        open_records(own, prepared.plan)
    prepare(prepared.path, out=own)
    assert shard.read_bytes() == (prepared.out / shard.name).read_bytes()


@pytest.fixture
def flipped(own) -> Path:
    """The features' folder with a byte of a shard that is another one now."""
    shard = own / "train-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    return own


def test_a_flipped_byte_is_noticed_and_its_shard_named(prepared, flipped):
    import tensorflow as tf

    records = open_records(flipped, prepared.plan)
    with pytest.raises(tf.errors.DataLossError):
        prepared.drawn(records, range(1))
    assert "train-00002.tfrecord: is damaged; delete it and give the same" in records.damage()
    assert "every shard can be now" in prepared.records.damage()


@pytest.mark.slow
def test_a_training_that_meets_a_flipped_byte_names_the_shard(prepared, flipped, tmp_path):
    with pytest.raises(ValueError, match="train-00002.tfrecord: is damaged; delete it and give the same"):
        train(prepared.path, features=flipped, run=tmp_path / "run")


def test_bad_files_are_refused_or_listed_with_their_row(prepared, tmp_path):
    folder = Path(shutil.copytree(prepared.path.parent, tmp_path / "table", ignore=shutil.ignore_patterns("features")))
    bad = folder / "3.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(ValueError, match='row 4, column "photo": .*3.png'):
        prepare(folder / "config.yaml", out=tmp_path / "out")
    few = ["on_bad_file=missing", "columns.question=null"]
    out = prepare(folder / "config.yaml", few, out=tmp_path / "missing")
    config = read_config(folder / "config.yaml", few)
    (found,) = open_records(out, planned(config, read_table(config.manifest))).bad_cells({})
    assert (found.row, found.column, Path(found.path)) == (4, "photo", bad)
    assert json.loads((Path(out) / "prepared.json").read_text())["done"]


# Training


@pytest.mark.slow
def test_training_needs_no_files_and_ends_as_one_that_was_stopped(prepared, tmp_path):
    """The table alone, and the shards: nothing else is there."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("table.csv", "config.yaml"):
        shutil.copy(prepared.path.with_name(name), folder)
    whole = train(folder / "config.yaml", features=str(prepared.out), run=tmp_path / "whole")
    code = """
import sys
from mmkeras.training import callbacks
from mmkeras.train import train

save = callbacks.Checkpoints._save
def save_and_stop(self):
    save(self)
    raise KeyboardInterrupt
callbacks.Checkpoints._save = save_and_stop
train(*sys.argv[1:2], features=sys.argv[2], run=sys.argv[3])
"""
    assert "KeyboardInterrupt" in python(code, folder / "config.yaml", prepared.out, tmp_path / "stopped").stderr
    stopped = train(folder / "config.yaml", features=str(prepared.out), run=tmp_path / "stopped")
    assert stopped.history == whole.history
    assert stopped.metrics["test"] == whole.metrics["test"]
    expected = prepared.features.rows(prepared.rows("test"))
    assert len(whole.predictions["test intent"]) == len(expected["photo"]["present"])
