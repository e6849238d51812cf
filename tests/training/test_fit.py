"""Several targets at once: what each loss weighs, fixed or learned; rows that lack one target train the others."""

import numpy as np
import pandas as pd
import pytest
import yaml
from fixtures_slow import few_of
from fixtures_tables import python

from mmkeras.components.objectives.supervised import loss_weight_of
from mmkeras.contracts.config import parse_config
from mmkeras.contracts.objective import Setting
from mmkeras.contracts.registry import find
from mmkeras.features.batches import Truth, batches
from mmkeras.features.fitted import encoded_targets, fit_schema, prepare_rows
from mmkeras.network.build import build_network
from mmkeras.table.manifest import Manifest
from mmkeras.table.plan import Plan
from mmkeras.train import train
from mmkeras.training.fit import _finite, compile_model
from mmkeras.training.run import Run

EPOCHS = 6
DISTRIBUTED = """
import json, sys
from mmkeras.train import train

run = train(sys.argv[1], [f"train.devices={sys.argv[3]}", "train.epochs=2"], run=sys.argv[2])
print(json.dumps({"history": run.history, "test": run.metrics["test"]}))
"""


def rows(count: int = 60) -> pd.DataFrame:
    """`clear` follows from x, `noisy` from nothing; every third row lacks `noisy`."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, count)
    table = pd.DataFrame({
        "x": x.round(3).astype(str),
        "clear": (5 * x + 2).round(3).astype(str),
        "noisy": rng.normal(0, 1, count).round(3).astype(str),
        "part": np.take(["train", "train", "valid", "train", "test"], np.arange(count) % 5),
    })  # fmt: skip
    table.loc[::3, "noisy"] = ""
    return table


def settings(**changes) -> dict:
    return {
        "manifest": "table.csv",
        "columns": {"x": {"type": "number"}},
        "fusion": {"type": "concat", "units": [8], "dropout": 0},
        "targets": {"clear": {"type": "regression"}, "noisy": {"type": "regression"}},
        "split": {"column": "part"},
        "train": {"epochs": EPOCHS, "batch_size": 9, "learning_rate": 0.03, "modality_dropout": 0} | changes,
    }


def write(folder, **changes) -> str:
    rows().to_csv(folder / "table.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(**changes), sort_keys=False))
    return str(folder / "config.yaml")


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("learned")
    return train(write(folder, loss_weights="learned"), run=folder / "run")


# Learned weights


def test_the_loss_is_weighed_as_kendalls_formula_says():
    """exp(-s) loss + s, which is least where exp(s) is the loss."""
    import tensorflow as tf

    head = find("head", "regression")().adapt(pd.Series(["1", "3"]))
    layer = type("Layer", (), {"log_variance": tf.Variable(0.7)})
    model = type("Model", (), {"get_layer": lambda self, name: layer})()
    setting = Setting({"x": None, "z": None}, find("fusion", "concat")(), {"a": head}, learns_loss_weights=True)
    terms = find("objective", "supervised")().terms(setting, model)
    loss = terms["a"].loss
    truth, said = tf.constant([[0.0], [1.0]]), tf.constant([[3.0], [1.0]])
    assert loss(truth, said).numpy() == pytest.approx([9 * np.exp(-0.7) + 0.7, 0.7])
    layer.log_variance.assign(np.log(4.5))  # the mean loss
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(truth, said))
    assert tape.gradient(value, layer.log_variance).numpy() == pytest.approx(0, abs=1e-6)
    own = terms["a_by_x"].loss  # what a column predicts alone has no weight to learn
    assert own(truth, said).numpy() == pytest.approx([9, 0])


def test_a_noisy_target_gets_the_lower_weight(learned):
    model = learned.network().model
    clear, noisy = (float(model.get_layer(loss_weight_of(name)).log_variance.numpy()) for name in ("clear", "noisy"))
    assert np.exp(-clear) > 1.05 * np.exp(-noisy)
    assert clear < -0.1


def test_learned_weights_are_kept_with_the_run(learned):
    """The validation loss of the best epoch, worked out again from the run's folder."""
    model, schema = learned.network().model, learned.schema
    is_valid = (learned.splits == "valid").to_numpy()
    expected = 0.0
    for target, head in schema.targets.items():
        truth = head.encode_target(learned.table().rows[target][is_valid])
        known = head.scorer.known(truth)
        log_variance = float(model.get_layer(loss_weight_of(target)).log_variance.numpy())
        squares = (truth - learned.predictions[f"valid {target}"])[known] ** 2
        expected += (np.exp(-log_variance) * squares + log_variance).sum() / len(truth)
    best = learned.metrics["training"]["best_epoch"] - 1
    assert learned.history["val_loss"][best] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_stopped_training_with_learned_weights_goes_on_exactly(learned, tmp_path, monkeypatch, capsys):
    from mmkeras.training.callbacks import Checkpoints

    save = Checkpoints._save

    def save_and_stop(self):
        save(self)
        if self.next_epoch == 3:
            raise KeyboardInterrupt

    config = write(tmp_path, loss_weights="learned")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, run=tmp_path / "run")
    again = train(config, run=tmp_path / "run")
    assert f"going on after epoch 3 of {EPOCHS}" in capsys.readouterr().out
    assert again.history == learned.history
    weights = zip(again.network().model.get_weights(), learned.network().model.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in weights)


# Fixed weights and missing targets


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A function: the weight of `noisy` -> (what Keras logs of all rows, its predictions, the targets)."""
    import keras

    folder, held = tmp_path_factory.mktemp("judged"), {}

    def judge(weight: float, table: pd.DataFrame):
        raw = settings()
        raw["targets"]["noisy"]["loss_weight"] = weight
        config, manifest = parse_config(raw), Manifest(table, folder, "rows")
        plan = Plan(config, manifest, table["part"])
        schema = fit_schema(plan)
        plan = plan.of_config(schema)
        features = prepare_rows(plan, folder)
        keras.utils.set_random_seed(0)
        network = build_network(schema.columns, schema.fusion, schema.targets)
        compile_model(network, schema.train, table["part"])
        truth = _finite(Truth(encoded_targets(plan), {}, list(schema.objectives.values()), schema.setting))
        model, everything = network.model, np.arange(len(table))
        logs = model.evaluate(batches(features, everything, len(table), truth), return_dict=True, verbose=0)
        return logs, model.predict(batches(features, everything, len(table)), verbose=0), truth.targets

    held[1] = judge(1, rows(14))
    held[3] = judge(3, rows(14))
    held["whole"] = judge(1, rows(14).assign(noisy=rows(15)["clear"]))
    return held


def test_a_fixed_weight_multiplies_its_targets_loss(judged):
    once, thrice = judged[1][0], judged[3][0]
    assert thrice["clear_loss"] == pytest.approx(once["clear_loss"])
    assert once["loss"] == pytest.approx(once["clear_loss"] + once["noisy_loss"], rel=1e-5)
    assert thrice["loss"] == pytest.approx(once["clear_loss"] + 3 * once["noisy_loss"], rel=1e-5)


def test_rows_without_a_target_do_not_count_in_its_figures(judged):
    logs, said, targets = judged[1]
    truth, weights = targets["noisy"]
    assert weights.tolist() == [0, 1, 1] * 4 + [0, 1]
    off = (truth - said["noisy"])[weights > 0]
    assert logs["noisy_skill"] == pytest.approx(1 - np.mean(off**2), rel=1e-4)
    assert logs["noisy_loss"] == pytest.approx(np.sum(off**2) / 14, rel=1e-4)


def test_rows_without_one_target_count_for_the_other(judged):
    (logs, said, targets), (whole, _, _) = judged[1], judged["whole"]
    truth, weights = targets["clear"]
    assert weights.tolist() == [1] * 14
    assert logs["clear_skill"] == pytest.approx(1 - np.mean((truth - said["clear"]) ** 2), rel=1e-4)
    assert whole["clear_skill"] == pytest.approx(logs["clear_skill"])
    assert whole["clear_loss"] == pytest.approx(logs["clear_loss"])


@pytest.mark.slow
def test_two_devices_give_two_targets_the_losses_of_one(tmp_path):
    import json

    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        config = write(folder, loss_weights="learned", batch_size=8)
        done = python(DISTRIBUTED, config, folder / "run", devices)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = found
    assert "MirroredStrategy: 2 logical CPU devices" in (tmp_path / "2" / "run" / "run.log").read_text()
    assert two["history"].keys() == one["history"].keys()
    for name, values in one["history"].items():
        assert two["history"][name] == pytest.approx(values, abs=1e-5), name
    for target, scores in one["test"].items():
        assert two["test"][target] == pytest.approx(scores, abs=1e-4)


# Tracing


@pytest.mark.parametrize("loss_weights", few_of(["fixed", "learned"], "learned"))
def test_a_training_step_is_traced_once(tmp_path, monkeypatch, loss_weights):
    import keras
    import tensorflow as tf

    steps = dict.fromkeys(("train_step", "test_step"), 0)
    for name in steps:

        @tf.autograph.experimental.do_not_convert
        def counted(self, batch, name=name, step=getattr(keras.Model, name)):
            steps[name] += 1
            return step(self, batch)

        monkeypatch.setattr(keras.Model, name, counted)
    train(write(tmp_path, loss_weights=loss_weights), ["train.epochs=2"], run=tmp_path / "run")
    assert steps == {"train_step": 1, "test_step": 1}
