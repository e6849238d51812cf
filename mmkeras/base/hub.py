"""keras-hub, which is there if someone asked for it."""

from types import ModuleType


def hub() -> ModuleType:
    """The package.

    Raises:
        ValueError: It is not installed; says how to get it.
    """
    try:
        import keras_hub
    except ImportError:
        raise ValueError(
            'encoder "pretrained" needs keras-hub, which is not installed; pip install "mmkeras[pretrained]"'
        ) from None
    return keras_hub
