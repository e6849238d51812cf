"""Pictures.

Cell: PNG, JPEG, GIF (first frame) or BMP bytes; empty means missing.
Features: `pixels` (H, W, 3) float32, z-scored by channel; `size` (2,) float32, the logarithm of the original height and
width in pixels, z-scored; `present` ().
Encoding: blocks of Conv2D + MaxPooling2D; the vector joins the mean and the maximum over the last block, and the size.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from mmkeras.component import Encoding, Modality, at_least_one, fitted, tunable
from mmkeras.lazy import lazy

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.layers")
ops = lazy("mmkeras.ops")

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
UPRIGHT = 1  # the EXIF orientation that needs no turning
EXIF_ORIENTATION = 0x0112
THUMBNAIL_PX, HISTOGRAM_BINS = 24, 16


class Image(Modality):
    """A picture of any size, shape and common format."""

    height_px: int = Field(48, ge=8, le=2048)
    width_px: int = Field(48, ge=8, le=2048)
    aspect: Literal["keep", "stretch"] = Field("stretch", description="keep: fill up around the picture")
    filters: tuple[int, ...] = tunable(
        (24, 48, 96, 128), min_length=1, description="of each Conv2D + MaxPooling2D block"
    )
    kernel_px: int = tunable(3, ge=1)
    batch_normalization: bool = tunable(True)
    flatten: bool = tunable(False, description="the last picture as it is, in place of its mean and maximum")
    dropout: float = tunable(0.4, ge=0, lt=1)
    size_bins: int = tunable(32, ge=0, description="show the encoder the original height and width, in bins; 0: do not")
    thumbnail_px: int = tunable(8, ge=0, description="show the encoder a small copy too: colours in place; 0: do not")
    flip: bool = tunable(True, description="training mirrors half of the pictures")
    shift: float = tunable(0.15, ge=0, lt=1, description="training moves pictures by up to this fraction")
    zoom: float = tunable(0.2, ge=0, lt=1, description="training scales pictures by up to this fraction")
    rotate_degrees: float = tunable(10.0, ge=0, le=180, description="training turns pictures by up to this angle")
    color: float = tunable(0.2, ge=0, lt=1, description="training changes colours by up to this fraction")
    erase: float = tunable(0.5, ge=0, le=1, description="chance that training hides a rectangle")
    mean: tuple[float, ...] | None = fitted()
    deviation: tuple[float, ...] | None = fitted()
    size_mean: tuple[float, ...] | None = fitted()
    size_deviation: tuple[float, ...] | None = fitted()

    def read(self, value: str) -> bytes:
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError

        content = Path(value).read_bytes()
        try:
            with Pillow.open(io.BytesIO(content)) as picture:
                direct = self._graph_decodes(picture)
                if direct:
                    picture.draft("RGB", (1, 1))  # JPEG only: checks the whole file without the costly last step
                picture.load()
                return content if direct else _as_png(picture)
        except UnidentifiedImageError:
            raise ValueError("not a picture that Pillow knows") from None
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
            raise ValueError(f"not a readable picture: {error}") from None

    def adapt(self, cells: Iterable[bytes]) -> Image:
        """Learns the mean and deviation of each colour channel and of the logarithm of the sizes."""
        from sklearn.preprocessing import StandardScaler

        pixels, sizes = StandardScaler(), StandardScaler()
        measure = tf.function(self._measure, input_signature=[self.cell])
        for cell in at_least_one(cells):
            picture, size = measure(tf.constant(cell))
            pixels.partial_fit(picture.numpy().reshape(-1, 3))
            sizes.partial_fit(size.numpy()[np.newaxis])
        return self.model_copy(
            update={
                "mean": tuple(pixels.mean_),
                "deviation": tuple(pixels.scale_),
                "size_mean": tuple(sizes.mean_),
                "size_deviation": tuple(sizes.scale_),
            }
        )

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((), tf.string)

    @property
    def cell_description(self) -> str:
        return "bytes of a PNG, JPEG, GIF (first frame) or BMP file of any size; empty: missing"

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {
            "pixels": tf.TensorSpec((self.height_px, self.width_px, 3), tf.float32),
            "size": tf.TensorSpec((2,), tf.float32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.cond(ops.is_image(cell), lambda: self._present(cell), lambda: ops.zeros(self.features))

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = ops.split_seed(seed, 3)
        pixels = ops.move_image(features["pixels"], seeds[0], self.flip, self.shift, self.zoom, self.rotate_degrees)
        pixels = ops.erase_rectangle(ops.jitter_color(pixels, seeds[1], self.color), seeds[2], self.erase)
        return {**features, "pixels": pixels * features["present"]}

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs (B, H, W, 3) -> picture (B, h, w, D)
        picture = layers.convolve_picture(inputs["pixels"], self.filters, self.kernel_px, self.batch_normalization)
        # picture (B, h, w, D) -> tokens (B, h * w, D) -> vector (B, D')
        tokens = keras.layers.Reshape((-1, self.filters[-1]))(picture)
        mask = keras.ops.ones_like(tokens[..., 0])
        parts = [keras.layers.Flatten()(picture)] if self.flatten else _pool(picture)
        parts = [keras.layers.Dropout(self.dropout)(part) for part in parts] + self._simple_parts(inputs)
        vector = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
        return Encoding(vector, tokens, mask, inputs["present"])

    def example(self, seed: int) -> bytes:
        from PIL import Image as Pillow

        pixels = np.random.default_rng(seed).integers(0, 256, (23, 31, 3), dtype=np.uint8)
        return _as_png(Pillow.fromarray(pixels))

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        named = values.str.lower().str.endswith(ENDINGS).mean()
        return f"{named:.0%} of the cells end as picture files do" if named >= 0.5 else None

    def draw(self, cell: bytes, attribution: np.ndarray | None = None) -> str:
        return f'<img alt="" src="data:image;base64,{base64.b64encode(cell).decode()}">'

    def baseline(self) -> Any:
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(_thumbnails_and_histograms)

    def _graph_decodes(self, picture: Any) -> bool:
        """Whether TensorFlow decodes the file as Pillow does; anything else is turned into a PNG first."""
        upright = picture.getexif().get(EXIF_ORIENTATION, UPRIGHT) == UPRIGHT
        return upright and (picture.format, picture.mode) in {
            ("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("PNG", "P"), ("PNG", "LA"),
        }  # fmt: skip

    def _measure(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The resized picture (h, w, 3) in [0, 255] and the logarithm of its original (height, width)."""
        picture = ops.decode_image(content)
        size = tf.math.log(tf.cast(tf.shape(picture)[:2], tf.float32))
        return ops.resize_image(picture, self.height_px, self.width_px, self.aspect), size

    def _present(self, content: tf.Tensor) -> dict[str, tf.Tensor]:
        picture, size = self._measure(content)
        pixels = ops.standardize(picture, self.mean, self.deviation)
        return {
            "pixels": ops.pad_image(pixels, self.height_px, self.width_px),
            "size": ops.standardize(size, self.size_mean, self.size_deviation),
            "present": tf.constant(1.0),
        }

    def _simple_parts(self, inputs: dict[str, Any]) -> list[Any]:
        """What little data tells already: where which colour is, how large the picture was."""
        parts = []
        if self.thumbnail_px:
            pool_px = (max(1, self.height_px // self.thumbnail_px), max(1, self.width_px // self.thumbnail_px))
            thumbnail = keras.layers.Flatten()(keras.layers.AveragePooling2D(pool_px)(inputs["pixels"]))
            thumbnail = keras.layers.Dense(64, activation="relu")(thumbnail)
            parts.append(keras.layers.Dropout(self.dropout)(thumbnail))
        if self.size_bins:
            size = keras.layers.Concatenate()([inputs["size"], layers.SoftBins(self.size_bins)(inputs["size"])])
            parts.append(keras.layers.Dense(64, activation="relu")(size))
        return parts


def _pool(picture: Any) -> list[Any]:
    """(B, h, w, D) -> the mean and the maximum over the picture, (B, D) each."""
    return [keras.layers.GlobalAveragePooling2D()(picture), keras.layers.GlobalMaxPooling2D()(picture)]


def _as_png(picture: Any) -> bytes:
    """Any Pillow picture as an upright 8-bit PNG."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        # 16-bit grey: Pillow's own conversion to 8 bits cuts everything above 255 off.
        values = np.asarray(picture, np.float64)
        picture = Pillow.fromarray(np.clip(values / 257.0, 0, 255).astype(np.uint8))
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _thumbnails_and_histograms(cells: list[bytes]) -> np.ndarray:
    """(N, 24 * 24 * 3 + 3 * 16 + 2): small pictures, colour histograms, original height and width."""
    return np.stack([_thumbnail_and_histogram(cell) for cell in cells])


def _thumbnail_and_histogram(cell: bytes) -> np.ndarray:
    picture = ops.decode_image(tf.constant(cell)).numpy()
    thumbnail = tf.image.resize(picture, (THUMBNAIL_PX, THUMBNAIL_PX), antialias=True).numpy()
    histograms = [np.histogram(picture[..., c], HISTOGRAM_BINS, (0, 256), density=True)[0] for c in range(3)]
    return np.concatenate([thumbnail.ravel(), *histograms, picture.shape[:2]]).astype(np.float32)
