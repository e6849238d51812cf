"""Judging a run: the same figures as training's, on its own rows or others, beside simpler models."""

import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from fixtures_models import model_of, scores_of
from fixtures_tables import LABELS
from sklearn.metrics import f1_score

from mmkeras.base import terminal
from mmkeras.evaluate import evaluate
from mmkeras.evaluation import baselines
from mmkeras.evaluation import judge_run as module
from mmkeras.evaluation.models import OWN, Model
from mmkeras.evaluation.rows import rows_of
from mmkeras.export import export
from mmkeras.network.inference import predict_rows
from mmkeras.predict import predict
from mmkeras.table.manifest import Manifest, read_table
from mmkeras.train import train
from mmkeras.training.run import Run
from mmkeras.training.trainer import tuned

pytest_plugins = "fixtures_tables"


@pytest.fixture(scope="module")
def judged(own_run):
    return evaluate(own_run)


def test_default_rows_give_the_figures_of_training(own_run, judged):
    assert scores_of(judged)["intent"]["mmkeras"] == pytest.approx(own_run.metrics["test"]["intent"], abs=1e-6)


def test_report_and_picture_are_written(own_run, judged):
    assert json.loads((own_run.folder / "evaluation.json").read_text()) == judged
    report = (own_run.folder / "evaluation_intent.txt").read_text()
    assert all(label in report for label in LABELS)
    assert (own_run.folder / "evaluation_intent.png").read_bytes().startswith(b"\x89PNG")


def test_rows_with_unknown_labels_are_left_out(own_run, own_table, capsys):
    rows = pd.read_csv(own_table, keep_default_na=False)
    rows = rows[rows["split"] == "test"].reset_index(drop=True)
    rows.to_csv(own_table, index=False)
    known = scores_of(evaluate(own_run, own_table))["intent"]["mmkeras"]
    strange = rows.iloc[:3].assign(intent=["praise", "", "praise"])
    pd.concat([strange, rows]).to_csv(own_table, index=False)
    capsys.readouterr()
    found = scores_of(evaluate(own_run, own_table))["intent"]["mmkeras"]
    assert 'table.csv: 3 rows have no "intent" that training knew' in capsys.readouterr().out
    assert found == pytest.approx(known, abs=1e-6)
    assert known == pytest.approx(own_run.metrics["test"]["intent"], abs=1e-6)


def test_other_rows_give_other_figures(own_run, judged, own_table):
    pd.read_csv(own_table).assign(intent="return").to_csv(own_table, index=False)
    found = scores_of(evaluate(own_run, own_table))["intent"]["mmkeras"]
    assert found["accuracy"] != scores_of(judged)["intent"]["mmkeras"]["accuracy"]


def test_table_that_changed_since_training_is_refused(own_run, table, monkeypatch):
    content = table.read_text()
    changed = pd.read_csv(table)
    try:
        changed.iloc[1:].to_csv(table, index=False)
        with pytest.raises(ValueError, match=r"table\.csv: changed since .* was trained on it; name the table to use"):
            evaluate(own_run)
    finally:
        table.write_text(content)


def test_table_that_lacks_the_target_is_refused(own_run, table):
    with pytest.raises(ValueError, match='DataFrame: no column "intent"'):
        evaluate(own_run, pd.read_csv(table).drop(columns="intent"))


def test_run_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder: it holds no config.yaml"):
        evaluate(tmp_path)


# Several targets, planted truths


def planted_rows(rows: int = 80, seed: int = 0) -> pd.DataFrame:
    """`colour` tells the grade, the level and most of the tags; `size` tells the price; `junk` tells nothing."""
    rng = np.random.default_rng(seed)
    grade, round_ = rng.integers(0, 3, rows), (rng.random(rows) < 0.3).astype(int)
    size = rng.normal(5, 2, rows)
    table = pd.DataFrame({
        "colour": np.take(["red", "blue", "green"], grade),
        "junk": rng.normal(0, 1, rows).round(3).astype(str),
        "size": size.round(3).astype(str),
        "grade": np.take(["low", "mid", "top"], grade),
        "level": (grade + 1).astype(str),
        "tags": ["|".join(["warm"] * int(g == 0) + ["round"] * int(r)) for g, r in zip(grade, round_, strict=True)],
        "price": (3 * size + rng.normal(0, 0.5, rows)).round(2).astype(str),
        "part": np.take(["train", "train", "train", "valid", "test"], np.arange(rows) % 5),
    })  # fmt: skip
    table.loc[::7, "price"] = ""
    table.loc[3::9, "level"] = ""
    table.loc[4::10, "size"] = ""
    return table


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A training on all four tasks at once."""
    folder = tmp_path_factory.mktemp("planted")
    planted_rows().to_csv(folder / "table.csv", index=False)
    config = {
        "manifest": "table.csv",
        "columns": {"colour": {"type": "category"}, "junk": {"type": "number"}, "size": {"type": "number"}},
        "fusion": {"type": "weighted", "units": [16], "width": 8, "dropout": 0, "column_loss": 0},
        "targets": {
            "grade": {"type": "classification"}, "level": {"type": "ordinal"},
            "tags": {"type": "multilabel", "empty": "none"}, "price": {"type": "regression"},
        },
        "split": {"column": "part"},
        "train": {"epochs": 25, "batch_size": 16, "learning_rate": 0.05, "loss_weights": "learned"},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return train(str(folder / "config.yaml"), run=folder / "run")


@pytest.fixture(scope="module")
def judged_planted(planted):
    """(what evaluate returns, what it prints), with classical models beside it but no network on one column alone."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal.console, "_file", printed)  # `file` would be put back as today's stdout
        patch.setattr(baselines, "_network_alone", lambda *_: {})
        return scores_of(evaluate(planted, baselines=True)), printed.getvalue()


def test_every_target_is_judged_on_the_rows_that_have_it(planted, judged_planted):
    found, printed = judged_planted
    assert list(found) == ["grade", "level", "price", "tags"]
    for target, scores in found.items():
        assert scores["mmkeras"] == pytest.approx(planted.metrics["test"][target], abs=1e-5)
        assert all(np.isfinite(list(figures.values())).all() for figures in scores.values())
        assert (planted.folder / f"evaluation_{target}.png").is_file()
        assert f"{target}, 16 test rows" in printed
    rows = planted.table().rows[(planted.splits == "test").to_numpy()]
    assert f'{(rows["price"] == "").sum()} rows have no "price" that training knew' in printed
    assert 'no "tags"' not in printed  # empty: none


def test_what_if_table_names_each_column_taken_away_and_left_alone(judged_planted):
    found, _ = judged_planted
    columns = ("colour", "junk", "size")
    assert list(found["grade"])[:7] == [
        "mmkeras", *(f"the same without {column}" for column in columns),
        *(f"the same with nothing but {column}" for column in columns),
    ]  # fmt: skip
    without, alone = found["grade"]["the same without colour"], found["grade"]["the same with nothing but colour"]
    assert found["grade"]["mmkeras"]["accuracy"] == alone["accuracy"] == 1
    assert without["accuracy"] < 0.7


@pytest.mark.parametrize(
    ("name", "emptied"), [("without colour", ["colour"]), ("with nothing but size", ["colour", "junk"])]
)
def test_figures_without_a_column_are_those_of_a_table_whose_cells_are_emptied(planted, judged_planted, name, emptied):
    rows = planted.table().rows
    emptied_rows = (
        rows[(planted.splits == "test").to_numpy()].assign(**dict.fromkeys(emptied, "")).reset_index(drop=True)
    )
    answers = predict(planted, emptied_rows)
    assert answers["status"].str.contains("missing: colour").all()
    found = judged_planted[0]["grade"][f"the same {name}"]
    assert found["accuracy"] == pytest.approx((answers["grade_label"] == emptied_rows["grade"]).mean())
    known = emptied_rows["price"] != ""
    off = answers["price_value"][known] - emptied_rows["price"][known].astype(float)
    assert judged_planted[0]["price"][f"the same {name}"]["mae"] == pytest.approx(off.abs().mean(), rel=1e-4)


def test_a_column_that_tells_all_and_one_that_tells_nothing_are_warned_of(judged_planted):
    _, printed = judged_planted
    assert (
        "warning: grade: all columns together (accuracy 1.000) are no better than the same with nothing but colour "
        "(1.000)"
    ) in printed
    idle = dict(re.findall(r"warning: (\w+): the [\w ]+ is [\d.]+, and no lower without (.*);", printed))
    assert "junk (1.000)" in idle["grade"]
    assert "colour (" not in idle["grade"]
    assert "size (" not in idle.get("price", "")


@pytest.mark.parametrize(
    ("whole", "without", "alone", "warned"),
    [
        (0.8, 0.7, 0.7, []),
        (0.8, 0.8, 0.7, ["the r2 is 0.800, and no lower without a (0.800); it does not help here"]),
        (0.8, 0.9, 0.7, ["the r2 is 0.800, and no lower without a (0.900); it does not help here"]),
        (0.8, 0.7, 0.8, ["(r2 0.800) are no better than the same with nothing but a (0.800)"]),
    ],
)
def test_when_columns_are_warned_of(whole, without, alone, warned, capsys):
    scores = {
        OWN: {"r2": whole, "mae": 0.1}, Model("without", "a"): {"r2": without, "mae": 0.1},
        Model("without", "b"): {"r2": 0.1, "mae": 0.9}, Model("only", "a"): {"r2": alone, "mae": 0.1},
        Model("only", "b"): {"r2": 0.1, "mae": 0.9}, Model("classical", "a"): {"r2": 0.99, "mae": 0.1},
    }  # fmt: skip
    module._warn_of_idle_columns(scores, "price", ["a", "b"])
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("warning:") == len(warned)
    assert all(line in printed for line in warned)


def test_one_column_has_nothing_to_be_taken_away():
    assert module._hidden(["a"]) == {OWN: []}
    assert module._hidden(["a", "b"]) == {
        OWN: [], Model("without", "a"): ["a"], Model("without", "b"): ["b"],
        Model("only", "a"): ["b"], Model("only", "b"): ["a"],
    }  # fmt: skip


def test_weights_of_the_fusion_are_shown(judged_planted):
    _, printed = judged_planted
    _, _, table = printed.partition("What the fusion weighs the columns")
    assert "16 test rows" in table
    means = re.findall(r"│ (colour|junk|size) +│ +(\d\.\d+) │", table)[:3]
    assert [column for column, _ in means] == ["colour", "junk", "size"]
    assert sum(float(mean) for _, mean in means) == pytest.approx(1, abs=0.002)


def test_weights_of_rows_without_a_cell_are_not_averaged(capsys):
    module._show_weights(["a", "b"], np.array([[0.75, 0.25], [0, 0], [0.25, 0.75]]), "3 rows")
    assert re.search(r"│ a +│ +0\.500 │ +0\.250 │", capsys.readouterr().out)
    module._show_weights(["a", "b"], np.zeros((2, 2)), "2 rows")
    assert capsys.readouterr().out == ""


def test_classical_models_stand_beside_every_task(judged_planted):
    found, _ = judged_planted
    columns = ("colour", "junk", "size")
    for scores in found.values():
        assert list(scores)[7:] == [
            "prior", *(f"classical on {column}" for column in columns), "classical, all",
            *(f"classical, without {column}" for column in columns),
        ]  # fmt: skip
    assert found["grade"]["classical on colour"]["accuracy"] == 1
    assert found["level"]["classical on colour"]["accuracy"] == 1
    assert found["price"]["classical on size"]["r2"] > 0.2 > found["price"]["classical on junk"]["r2"]
    assert found["price"]["prior"]["r2"] <= 0
    assert found["tags"]["classical on colour"]["micro_f1"] > found["tags"]["classical on junk"]["micro_f1"]


def test_the_joined_classical_models_are_the_mean_of_log_probabilities(planted, monkeypatch):
    """Worked out by hand from three columns' made-up probabilities."""
    said = iter([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.5, 0.25, 0.25]])
    schema = planted.schema
    schema = schema.model_copy(update={"targets": {"grade": schema.targets["grade"]}})
    monkeypatch.setattr(baselines, "_classical_column", lambda *_: {"grade": np.array([next(said)] * 3)})
    rows = planted.table()
    few = Manifest(rows.rows.head(1), rows.folder, "few"), Manifest(rows.rows.head(2), rows.folder, "two")
    found = baselines.classical(schema, rows, few)["grade"]
    product = np.cbrt(np.array([0.8 * 0.2 * 0.5, 0.1 * 0.2 * 0.25, 0.1 * 0.6 * 0.25]))
    first, second = found[Model("classical")]
    assert (len(first), len(second)) == (1, 2)
    np.testing.assert_allclose(second[1], product / product.sum(), rtol=1e-9)
    rest = np.sqrt(np.array([0.8 * 0.2, 0.1 * 0.2, 0.1 * 0.6]))
    np.testing.assert_allclose(found[Model("classical_without", "size")][0][0], rest / rest.sum(), rtol=1e-9)


def test_a_classical_column_whose_rows_all_have_one_answer_says_the_prior(planted):
    schema, table = planted.schema, planted.table()
    rows = table.rows.assign(size=table.rows["size"].where(table.rows["grade"] == "low", ""))
    cells = rows["size"]
    found = baselines._classical_column(schema, schema.columns["size"], Manifest(rows, None, "rows"), cells, cells)
    assert np.allclose(found["grade"], schema.targets["grade"].prior)


@pytest.mark.slow
def test_a_table_of_the_users_with_unknown_classes_and_without_some_targets(planted, capsys):
    rows = planted_rows(12, seed=5)
    rows.loc[:1, "grade"] = "odd"
    rows["price"] = ""
    found = scores_of(evaluate(planted, rows))
    shown = " ".join(capsys.readouterr().out.split())
    assert 'DataFrame: 2 rows have no "grade" that training knew; they are left out of the figures' in shown
    assert 'DataFrame: 12 rows have no "price" that training knew' in shown
    assert found["price"] == {"mmkeras": {}}
    assert found["grade"]["mmkeras"]["accuracy"] == 1
    assert "all 12 rows of DataFrame" in shown


def test_a_faulty_target_of_the_users_is_named(planted):
    with pytest.raises(ValueError, match='DataFrame column "price": "cheap" \\(row 3\\) is no finite number'):
        evaluate(planted, planted_rows(12).assign(price=["1", "2", "cheap", *["4"] * 9]))


# What is written


@pytest.fixture(scope="module")
def copied(planted, tmp_path_factory):
    """A function: a copy of the planted run that a test may change."""

    def copied(name="copy"):
        folder = tmp_path_factory.mktemp("copies") / name
        shutil.copytree(planted.folder, folder)
        return Run(folder)

    return copied


@pytest.fixture(scope="module")
def written(copied):
    """(the run, what evaluate returns, its table of rows) by the columns colour and size."""
    run = copied("written")
    found = evaluate(run, by=["colour", "size"])
    return run, found, pd.read_parquet(run.folder / "evaluation_rows.parquet")


def test_every_target_has_the_same_parts(written):
    run, found, _ = written
    assert json.loads((run.folder / "evaluation.json").read_text()) == found
    assert found["rows"] | {"name": ""} == {
        "name": "", "split": "test", "table": None, "count": 16, "groups": None, "units": 16, "resamples": 1000,
        "by": ["colour", "size"],
    }  # fmt: skip
    for target, each in found["targets"].items():
        scores = model_of(each)["scores"]
        assert scores == pytest.approx(run.metrics["test"][target], abs=1e-5)
        assert model_of(each)["intervals"].keys() == scores.keys()
        assert all(model["scores"] and model["intervals"] for model in each["models"])
        assert [part["value"] for part in each["slices"]["colour"]] != []
        assert {tuple(part["missing"]) for part in each["patterns"]} <= {(), ("size",)}
        if each["calibration"]:
            assert each["calibration"]["temperature"] == run.schema.targets[target].temperature
    assert [name for name, each in found["targets"].items() if each["calibration"]] == ["grade", "level", "tags"]


def test_slices_cut_numbers_and_say_so(written):
    _, found, _ = written
    values = [part["value"] for part in found["targets"]["grade"]["slices"]["size"]]
    assert sum(part["rows"] for part in found["targets"]["grade"]["slices"]["size"]) == 16
    assert len(values) <= 20 and found["warnings"] == [warning for warning in found["warnings"] if warning]
    assert any("price" in warning and "training knew" in warning for warning in found["warnings"])


@pytest.mark.slow
def test_paths_that_leave_the_tables_folder_are_read_if_told(own_run, own_table, tmp_path, capsys):
    rows = pd.read_csv(own_table, dtype=str, keep_default_na=False).head(12)
    rows["photo"] = [str(own_table.with_name(name)) if name else "" for name in rows["photo"]]
    (tmp_path / "elsewhere").mkdir()
    rows.assign(voice="").to_csv(tmp_path / "elsewhere" / "table.csv", index=False)
    missing = [
        sum(
            pattern["rows"]
            for pattern in evaluate(own_run, tmp_path / "elsewhere" / "table.csv", allow_outside=allowed)["targets"][
                "intent"
            ]["patterns"]
            if "photo" in pattern["missing"]
        )
        for allowed in (False, True)
    ]
    assert "files outside the table's folder" in capsys.readouterr().out
    assert missing == [12, (rows["photo"] == "").sum()]


def test_a_column_to_slice_by_has_to_be_there(planted):
    with pytest.raises(ValueError, match=r'no column "color"; did you mean "colour"\?'):
        evaluate(planted, by=["color"])


def test_a_row_of_the_table_for_each_judged_row(written):
    run, found, rows = written
    own = run.table().rows[(run.splits == "test").to_numpy()]
    assert rows["row"].tolist() == list(range(1, 17))
    assert rows["table_row"].tolist() == (own.index + 1).tolist()
    assert set(rows["split"]) == {"test"}
    assert rows["status"].str.startswith("missing: size").tolist() == (own["size"] == "").tolist()
    for target in ("grade", "level", "tags", "price"):
        assert rows[f"{target} truth"].tolist() == own[target].tolist()
    grade = scores_of(found)["grade"]["mmkeras"]
    assert (rows["grade answer"] == rows["grade truth"]).mean() == grade["accuracy"] == rows["grade right"].mean()
    assert rows["grade loss"].mean() == pytest.approx(grade["log_loss"], rel=1e-4)
    assert rows["level right"].isna().tolist() == (own["level"] == "").tolist()
    assert rows["tags right"].mean() == scores_of(found)["tags"]["mmkeras"]["subset_accuracy"]
    assert rows["price right"].isna().all() and rows["price confidence"].isna().all()
    assert rows["price loss"].mean() == pytest.approx(scores_of(found)["price"]["mmkeras"]["mae"], rel=1e-4)
    assert rows["grade confidence"].between(0, 1).all()


def test_pictures_of_confidence_are_drawn_where_there_is_any(written):
    run, _, _ = written
    assert (run.folder / "evaluation_grade_confidence.png").read_bytes().startswith(b"\x89PNG")
    assert not (run.folder / "evaluation_price_confidence.png").exists()


def test_the_terminal_shows_intervals_and_rows(judged_planted):
    _, printed = judged_planted
    assert re.search(r"accuracy +│ 1\.000 +│ \[0\.806, 1\.000\]", printed)  # 16 of 16
    assert "16 test rows; 95 % intervals of 1000 resamples of 16 rows" in printed
    assert "probabilities are off by" in printed
    assert "price, 16 test rows: furthest off" in printed
    assert "class by class" in printed


# Which rows


def test_the_runs_own_table_says_which_rows_trained_the_model(copied, capsys):
    run = copied()
    evaluate(run, run.config.manifest)
    rows = pd.read_parquet(run.folder / "evaluation_rows.parquet")
    assert rows["table_row"].tolist() == rows["row"].tolist() == list(range(1, 81))
    assert rows["split"].tolist() == run.splits.tolist()
    assert rows["grade suspect"][rows["split"] == "train"].isna().all()
    assert "table.csv: 48 of 80 rows trained the model; figures of them flatter it" in capsys.readouterr().out


@pytest.mark.slow
def test_a_foreign_tables_rows_have_no_place_in_the_runs_and_known_ones_are_found(copied, capsys):
    run = copied()
    own = run.table().rows
    evaluate(run, pd.concat([own.iloc[:2], planted_rows(6, seed=9)], ignore_index=True))
    rows = pd.read_parquet(run.folder / "evaluation_rows.parquet")
    assert rows["table_row"].isna().all() and rows["split"].isna().all()
    assert "DataFrame: 2 of 8 rows are in train; figures of them flatter it" in capsys.readouterr().out


@pytest.mark.slow
def test_without_test_rows_the_validation_rows_judge(copied):
    run = copied()
    splits = (run.folder / "splits.csv").read_text().replace("test", "unused")
    (run.folder / "splits.csv").write_text(splits)
    found = evaluate(run)
    assert found["rows"]["split"] == "valid" and found["rows"]["count"] == 16
    assert "there are no test rows; the validation rows chose the best epoch" in found["warnings"][0]


@pytest.mark.slow
def test_a_run_without_its_predictions_asks_the_model_again(copied, written):
    run = copied()
    (run.folder / "predictions.npz").unlink()
    for target, each in evaluate(run)["targets"].items():
        assert each["coverage"] == written[1]["targets"][target]["coverage"]


@pytest.mark.slow
def test_a_run_whose_table_is_gone_judges_another(copied, capsys):
    run = copied()
    (run.folder / "table.json").write_text(json.dumps({"path": "/nowhere/table.csv", "sha256": "0"}))
    found = evaluate(run, planted_rows(12, seed=5))
    assert found["targets"]["grade"]["coverage"]["chosen_on"] is None
    assert "the validation rows cannot choose a confidence to answer from" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_groups_give_intervals_and_one_alone_gives_none(own_run, table):
    rows = pd.read_csv(table, keep_default_na=False)
    test = rows[rows["split"] == "test"].reset_index(drop=True)
    folder_rows = test.assign(photo="", voice="")
    found = evaluate(own_run, folder_rows.assign(customer="one"))
    assert (found["rows"]["groups"], found["rows"]["units"]) == ("customer", 1)
    assert set(model_of(found["targets"]["intent"])["intervals"].values()) == {None}
    assert 'all rows have the same "customer": no interval can be given' in found["warnings"]
    found = evaluate(own_run, folder_rows.drop(columns="customer"))
    assert found["rows"]["groups"] is None
    assert 'DataFrame: no column "customer"; intervals take each row for itself' in found["warnings"]
    assert model_of(found["targets"]["intent"])["intervals"]["accuracy"] is not None


# Temperatures


def test_calibrated_probabilities_are_the_same_everywhere(planted, tmp_path):
    """In predictions.npz, metrics.json, the model that a run rebuilds and the exported one."""
    import tensorflow as tf

    rows = planted.table().rows[(planted.splits == "test").to_numpy()].reset_index(drop=True)
    predictions, _ = predict_rows(planted.network(), planted.schema, read_table(rows))
    plain = planted.network().answering({name: head.untuned() for name, head in planted.schema.targets.items()})
    uncalibrated, _ = predict_rows(plain, planted.schema, read_table(rows))
    serve = tf.saved_model.load(str(export(planted, tmp_path / "model"))).signatures["serving_default"]
    cells = {"colour": tf.constant(rows["colour"].tolist())}
    for column in ("junk", "size"):
        cells[column] = tf.constant(pd.to_numeric(rows[column]).to_numpy(np.float32))
    served = serve(**cells)
    for target in ("grade", "level", "tags"):
        head = planted.schema.targets[target]
        assert abs(head.temperature - 1) > 0.01
        np.testing.assert_allclose(predictions[target], planted.predictions[f"test {target}"], atol=1e-6)
        np.testing.assert_allclose(served[f"{target}_probabilities"], predictions[target], atol=1e-6)
        tempered = head.scorer.tempered(uncalibrated[target], head.temperature)
        np.testing.assert_allclose(tempered, predictions[target], atol=1e-6)
        assert np.abs(uncalibrated[target] - predictions[target]).max() > 1e-3
        texts = [head.scorer.answer_texts(each[target]) for each in (uncalibrated, predictions)]
        assert texts[0] == texts[1] or target == "tags"


def test_the_temperature_is_the_one_that_validation_rows_ask_for(planted):
    table, splits = planted.table(), planted.splits
    rows = table.rows[(splits == "valid").to_numpy()].reset_index(drop=True)
    plain = planted.network().answering({name: head.untuned() for name, head in planted.schema.targets.items()})
    uncalibrated, _ = predict_rows(plain, planted.schema, read_table(rows))
    for target in ("grade", "level", "tags"):
        head = planted.schema.targets[target]
        wanted = tuned(head, head.encode_target(rows[target]), uncalibrated[target])
        assert head.temperature == pytest.approx(wanted.temperature, rel=1e-3)


# Another run on the same rows


@pytest.fixture(scope="module")
def worse(copied):
    """The planted run with noise in its weights."""
    run = copied("worse")
    model, rng = run.network().model, np.random.default_rng(0)
    model.set_weights([values + rng.normal(0, 0.6, values.shape) for values in model.get_weights()])
    model.save_weights(run.folder / "model.weights.h5")
    return run


def test_two_runs_are_compared_on_the_same_rows(copied, worse, capsys):
    run = copied()
    found = evaluate(run, against=worse)
    against = json.loads((run.folder / "against_worse.json").read_text())
    theirs = evaluate(worse)
    for target, each in against["targets"].items():
        first, second = (scores_of(judged)[target]["mmkeras"] for judged in (found, theirs))
        assert each["scores"] == {"first": pytest.approx(first), "second": pytest.approx(second)}
        for name, difference in each["differences"].items():
            assert difference["difference"] == pytest.approx(first[name] - second[name])
            low, high = difference["interval"]
            assert low <= difference["difference"] <= high
    grade = against["targets"]["grade"]
    low, high = grade["differences"]["accuracy"]["interval"]
    assert high > low > 0
    mine, other = (
        pd.read_parquet(each.folder / "evaluation_rows.parquet")["grade right"].astype(bool) for each in (run, worse)
    )
    assert grade["mcnemar"]["only_first_right"] == (mine & ~other).sum()
    assert grade["mcnemar"]["only_second_right"] == (other & ~mine).sum()
    assert against["targets"]["price"]["mcnemar"] is None
    rows = pd.read_csv(run.folder / "against_worse.csv", keep_default_na=False)
    differing = rows[rows["target"] == "grade"]
    assert len(differing) == grade["rows_that_differ"] > 0
    assert (differing["first answer"] != differing["second answer"]).all()
    assert (differing["cell grade"] == differing["truth"]).all()
    assert "grade, 16 test rows: copy against worse" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_does_not_differ_from_its_copy(copied, capsys):
    twin = copied("twin")
    evaluate(twin, planted_rows(30, seed=3), against=copied("other"))
    for each in json.loads((twin.folder / "against_other.json").read_text())["targets"].values():
        assert each["rows_that_differ"] == 0
        assert {difference["difference"] for difference in each["differences"].values()} == {0}
    assert "0 rows are right with twin only, 0 with other only" in " ".join(capsys.readouterr().out.split())


def edit(file, *changes):
    text = file.read_text()
    for old, new in changes:
        text = text.replace(old, new)
    file.write_text(text)


UNFIT = {
    "training is not finished": lambda folder: (folder / "metrics.json").unlink(),
    "was trained on another table than .*; name a table of rows that trained neither": lambda folder: edit(
        folder / "table.json", ('"sha256": "', '"sha256": "0')
    ),
    "16 of the 16 test rows of .* trained it, so they cannot judge it; name a table of rows that": lambda folder: edit(
        folder / "splits.csv", ("test", "train")
    ),
}


@pytest.mark.parametrize("message", UNFIT)
def test_runs_that_cannot_be_compared_are_refused(planted, copied, message):
    other = copied("other")
    UNFIT[message](other.folder)
    with pytest.raises(ValueError, match=message):
        evaluate(planted, against=other.folder)


# Thresholds of labels


def test_thresholds_are_those_that_validation_rows_ask_for(planted):
    head = planted.schema.targets["tags"]
    truth = head.encode_target(planted.table().rows["tags"][(planted.splits == "valid").to_numpy()])
    uncalibrated = head.scorer.tempered(planted.predictions["valid tags"], 1 / head.temperature)
    wanted = tuned(head, truth, uncalibrated)
    assert head.labels == ("round", "warm")
    assert head.thresholds == pytest.approx(wanted.thresholds, rel=1e-3)
    assert head.temperature == pytest.approx(wanted.temperature, rel=1e-3) != 1
    assert head.thresholds[0] != 0.5  # of three tags in ten that no column tells


def test_thresholds_decide_in_predict_evaluate_and_the_exported_model(planted, judged_planted, tmp_path):
    import tensorflow as tf

    schema = json.loads((planted.folder / "schema.json").read_text())
    thresholds = np.array(schema["targets"]["tags"]["thresholds"])
    rows = planted.table().rows[(planted.splits == "test").to_numpy()].reset_index(drop=True)
    probabilities = planted.predictions["test tags"]
    wanted = ["|".join(np.array(["round", "warm"])[row >= thresholds]) for row in probabilities]
    assert predict(planted, rows)["tags_labels"].tolist() == wanted
    truth = planted.schema.targets["tags"].encode_target(rows["tags"])
    f1 = f1_score(truth, probabilities >= thresholds, average="micro")
    assert judged_planted[0]["tags"]["mmkeras"]["micro_f1"] == pytest.approx(f1)
    serve = tf.saved_model.load(str(export(planted, tmp_path / "model"))).signatures["serving_default"]
    cells = {"colour": tf.constant(rows["colour"].tolist())}
    for column in ("junk", "size"):
        cells[column] = tf.constant(pd.to_numeric(rows[column]).to_numpy(np.float32))
    assert [labels.decode() for labels in serve(**cells)["tags_labels"].numpy()] == wanted


@pytest.mark.slow
def test_classical_models_get_thresholds_of_their_own(planted, judged_planted):
    """The network's would make a classical model look worse than it is, or better."""
    table, splits = planted.table(), planted.splits
    trained, chosen, judged = (rows_of(table, (splits == name).to_numpy()) for name in ("train", "valid", "test"))
    head = planted.schema.targets["tags"]
    valid, said = baselines.classical(planted.schema, trained, [chosen, judged])["tags"][Model("classical", "size")]
    own, said = baselines.calibrated(head, head.encode_target(chosen.rows["tags"]), valid, said)
    expected = own.score(head.encode_target(judged.rows["tags"]), said)
    assert judged_planted[0]["tags"]["classical on size"] == pytest.approx(expected)
    assert own.thresholds != head.thresholds


@pytest.mark.slow
def test_networks_trained_on_one_column_alone_are_kept_and_judged(own_run, capsys):
    found = scores_of(evaluate(own_run, baselines=True))["intent"]
    columns = ("photo", "question", "voice")
    assert list(found)[-3:] == [f"mmkeras trained on nothing but {column}" for column in columns]
    assert found["prior"]["accuracy"] == pytest.approx(1 / 3)
    assert found["prior"]["log_loss"] == pytest.approx(np.log(3), rel=1e-6)
    assert found["classical on photo"]["accuracy"] > 0.5
    alone = Run(own_run.folder / "alone" / "photo")
    assert list(alone.config.columns) == ["photo"]
    assert found["mmkeras trained on nothing but photo"] == pytest.approx(alone.metrics["test"]["intent"], abs=1e-6)
    assert "epoch" not in capsys.readouterr().out
