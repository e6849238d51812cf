"""Pictures.

Cell: PNG, JPEG, GIF (first frame) or BMP bytes, empty means missing; with `files` above 1 a list of them.
Features: `pixels` (H, W, 3) float32, z-scored by channel; `size` (2,) float32, the logarithm of the original height and
width in pixels, z-scored; `present` (). With `files` above 1 `pixels` and `size` have an axis of files in front, and
`file_mask` (files,) is 1 where there is one.
Encoding: offered to an encoder are the pixels; the vector joins the encoder's, a thumbnail and the size. Several files
pass through one encoder: the vector is their mean or a learned weighted one, the tokens stand one file after another.
Attribution: (H, W), of each pixel of the resized picture; of several files (N, H, W).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mmkeras.base import html
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoder import Chain, Parts, PartsKind
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt
from mmkeras.features.cells import check_bytes
from mmkeras.network.files import FileModality

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

MOST_MEGAPIXELS = 170  # Pillow and TensorFlow refuse not many more
JPEGS = ("JPEG", "MPO")  # of several pictures, as telephones write it, the first
PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
THUMBNAIL_PX, HISTOGRAM_BINS = 24, 16
ADAPT_PIXELS = 1 << 18  # that scikit-learn takes at a time
LARGE_PIXELS = 50_000_000
ONE_COLOR = 3  # of 255: what JPEG makes of a single colour spreads so far


class Image(FileModality):
    """A picture of any size, shape and common format."""

    noun: ClassVar = "picture"
    endings: ClassVar = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
    content: ClassVar = "pixels"
    has_grad_cam: ClassVar = True
    offers: ClassVar = ("pixels",)
    standard_encoder: ClassVar = ("picture",)

    height_px: int = Field(48, ge=8, le=2048)
    width_px: int = Field(48, ge=8, le=2048)
    aspect: Literal["keep", "stretch"] = Field("stretch", description="keep: fill up around the picture")
    max_megapixels: float = Field(
        100, gt=0, le=MOST_MEGAPIXELS, description="pictures of more, by their header, are bad"
    )
    max_mb: float = Field(100, gt=0, description="larger files are bad")
    encoder: Chain = tunable((), description="what reads the picture")
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

    def read_file(self, path: str) -> bytes:
        """A picture's file as it is, if the graph decodes it, or as a PNG."""
        from PIL import Image as Pillow

        check_bytes(path, self.max_mb)
        content = Path(path).read_bytes()
        try:
            with Pillow.open(io.BytesIO(content)) as picture:
                fault = self._fault(picture)
                if not fault:
                    return content if _graph_decodes(picture, content) else _as_png(picture)
        except Exception as error:  # Pillow's readers raise anything where a file is damaged
            if content.startswith((ops.image.PNG, ops.image.JPEG)):
                return content  # the graph says what is wrong with it, to a client too
            fault = self._words(error)
        raise ValueError(fault)

    def measure_file(self, path: str, content: bytes) -> dict[str, float]:
        height_px, width_px = _size_px(content)
        return {"height_px": height_px, "width_px": width_px}

    def file_doubts(self, path: str, content: bytes) -> list[Doubt]:
        return _doubts(content)

    def learn(self, cells: Iterable[bytes | list[bytes]]) -> Self:
        """Learns the mean and deviation of each colour channel and of the logarithm of the sizes."""
        from sklearn.preprocessing import StandardScaler

        pixels, sizes = StandardScaler(), StandardScaler()
        at_once = max(1, ADAPT_PIXELS // (self.height_px * self.width_px))
        measure = ops.image.by_format(self._measure_good, self._measure_or_fault)
        for files in self.measured_files(cells, measure, at_once):
            pixels.partial_fit(np.concatenate([picture.reshape(-1, 3) for picture, _ in files]))
            sizes.partial_fit(np.stack([size for _, size in files]))
        return self.model_copy(
            update={
                "mean": tuple(pixels.mean_),
                "deviation": tuple(pixels.scale_),
                "size_mean": tuple(sizes.mean_),
                "size_deviation": tuple(sizes.scale_),
            }
        )

    @property
    def file_description(self) -> str:
        return "bytes of a PNG, JPEG, GIF (first frame) or BMP file of any size"

    @property
    def file_features(self) -> dict[str, tf.TensorSpec]:
        return {
            "pixels": tf.TensorSpec((self.height_px, self.width_px, 3), tf.float32),
            "size": tf.TensorSpec((2,), tf.float32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def examine_file(self, content: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        picture, size_px, fault = self._decode(content)
        zeros = ops.common.zeros(self.file_features)
        features = tf.cond(fault == "", lambda: self._present(picture, size_px), lambda: zeros)
        return features, ops.common.first_fault((tf.strings.length(content) > 0, fault))

    def sort_of_file(self, content: bytes) -> str | None:
        """The file's format, "" of a missing one; None of what is no picture."""
        return ops.image.image_format(content) if content else ""

    def examine_many(self, cells: tf.Tensor, sort: str) -> dict[str, tf.Tensor]:
        def examine(content: tf.Tensor) -> dict[str, tf.Tensor]:
            if not sort:
                return ops.common.zeros(self.file_features)
            return self._present(*self._decode_good(content, sort))

        # One after the other: several large pictures at once would take as many times the memory.
        return tf.map_fn(examine, cells, fn_output_signature=self.features, parallel_iterations=1)

    def augment_files(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = ops.common.split_seed(seed, 3)
        pixels = ops.image.move_image(
            features["pixels"], seeds[0], self.flip, self.shift, self.zoom, self.rotate_degrees
        )
        pixels = ops.image.erase_rectangle(ops.image.jitter_color(pixels, seeds[1], self.color), seeds[2], self.erase)
        return {**features, "pixels": pixels * features["present"][:, None, None, None]}

    def encode_files(self, inputs: dict[str, Any]) -> Encoding:
        # Pixels (B, H, W, 3), size (B, 2) -> tokens (B, T, D), vector (B, D')
        encoded = layers.chain.encode(self.encoder, self.parts(inputs, self.kind_read))
        vectors = [keras.layers.Dropout(self.dropout)(vector) for vector in encoded.vectors]
        vector = layers.joining.concatenate(vectors + self._simple_vectors(inputs["pixels"], inputs["size"]))
        return Encoding(vector, encoded.tokens, encoded.mask, inputs["present"])

    def parts(self, inputs: dict[str, Any], kind: PartsKind) -> Parts:
        return Parts(kind, inputs["pixels"], fitted={"mean": self.mean, "deviation": self.deviation})

    def parts_shape(self, kind: PartsKind) -> tuple[int | None, ...]:
        return (self.height_px, self.width_px, 3)

    def attribute(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        return parts[self.content].sum(axis=-1)

    def example_file(self, generator: np.random.Generator) -> bytes:
        from PIL import Image as Pillow

        return _as_png(Pillow.fromarray(generator.integers(0, 256, (23, 31, 3), dtype=np.uint8)))

    @property
    def attribution_shape(self) -> tuple[int, int]:
        return self.height_px, self.width_px

    def draw_file(self, content: bytes, values: np.ndarray | None = None, scale: float = 0.0) -> str:
        """The picture as it is seen upright, with its heat map where there are (H, W) values."""
        try:
            small, size_px = html.thumbnail(content)
        except ValueError as error:
            return html.note(str(error))
        values = None if values is None else html.seen(values, size_px, self.aspect)
        return html.picture(small, f"picture of {size_px[1]} x {size_px[0]} pixels", values, scale)

    def baseline(self) -> Any:
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(self._thumbnails_and_histograms)

    def _words(self, error: Exception) -> str:
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError

        if isinstance(error, UnidentifiedImageError):
            return "not a picture that Pillow knows"
        if isinstance(error, Pillow.DecompressionBombError):  # says how many pixels: more than max_megapixels may be
            return f"{re.search('[0-9]+', str(error))[0]} pixels, more than max_megapixels {self.max_megapixels:g}"
        return f"not a readable picture: {' '.join(str(error).split()) or type(error).__name__}"

    def _fault(self, picture: Any) -> str:
        """What the header of a picture tells against it."""
        width_px, height_px = picture.size
        if width_px * height_px > self.max_megapixels * 1e6:
            return f"{width_px} x {height_px} pixels, more than max_megapixels {self.max_megapixels:g}"
        return "EPS, a program that draws, no picture" if picture.format == "EPS" else ""

    @property
    def _enough_px(self) -> int:
        return max(self.height_px, self.width_px)

    def _decode(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(H, W, 3) uint8, its full (height, width) and what is wrong with a file."""
        too_large = ops.common.bytes_fault(content, self.max_mb)
        picture, size_px, fault = ops.image.decode_image(content, self.max_megapixels, self._enough_px)
        return picture, size_px, ops.common.first_fault((too_large != "", too_large), (True, fault))

    def _decode_good(self, content: tf.Tensor, image_format: str) -> tuple[tf.Tensor, tf.Tensor]:
        """(H, W, 3) uint8 and the full (height, width) of a good file; of a bad one it fails when the graph runs."""
        too_large = ops.common.bytes_fault(content, self.max_mb) != ""
        content = tf.where(too_large, "", content)
        return ops.image.decode_good_image(content, image_format, self.max_megapixels, self._enough_px)

    def _measure(self, picture: tf.Tensor, size_px: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The resized picture (h, w, 3) in [0, 255] and the logarithm of its full (height, width)."""
        resized = ops.image.resize_image(picture, self.height_px, self.width_px, self.aspect, size_px)
        return resized, tf.math.log(tf.cast(size_px, tf.float32))

    def _measure_or_fault(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What `_measure` says of a file, (0, 0, 3) and zeros of a bad one, and what is wrong with it."""
        picture, size_px, fault = self._decode(content)
        nothing = tf.zeros((0, 0, 3)), tf.zeros(2)
        return *tf.cond(fault == "", lambda: self._measure(picture, size_px), lambda: nothing), fault

    def _measure_good(self, content: tf.Tensor, image_format: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return *self._measure(*self._decode_good(content, image_format)), tf.constant("")

    def _present(self, picture: tf.Tensor, size_px: tf.Tensor) -> dict[str, tf.Tensor]:
        picture, size = self._measure(picture, size_px)
        pixels = ops.common.standardize(picture, self.mean, self.deviation)
        return {
            "pixels": ops.image.pad_image(pixels, self.height_px, self.width_px),
            "size": ops.common.standardize(size, self.size_mean, self.size_deviation),
            "present": tf.constant(1.0),
        }

    def _simple_vectors(self, pixels: Any, size: Any) -> list[Any]:
        """What little data tells already: where which colour is, how large the picture was."""
        vectors = []
        if self.thumbnail_px:
            pool_px = (max(1, self.height_px // self.thumbnail_px), max(1, self.width_px // self.thumbnail_px))
            thumbnail = keras.layers.Flatten()(keras.layers.AveragePooling2D(pool_px)(pixels))
            thumbnail = keras.layers.Dense(64, activation="relu")(thumbnail)
            vectors.append(keras.layers.Dropout(self.dropout)(thumbnail))
        if self.size_bins:
            size = keras.layers.Concatenate()([size, layers.time.SoftBins(self.size_bins)(size)])
            vectors.append(keras.layers.Dense(64, activation="relu")(size))
        return vectors

    def _thumbnails_and_histograms(self, cells: list[bytes] | list[list[bytes]]) -> np.ndarray:
        """(N, 24 * 24 * 3 + 3 * 16 + 2): small pictures, colour histograms, original height and width."""
        decode = ops.image.by_format(self._decode_good, lambda content: self._decode(content)[:2])

        def of_file(content: bytes) -> np.ndarray:
            picture, size_px = decode(content)
            return _thumbnail_and_histogram(picture.numpy(), size_px.numpy())

        return np.stack([
            np.mean([of_file(content) for content in self.contents(cell) or [b""]], axis=0) for cell in cells
        ])  # fmt: skip


def _size_px(content: bytes) -> tuple[int, int]:
    """(height, width) of a picture's bytes, upright."""
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(content)) as picture:
        return html.upright_size(picture)[::-1]


def _doubts(content: bytes) -> list[Doubt]:
    """What all of a picture's pixels tell; as in the graph, what is transparent shows white."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(content)) as picture:
            pixels = picture.width * picture.height
            extremes = _over_white(picture).getextrema()
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise ValueError(f"not a readable picture: {error}") from None
    doubts = []
    if all(high - low <= ONE_COLOR for low, high in extremes):
        color = ", ".join(str(low) for low, _ in extremes)
        doubts.append(Doubt("all of one colour", f"every pixel is ({color})", "replace it, or empty the cell"))
    if pixels > LARGE_PIXELS:
        what = f"{pixels / 1e6:.0f} megapixels, of which training sees a small copy"
        doubts.append(Doubt("far too large", what, "scale it down once, or each reading takes seconds"))
    return doubts


def _over_white(picture: Any) -> Any:
    from PIL import Image as Pillow

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Pillow.new("RGBA", picture.size, "white")
    return Pillow.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _graph_decodes(picture: Any, content: bytes) -> bool:
    """Whether the graph decodes the file as Pillow does; anything else becomes a PNG first."""
    from PIL import Image as Pillow

    if picture.format in JPEGS:
        # The graph turns a JPEG as its EXIF data say; Pillow looks elsewhere too.
        exif = Pillow.Exif()
        exif.load(picture.info.get("exif", b""))
        return html.orientation(exif) == html.orientation(picture.getexif()) and picture.mode in ("RGB", "L")
    # Pillow decodes a whole PNG to see whether EXIF data stand behind the picture.
    has_exif = any(mark in content for mark in PNG_EXIF)
    is_upright = not has_exif or html.orientation(picture.getexif()) == html.UPRIGHT
    return is_upright and picture.format == "PNG" and picture.mode in ("RGB", "RGBA", "L", "P", "LA")


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


def _thumbnail_and_histogram(picture: np.ndarray, size_px: np.ndarray) -> np.ndarray:
    """Of (H, W, 3); zeros of a picture that cannot be decoded."""
    if not picture.size:
        picture = np.zeros((1, 1, 3), np.uint8)
    thumbnail = tf.image.resize(picture, (THUMBNAIL_PX, THUMBNAIL_PX), antialias=True).numpy()
    histograms = [np.histogram(picture[..., c], HISTOGRAM_BINS, (0, 256), density=True)[0] for c in range(3)]
    return np.concatenate([thumbnail.ravel(), *histograms, size_px]).astype(np.float32)
