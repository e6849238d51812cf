"""Trainings for something else than answers, or beside them: they learn, say what they can do, go on, and ship."""

import functools
import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_tables import command

from mmkeras.compare import compare
from mmkeras.contracts.encoding import vector_of
from mmkeras.embed import embed
from mmkeras.evaluate import evaluate
from mmkeras.explain import explain
from mmkeras.export import export
from mmkeras.features.columns import features_in_chunks, missing_cell, table_cells
from mmkeras.network.build import network_of
from mmkeras.network.inference import row_losses
from mmkeras.predict import predict
from mmkeras.report import report
from mmkeras.table.plan import Plan
from mmkeras.train import _show_results, train
from mmkeras.training.callbacks import Checkpoints
from mmkeras.training.run import Run
from mmkeras.training.trainer import truth_of

pytest_plugins = "fixtures_tables"

MASKED, CONTRASTIVE = "objectives={masked: {}}", "objectives={contrastive: {width: 7}}"
EVERY = "objectives={contrastive: {width: 7, weight: 0.5}, masked: {pieces: 0.3}, supervised: {}}"
HIDDEN = ["photo.hidden", "question.hidden"]
ROWS, SEED = 60, 4
# No recurrent encoders, whose gradients take longest to trace.
QUICK = [
    "columns.question.encoder={type: convolution, filters: [6], kernel_steps: [3]}",
    "columns.voice.encoder={type: convolution, filters: [4]}",
]


def trained(config, folder, *overrides):
    return train(str(config), [*QUICK, "train.epochs=12", *overrides], run=folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("objectives")


@pytest.fixture(scope="module")
def masked_run(config, runs):
    return trained(config, runs / "masked", MASKED, "targets=null")


@pytest.fixture(scope="module")
def contrastive_run(config, runs):
    """Of two columns only, the quickest."""
    return trained(config, runs / "contrastive", CONTRASTIVE, "targets=null", "columns.voice=null")


@pytest.fixture(scope="module")
def every_run(config, runs):
    return trained(config, runs / "every", EVERY, "columns.voice=null")


@pytest.fixture(scope="module", params=["masked_run", "contrastive_run", "every_run"])
def any_run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["masked_run", "contrastive_run"])
def run_without_answers(request):
    return request.getfixturevalue(request.param)


@functools.cache
def features_of(run, count=ROWS):
    manifest, columns = run.table(), run.schema.columns
    ((_, features, _),) = features_in_chunks(columns, table_cells(manifest, columns), np.arange(count), count)
    return features


@functools.cache
def judged_after(run):
    """{output: mean loss} of the validation rows by the trained network."""
    return judged(run.network(), run)


def judged(network, run):
    """{output: mean loss} of the validation rows."""
    plan = Plan(run.schema, run.table(), run.splits)
    terms, rows = network.unanswered, np.flatnonzero(run.splits == "valid")
    losses = row_losses(network.step(), features_of(run), rows, truth_of(plan, network), terms, batch_size=10)
    return {output: float(np.nanmean(values)) for output, values in losses.items()}


# Training


def test_what_was_not_trained_on_is_found_better_than_at_the_start(any_run):
    keras.utils.set_random_seed(SEED)
    before, after = judged(network_of(any_run.schema), any_run), judged_after(any_run)
    assert before.keys() == after.keys() != set()
    assert all(after[output] < before[output] for output in after), (before, after)


def test_metrics_hold_the_judged_losses_with_intervals(any_run):
    after = judged_after(any_run)
    for split in ("valid", "test"):
        for output in after:
            figures = any_run.metrics[split][output]
            assert list(figures) == ["loss", "loss_low", "loss_high"]
            assert figures["loss_low"] < figures["loss"] < figures["loss_high"]
    for output, loss in after.items():
        assert any_run.metrics["valid"][output]["loss"] == pytest.approx(loss, rel=1e-4)


def test_each_has_its_outputs(masked_run, contrastive_run, every_run):
    assert list(masked_run.metrics["test"]) == [*HIDDEN, "voice.hidden"]
    assert list(contrastive_run.metrics["test"]) == ["columns.together"]
    assert {*every_run.metrics["test"]} == {"intent", "columns.together", *HIDDEN}
    assert "accuracy" in every_run.metrics["test"]["intent"]


def test_losses_add_up_by_their_weights(every_run):
    history = every_run.history
    owns = [name for name in history if re.fullmatch("intent_by_.*_loss", name)]
    parts = [1.0 * np.array(history[f"{output}_loss"]) for output in ["intent", *HIDDEN]]
    parts += [np.array(history[name]) for name in owns] + [0.5 * np.array(history["columns.together_loss"])]
    np.testing.assert_allclose(np.sum(parts, axis=0), history["loss"], rtol=1e-4)


def test_epochs_say_the_sum_and_the_results_every_loss(masked_run, every_run, capsys):
    log = (masked_run.folder / "run.log").read_text()
    assert re.search(r"epoch +12/12  loss \d+\.\d{3}  valid loss \d+\.\d{3}  ", log)
    log = (every_run.folder / "run.log").read_text()
    figures = r"intent_loss \d+\.\d{3}  intent_accuracy \d+\.\d{3}"
    assert re.search(rf"epoch +1/12  loss \d+\.\d{{3}}  {figures}  valid loss", log)
    _show_results(masked_run)
    shown = capsys.readouterr().out
    assert re.search(r"output +┃ metric ┃ test rows +┃ valid rows", shown)
    assert re.search(r"photo\.hidden +│ loss +│ \d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\) │", shown)
    assert "loss_low" not in shown and "mmkeras embed" in shown and "mmkeras evaluate" not in shown
    _show_results(every_run)
    assert re.search(r"intent +│ accuracy +│ \d\.\d{3} +│", capsys.readouterr().out)


def test_columns_that_nothing_is_learned_of_are_named_and_have_no_vectors(config, table, tmp_path):
    rows = pd.read_csv(table, dtype=str, keep_default_na=False).assign(weight=[str(i) for i in range(ROWS)])
    rows.to_csv(table.parent / "heavy.csv", index=False)
    settings = [MASKED, "targets=null", "manifest=heavy.csv", "columns.weight={type: number}", "columns.voice=null"]
    run = train(str(config), [*settings, "columns.question=null", "train.epochs=1"], run=tmp_path / "run")
    log = (run.folder / "run.log").read_text()
    assert "nothing is learned of weight: training is for masked alone; they have no vectors" in log
    assert list(embed(run, table.parent / "heavy.csv")) == ["row", "status", "photo"]


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(contrastive_run, config, tmp_path, monkeypatch):
    def stop(self, epoch, logs=None, own=Checkpoints.on_epoch_end):
        own(self, epoch, logs)
        if epoch == 4:
            raise KeyboardInterrupt

    settings = [config, tmp_path / "run", CONTRASTIVE, "targets=null", "columns.voice=null"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "on_epoch_end", stop)
        trained(*settings)
    stopped = trained(*settings)
    assert "going on after epoch 5 of 12" in (stopped.folder / "run.log").read_text()
    assert stopped.history == contrastive_run.history
    assert stopped.metrics["test"] == contrastive_run.metrics["test"]


@pytest.mark.slow
def test_two_devices_and_shards_train_it_too(config, tmp_path):
    settings = ["objectives={masked: {}, contrastive: {}}", "targets=null", "columns.voice=null", "train.epochs=1"]
    assert command("mmkeras.prepare", config, *settings, "--out", tmp_path / "features").returncode == 0
    done = command(
        "mmkeras.train", config, *settings, "train.devices=2", "--features", tmp_path / "features", "--run",
        tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").metrics["test"].keys() == {"photo.hidden", "question.hidden", "columns.together"}


# What such a run can do


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        ("predict", lambda run, table: predict(run, table)),
        ("evaluate", lambda run, table: evaluate(run)),
        ("explain", lambda run, table: explain(run)),
        ("report", lambda run, table: report(run)),
    ],
)
def test_what_needs_answers_is_refused_in_one_line(verb, ask, run_without_answers, table):
    with pytest.raises(ValueError) as refused:
        ask(run_without_answers, table)
    name = run_without_answers.folder.name
    assert str(refused.value) == (
        f"{run_without_answers.folder}: trained for {name}, by which no target is answered, so there is nothing to "
        f"{verb}; it has vectors of rows and columns: `mmkeras embed` and `mmkeras export` give them"
    )


def test_models_without_answers_are_not_compared(config, tmp_path):
    with pytest.raises(ValueError, match="trains for masked, by which no target is answered; models are compared by"):
        compare(str(config), [MASKED, "targets=null"], out=tmp_path / "compared")


def test_answers_beside_others_are_evaluated_and_explained(every_run, table):
    assert evaluate(every_run)["targets"].keys() == {"intent"}
    assert len(predict(every_run, table)) == ROWS
    assert "intent" in explain(every_run, rows="1", check=False).summary["targets"]


def test_vectors(masked_run, contrastive_run, every_run, table):
    assert list(embed(masked_run, table)) == ["row", "status", "photo", "question", "voice"]
    assert list(embed(every_run, table)) == ["row", "status", "shared", "fused", "photo", "question"]
    vectors = embed(contrastive_run, table)
    assert list(vectors) == ["row", "status", "shared", "photo", "question"]
    lengths = [np.linalg.norm(vector) for vector in vectors["shared"].dropna()]
    np.testing.assert_allclose(lengths, np.ones(len(lengths)), atol=1e-5)


NAMES = {"masked": ["encode"], "contrastive": ["embed", "embed_photo", "embed_question"]}
CLIENTS = {
    "encode": ("masked", {f"{column}_vector": vector_of(column) for column in ("photo", "question", "voice")}),
    "embed": ("contrastive", {"vector": "columns.shared"}),
    "embed_photo": ("contrastive", {"vector": "photo.shared"}),
    "embed_question": ("contrastive", {"vector": "question.shared"}),
}


@pytest.fixture(scope="module")
def exported(masked_run, contrastive_run, tmp_path_factory):
    """{run: its SavedModel's folder}."""
    folder = tmp_path_factory.mktemp("exported")
    return {run.folder.name: export(run, folder / run.folder.name) for run in (masked_run, contrastive_run)}


@pytest.mark.parametrize("endpoint", CLIENTS)
def test_an_endpoint_gives_the_networks_own_vectors(endpoint, exported, runs):
    name, outputs = CLIENTS[endpoint]
    run, count = Run(runs / name), 32
    signature = json.loads((exported[name] / "assets.extra/signature.json").read_text())
    described = {NAMES[name][0]: signature, **signature.get("endpoints", {})}
    assert list(described) == NAMES[name]
    columns = list(described[endpoint]["inputs"])
    cells = {column: values[:count] for column, values in raw_cells(run).items() if column in columns}
    model = tf.saved_model.load(str(exported[name]))
    answer = getattr(model, endpoint)(cells)
    assert answer.keys() == {*outputs, "status"} == described[endpoint]["outputs"].keys()
    told = run.network().told(outputs.values())(features_of(run).rows(np.arange(count)), training=False)
    for vector, output in outputs.items():
        assert np.ptp(told[output], axis=0).max() > 1e-3
        np.testing.assert_allclose(answer[vector], told[output], atol=1e-5)
    statuses = [status.decode() for status in answer["status"].numpy()]
    assert statuses[0] == "ok"
    alone = {"embed_photo": "prior; missing: photo", "embed_question": "ok"}
    assert statuses[7] == alone.get(endpoint, "missing: photo")


def test_a_client_that_names_no_endpoint_gets_the_first(exported):
    wanted = {
        "masked": ["photo_vector", "question_vector", "status", "voice_vector"],
        "contrastive": ["status", "vector"],
    }
    for name, folder in exported.items():
        model = tf.saved_model.load(str(folder))
        default = model.signatures["serving_default"]
        assert sorted(default.structured_outputs) == wanted[name]
        assert {*default.structured_input_signature[1]} >= {"photo", "question"}


def raw_cells(run):
    """{column: (N,) what a client sends}."""
    manifest, raw = run.table(), {}
    for column, modality in run.schema.columns.items():
        cells = table_cells(manifest, {column: modality})[column]
        missing = missing_cell(modality)[()]
        raw[column] = tf.constant([modality.read(cell) if cell else missing for cell in cells])
    return raw


# Configs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [MASKED],
            r"the objectives \(masked\) answer none; leave the targets out \(targets=null\), or add objectives\.",
        ),
        (["targets=null"], "targets: expected at least one"),
        (["objectives={maskd: {}}"], r'objectives\.maskd: unknown objective "maskd"; did you mean "masked"\?'),
        (
            ["objectives={masked: {patch: 0.5}}"],
            r'objectives\.masked\.patch: unknown key "patch"; did you mean "patches"',
        ),
        (["objectives={}"], r"objectives: expected at least one, for example \{supervised: \{\}\}"),
        ([MASKED, "targets=null", "train.monitor=metric"], "train.monitor: metric is a target's, and none is answered"),
        (
            [CONTRASTIVE, "targets=null", "columns.photo=null", "columns.voice=null"],
            'contrastive: compares columns of a row, and there is one only, "question"; expected two or more',
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(overrides, message, config, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(str(config), overrides, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_config_of_a_run_trains_it_again(every_run, masked_run):
    for run in (every_run, masked_run):
        again = type(run.config).model_validate(run.config)
        assert again == run.config
        assert list(run.config.settings()["objectives"]) == list(run.schema.settings()["objectives"])
    assert every_run.config.settings()["objectives"]["masked"]["pieces"] == 0.3
    assert masked_run.config.targets == {}


def test_one_column_alone_is_trained_to_answer(every_run):
    """Contrastive needs two, and a number's cell has nothing to hide."""
    alone = every_run.config.alone("photo")
    assert (list(alone.columns), list(alone.objectives)) == (["photo"], ["supervised"])


def test_check_looks_at_a_table_without_targets(config, tmp_path):
    done = command("mmkeras.check", config, MASKED, "targets=null", "-o", tmp_path / "bad.csv")
    assert done.returncode == 0 and "nothing to object to" in done.stdout
