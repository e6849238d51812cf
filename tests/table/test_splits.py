"""How rows are dealt to splits, what leaks between them, which targets are refused."""

import re

import numpy as np
import pandas as pd
import pytest

from mmkeras.components.heads.multilabel import Multilabel
from mmkeras.components.heads.ordinal import Ordinal
from mmkeras.components.modalities.image import Image
from mmkeras.table.manifest import SPLITS, Manifest, read_table
from mmkeras.table.splits import UNUSED, Leak, check_targets, fold_rows, leaks, split_rows, write_splits

FRACTIONS = (0.7, 0.15, 0.15)


def table(folder=None, **columns) -> Manifest:
    return read_table(pd.DataFrame(columns), folder)


def refuses(message: str, error=ValueError):
    return pytest.raises(error, match=re.escape(message))


def deal(manifest, column=None, fractions=FRACTIONS, group=None, target=None, seed=0):
    classes = None if target is None else manifest.rows[target]
    return split_rows(manifest, column=column, fractions=fractions, group=group, target=classes, seed=seed)


# ── Splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_split_column_may_use_synonyms():
    manifest = table(part=["Train", "validation", "VAL", " dev", "test", "valid"])
    assert deal(manifest, "part").tolist() == ["train", "valid", "valid", "valid", "test", "valid"]


def test_an_unknown_split_is_refused():
    with refuses('DataFrame row 3, column "part": got "trian", expected train, valid or test; did you mean "train"?'):
        deal(table(part=["train", "valid", "trian"]), "part")


def test_an_empty_split_cell_is_refused():
    with refuses('DataFrame row 2, column "part": got "", expected train, valid or test; fill it in'):
        deal(table(part=["train", None, "valid"]), "part")


def test_valid_rows_are_cut_from_train_by_whole_groups_when_the_column_has_none():
    part, who = ["train", "train", "test", "train"] * 10, np.repeat([f"g{i}" for i in range(20)], 2)
    manifest = table(part=part, who=who, label=["x", "y"] * 20)
    split = deal(manifest, "part", (0.5, 0.25, 0.25), "who", "label")
    assert split.value_counts().to_dict() == {"train": 20, "valid": 10, "test": 10}
    assert (split[manifest.rows["part"] == "test"] == "test").all()
    assert split[split != "test"].groupby(manifest.rows["who"]).nunique().max() == 1


def test_a_column_without_valid_rows_is_kept_when_no_valid_rows_are_wanted():
    assert deal(table(part=["train", "test", "train"]), "part", (1.0, 0.0, 0.0)).tolist() == ["train", "test", "train"]


def test_fractions_are_met_in_each_class():
    manifest = table(label=["x"] * 100 + ["y"] * 40)
    split = deal(manifest, fractions=(0.5, 0.3, 0.2), target="label")
    assert split.iloc[:100].value_counts().to_dict() == {"train": 50, "valid": 30, "test": 20}
    assert split.iloc[100:].value_counts().to_dict() == {"train": 20, "valid": 12, "test": 8}
    assert set(split) == set(SPLITS)
    assert split.dtype == object


def test_rare_classes_go_to_train_first_and_still_fill_the_other_splits():
    manifest = table(label=[*map(str, np.repeat(np.arange(100), 3)), "single"])
    split = deal(manifest, target="label")
    assert set(manifest.rows["label"][split == "train"]) == set(manifest.rows["label"])
    counts = split.value_counts()
    assert (counts["train"], counts["valid"] + counts["test"]) == (pytest.approx(211, abs=8), pytest.approx(90, abs=8))


def test_many_single_rows_do_not_drive_the_next_class_out_of_train():
    labels = [f"single {i}" for i in range(300)] + ["common"] * 100
    split = deal(table(label=labels), target="label")
    assert (split.iloc[:300] == "train").all()
    assert (split.iloc[300:] == "train").sum() == pytest.approx(70, abs=2)


def test_no_group_falls_in_two_splits():
    rng = np.random.default_rng(5)
    who = rng.integers(0, 60, 1000)
    manifest = table(who=[f"g{i}" for i in who], label=np.where(who % 3, "x", "y"))
    split = deal(manifest, group="who", target="label")
    assert split.groupby(who).nunique().max() == 1
    for label in ("x", "y"):
        share = split[manifest.rows["label"] == label].value_counts(normalize=True)
        assert [share[name] for name in SPLITS] == pytest.approx(FRACTIONS, abs=0.06)


def test_groups_of_mixed_classes_keep_the_fractions():
    rng = np.random.default_rng(5)
    manifest = table(who=rng.integers(0, 100, 800), label=rng.choice(["a", "b", "c"], 800))
    split = deal(manifest, group="who", target="label")
    assert split.groupby(manifest.rows["who"]).nunique().max() == 1
    assert [(split == name).mean() for name in SPLITS] == pytest.approx(FRACTIONS, abs=0.02)


def test_a_huge_group_goes_to_train():
    manifest = table(who=["huge"] * 100 + [f"g{i}" for i in range(100)])
    split = deal(manifest, group="who")
    assert (split.iloc[:100] == "train").all()
    assert split.value_counts().to_dict() == {"train": 140, "valid": 30, "test": 30}


def test_a_missing_group_is_a_group_of_its_own():
    split = deal(table(who=["", " "] * 10), group="who")
    assert split.value_counts().to_dict() == {"train": 14, "valid": 3, "test": 3}


def test_the_seed_decides():
    manifest = table(label=["x", "y"] * 50)
    first, same, other = (deal(manifest, target="label", seed=seed) for seed in (3, 3, 4))
    assert first.equals(same)
    assert not first.equals(other)


def test_a_split_of_fraction_zero_stays_empty():
    assert set(deal(table(label=["x"] * 50), fractions=(0.8, 0.2, 0.0))) == {"train", "valid"}


def test_too_few_groups_for_three_splits_are_refused():
    with refuses('the split "test" has no rows: raise split.test, or add rows or groups'):
        deal(table(who=["a", "b"] * 20), fractions=(0.6, 0.4 - 1e-3, 1e-3), group="who")


@pytest.mark.parametrize("cells", [["test", "valid"], ["test", "test"]])
def test_a_column_without_train_rows_is_refused(cells):
    with refuses('the split "train" has no rows: write train into column "part" of the rows to learn from'):
        deal(table(part=cells), "part")


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0), (0.8, 0.2)])
def test_wrong_fractions_are_refused(fractions):
    with refuses("split.fractions: expected the fractions of train, valid and test: train above 0, none negative"):
        deal(table(label=["x"] * 50), fractions=fractions)


def test_a_group_column_that_is_not_there_is_refused():
    with refuses('no column "customr"; did you mean "customer"?'):
        deal(table(customer=["a"] * 9), group="customr")


def test_splits_are_written_by_row(tmp_path):
    write_splits(tmp_path / "splits.csv", pd.Series(["train", "test", "train"]))
    assert (tmp_path / "splits.csv").read_text() == "row,split\n1,train\n2,test\n3,train\n"


# ── Folds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def folded(manifest, folds=5, column=None, group=None, seed=0, fractions=FRACTIONS):
    target = manifest.rows["label"]
    return fold_rows(manifest, folds, column=column, fractions=fractions, group=group, target=target, seed=seed)


def people(rows: int = 120) -> Manifest:
    """Rows of people who have three each, and every fourth of whom is for the test; one label in three is y."""
    who = np.arange(rows) // 3
    return table(
        who=[f"p{i}" for i in who],
        part=np.where(who % 4 == 3, "test", "train"),
        label=np.where(who % 3 == 0, "y", "x"),
    )


def test_each_row_is_judged_once_and_rows_for_the_test_never():
    manifest = people()
    splits = folded(manifest, column="part")
    is_test = (manifest.rows["part"] == "test").to_numpy()
    assert (sum((split == "test").to_numpy().astype(int) for split in splits) == ~is_test).all()
    assert all(((split == UNUSED).to_numpy() == is_test).all() for split in splits)
    assert all(set(split) == {"train", "valid", "test", UNUSED} for split in splits)


def test_without_a_column_every_row_is_judged_once():
    splits = folded(people(), folds=3)
    assert (sum((split == "test").astype(int) for split in splits) == 1).all()
    assert all(set(split) == set(SPLITS) for split in splits)


def test_folds_keep_groups_together_and_classes_in_proportion():
    manifest = people()
    for split in folded(manifest, folds=4, group="who"):
        assert split.groupby(manifest.rows["who"]).nunique().max() == 1
        shares = (manifest.rows["label"] == "y").groupby(split).mean()
        assert shares.to_dict() == {name: pytest.approx(0.35, abs=0.12) for name in SPLITS}
        sizes = split.value_counts()
        assert sizes["test"] == pytest.approx(30, abs=3)
        assert sizes["valid"] == pytest.approx(90 * 0.15 / 0.85, abs=4)


def test_rows_without_a_group_are_dealt_alone():
    manifest = table(who=[""] * 40 + ["a"] * 5, label=["x", "y"] * 22 + ["x"])
    for split in folded(manifest, folds=3, group="who"):
        assert split.iloc[:40].nunique() == 3
        assert split.iloc[40:].nunique() == 1


def test_folds_repeat_with_their_seed():
    first, again, other = (folded(people(), seed=seed) for seed in (3, 3, 4))
    assert all(a.equals(b) for a, b in zip(first, again, strict=True))
    assert not all(a.equals(b) for a, b in zip(first, other, strict=True))


def test_classes_with_fewer_rows_than_folds_are_dealt_as_they_come():
    manifest = table(label=list("aabbccddee"))
    splits = folded(manifest)
    assert (sum((split == "test").astype(int) for split in splits) == 1).all()


def test_too_many_folds_are_refused():
    with refuses('DataFrame: 5 folds need as many different values in column "who", got 4; ask for fewer'):
        folded(people(12), group="who")
    with refuses("DataFrame: 5 folds need as many rows, got 3; ask for fewer"):
        folded(people(3))


def test_folds_without_a_row_to_choose_by_are_refused():
    with refuses('DataFrame: the split "valid" has no rows: raise split.valid'):
        folded(people(6), folds=2, group="who")


def test_rows_that_take_no_part_are_no_leak():
    manifest = table(who=["a", "a", "b", "b"])
    split = pd.Series(["train", UNUSED, "train", "test"])
    assert [leak.what for leak in leaks(manifest, split, group="who", media={})] == ['group "b"']


# ── Checks before training ───────────────────────────────────────────────────────────────────────────────────────────


def test_targets_that_leave_no_row_out_pass():
    check_targets(table(label=["x", "", "y"], other=["1", "2", " "]), {"label": Ordinal(), "other": Ordinal()})


def test_a_head_may_know_what_an_empty_cell_means():
    check_targets(table(label=["x", ""]), {"label": Multilabel(empty="none")})
    with refuses("without a target"):
        check_targets(table(label=["x", ""]), {"label": Multilabel()})


def test_rows_without_any_target_are_refused():
    one = 'DataFrame column "label": got 6 rows without a target (rows 2, 4, 6, 7, 8, …), expected one in each row'
    with refuses(one):
        check_targets(table(label=["x", "", "y", " ", "x", "", "", "", ""]), {"label": Ordinal()})
    two = 'DataFrame columns "label" and "other": got 1 row without a target (row 2), expected one of them in each row'
    with refuses(two):
        check_targets(table(label=["x", "", "y"], other=["", " ", "1"]), {"label": Ordinal(), "other": Ordinal()})


def test_a_missing_target_column_is_refused():
    with refuses('no column "lable"; did you mean "label"?'):
        check_targets(table(label=["x"]), {"lable": Ordinal()})


def test_a_group_in_two_splits_is_a_leak():
    manifest = table(who=["A17", "", "B2", "A17 ", "", "A17", "B2"])
    split = pd.Series(["train", "train", "test", "train", "test", "test", "test"])
    assert leaks(manifest, split, group="who", media={}) == [Leak('group "A17"', ("train", "test"), (1, 6), 3)]
    assert str(leaks(manifest, split, group="who", media={})[0]) == (
        'group "A17" stands in train and test (rows 1, 6, …)'
    )


def test_a_file_in_two_splits_is_a_leak_by_path_and_by_bytes(tmp_path):
    for name, content in {"a": b"same", "b": b"same", "c": b"else", "d": b"longer", "e": b"", "f": b""}.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    manifest = table(
        tmp_path,
        photo=["a.jpg", "c.jpg", "b.jpg", "d.jpg", "", "e.jpg", "none.jpg"],
        other=["", "e.jpg", "", "d.jpg", "d.jpg", "f.jpg", "none.jpg"],
    )
    split = pd.Series(["train", "train", "valid", "train", "test", "test", "test"])
    assert [
        leak.message for leak in leaks(manifest, split, group=None, media={"photo": Image(), "other": Image()})
    ] == [
        "identical files a.jpg and b.jpg stand in train and valid (rows 1, 3)",
        "file d.jpg stands in train and test (rows 4, 5)",
    ]


def test_only_files_whose_size_stands_in_two_splits_are_read(tmp_path, monkeypatch):
    for name, content in {"a": b"1", "b": b"2", "c": b"333"}.items():
        (tmp_path / name).write_bytes(content)
    manifest = table(tmp_path, photo=["a", "b", "c", "c"])
    monkeypatch.setattr("mmkeras.table.splits.digest", lambda path: pytest.fail(f"read {path}"))
    found = leaks(manifest, pd.Series(["train", "train", "test", "valid"]), group=None, media={"photo": Image()})
    assert [leak.message for leak in found] == ["file c stands in valid and test (rows 3, 4)"]


def test_groups_that_stay_together_do_not_leak():
    manifest = table(who=[f"g{i % 30}" for i in range(300)])
    assert leaks(manifest, deal(manifest, group="who"), group="who", media={}) == []
