"""A network of `keras.applications`, from scratch or with weights.

Reads: pixels, of three colours. Tokens: what the network sees at each place. Vector: their mean, or what is where.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import PositiveInt, field_validator

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts
from mmkeras.contracts.registry import nearest

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")

# What keras.applications holds, by its module; written out, since importing it takes seconds.
BACKBONES = {
    "convnext": ("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
    "densenet": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "efficientnet": tuple(f"EfficientNetB{i}" for i in range(8)),
    "efficientnet_v2": tuple(f"EfficientNetV2{i}" for i in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    "inception_resnet_v2": ("InceptionResNetV2",),
    "inception_v3": ("InceptionV3",),
    "mobilenet": ("MobileNet",),
    "mobilenet_v2": ("MobileNetV2",),
    "mobilenet_v3": ("MobileNetV3Small", "MobileNetV3Large"),
    "nasnet": ("NASNetMobile", "NASNetLarge"),
    "resnet": ("ResNet50", "ResNet101", "ResNet152"),
    "resnet_v2": ("ResNet50V2", "ResNet101V2", "ResNet152V2"),
    "vgg16": ("VGG16",),
    "vgg19": ("VGG19",),
    "xception": ("Xception",),
}
FAMILY = {name: family for family, names in BACKBONES.items() for name in names}
SMALLEST_PX = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}  # of any other: 32
COLORS = 3


class Applications(Encoder):
    """A network that others have designed for pictures, and may have trained."""

    reads: ClassVar = frozenset({"pixels"})

    network: str = tunable("MobileNetV2", description="a class of keras.applications")
    weights: str = tunable(
        "none", is_path=True, description="none, imagenet (fetched), or a file without the network's top"
    )
    frozen: bool | None = tunable(None, description="whether these weights stay; null: they do if they are given")
    unfrozen_blocks: int = tunable(0, ge=0, description="so many blocks at the top of a frozen network learn")
    places: PositiveInt | Literal["all"] = tunable(
        1, description="cells a side in which what is seen keeps its place; 1: the mean of all; all: as it is"
    )

    @field_validator("network")
    @classmethod
    def _network_is_known(cls, name: str) -> str:
        known = {spelling.lower(): spelling for spelling in FAMILY}
        plain = name.lower().replace("_", "").replace("-", "")
        if plain not in known:
            raise ValueError(f'unknown network "{name}"{nearest(plain, known)}')
        return known[plain]

    @property
    def is_frozen(self) -> bool:
        """Whether the weights stay, but for the unfrozen blocks."""
        return self.weights != "none" if self.frozen is None else self.frozen

    def check(self, shape: Sequence[int | None]) -> None:
        height_px, width_px, channels = shape
        least_px = SMALLEST_PX.get(FAMILY[self.network], 32)
        if min(height_px, width_px) < least_px:
            raise ValueError(
                f"{self.network} needs height_px and width_px of at least {least_px}, got {height_px} x {width_px}"
            )
        if channels != COLORS:
            raise ValueError(f"{self.network} reads pictures of {COLORS} colours, got {channels} channels")

    def needs(self, shape: Sequence[int | None]) -> dict[str, Any]:
        self._check_weights()
        return {}

    def encode(self, parts: Parts) -> Encoded:
        # pixels (B, H, W, 3) -> picture (B, h, w, D)
        self._check_weights()
        mean, deviation = (np.array(parts.fitted[name], np.float32) for name in ("mean", "deviation"))
        picture = layers.pictures.backbone_picture(
            parts.values * deviation + mean,  # in [0, 255] again, from which each network scales by itself
            FAMILY[self.network],
            self.network,
            weights=self.weights,
            frozen=self.is_frozen,
            unfrozen_blocks=self.unfrozen_blocks,
        )
        # picture -> tokens (B, h * w, D), vector (B, D')
        tokens, mask = layers.pictures.as_tokens(picture)
        return Encoded(tokens, mask, [self._vector(picture)])

    def trained(self) -> Self:
        return self.model_copy(update={"weights": "none", "frozen": self.is_frozen})

    def _check_weights(self) -> None:
        if self.weights not in ("none", "imagenet") and not Path(self.weights).is_file():
            raise ValueError(
                f'weights: no file "{self.weights}"; expected none, imagenet or the path of a file of Keras weights'
            )

    def _vector(self, picture: Any) -> Any:
        if self.places == "all":
            return keras.layers.Flatten()(picture)
        # These networks were trained with the mean alone.
        if self.places == 1:
            return keras.layers.GlobalAveragePooling2D()(picture)
        return layers.pictures.pooled_by_place(picture, self.places)
