"""Which tf.distribute strategy a training uses, and why."""

from __future__ import annotations

from typing import Literal

from mmkeras.base.lazy import lazy

tf = lazy("tensorflow")


def choose_strategy(devices: int | Literal["auto"]) -> tuple[tf.distribute.Strategy, str]:
    """The strategy and a line that says why.

    Call it before anything else has used TensorFlow: logical devices can be made only then.

    Args:
        devices: "auto": all GPUs; a number: so many GPUs or, where there is none, logical CPU devices.

    Raises:
        ValueError: More GPUs than there are, or TensorFlow has started already.
    """
    gpus = tf.config.list_physical_devices("GPU")
    wanted = len(gpus) if devices == "auto" else devices
    if gpus and wanted > len(gpus):
        raise ValueError(f"train.devices: expected at most {len(gpus)}, the number of GPUs here, got {wanted}")
    if wanted < 2:
        return tf.distribute.get_strategy(), f"one device: {'GPU' if gpus else 'CPU'}"
    if gpus:
        names = [f"GPU:{i}" for i in range(wanted)]
        return tf.distribute.MirroredStrategy(names), f"MirroredStrategy: {wanted} GPUs, each batch split among them"
    _split_cpu(wanted)
    names = [f"CPU:{i}" for i in range(wanted)]
    return tf.distribute.MirroredStrategy(
        names
    ), f"MirroredStrategy: {wanted} logical CPU devices, as train.devices asks"


def _split_cpu(devices: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) == devices:
            return
        raise ValueError(
            f"train.devices: expected to make {devices} logical CPU devices, but TensorFlow has started already in "
            "this process; start Python anew and train first"
        ) from None
