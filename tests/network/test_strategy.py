"""Several devices: the choice and its reason, and the same losses as on one device."""

import json

import pytest
import tensorflow as tf
from fixtures_tables import python

from mmkeras.network.strategy import choose_strategy

pytest_plugins = "fixtures_tables"

# Nothing random: what two devices draw cannot be what one draws. Nor gradients that are clipped: Keras clips each
# device's share before it adds them up.
EXACT = [
    "train.epochs=2", "train.modality_dropout=0", "fusion.dropout=0",
    "columns.question.dropout=0", "columns.question.token_dropout=0", "columns.question.part_dropout=0",
    "columns.photo.dropout=0", "columns.photo.encoder.normalization=none", "columns.photo.flip=false",
    "columns.photo.shift=0", "columns.photo.zoom=0", "columns.photo.rotate_degrees=0", "columns.photo.color=0",
    "columns.photo.erase=0", "columns.voice.dropout=0", "columns.voice.mask_bands=0", "columns.voice.mask_frames=0",
]  # fmt: skip
TRAIN = """
import json, sys
from mmkeras.train import train

run = train(sys.argv[1], sys.argv[3:], run=sys.argv[2])
print(json.dumps({"history": run.history, "test": run.metrics["test"]}))
"""


def trained(config, folder, devices: int, *overrides: str) -> tuple[dict, str]:
    """What a fresh process gives, and its log: logical devices can be made only before TensorFlow starts."""
    done = python(TRAIN, config, folder, *EXACT, f"train.devices={devices}", *overrides)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), (folder / "run.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [10, pytest.param(11, id="rounded down to an even number")])
def test_two_devices_give_the_losses_of_one(config, tmp_path, batch_size):
    one, log_of_one = trained(config, tmp_path / "one", 1, "train.batch_size=10")
    two, log_of_two = trained(config, tmp_path / "two", 2, f"train.batch_size={batch_size}")
    assert "one device: CPU" in log_of_one
    assert "MirroredStrategy: 2 logical CPU devices, as train.devices asks" in log_of_two
    for name in ("loss", "val_loss"):
        assert two["history"][name] == pytest.approx(one["history"][name], abs=1e-5)
    assert two["test"]["intent"] == pytest.approx(one["test"]["intent"], abs=1e-5)


def test_one_device_needs_no_strategy():
    strategy, why = choose_strategy(1)
    assert strategy.num_replicas_in_sync == 1
    assert why.startswith("one device: ")


def test_asking_too_late_is_an_error():
    tf.constant(0)  # TensorFlow has started
    with pytest.raises(
        ValueError, match=r"train\.devices: expected to make 3 logical CPU devices, .*start Python anew"
    ):
        choose_strategy(3)


def test_every_gpu_is_used_unless_fewer_are_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}{i}" for i in range(3)])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: asked.append(names) or "strategy")
    assert choose_strategy("auto") == ("strategy", "MirroredStrategy: 3 GPUs, each batch split among them")
    choose_strategy(2)
    assert asked == [["GPU:0", "GPU:1", "GPU:2"], ["GPU:0", "GPU:1"]]
    assert choose_strategy(1)[1] == "one device: GPU"
    with pytest.raises(ValueError, match=r"train\.devices: expected at most 3, the number of GPUs here, got 4"):
        choose_strategy(4)
