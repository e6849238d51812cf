"""Clips.

Cell: (frames,) bytes of JPEG, PNG, GIF or BMP files in the order of time; empty ones are left out, none is missing.
Features: `frames` (N, H, W, 3) float32, z-scored by colour channel, evenly spaced over the clip, zeros after its end;
`mask` (N,), 1 where there is a frame; `present` (). One frame that cannot be decoded makes the clip bad.
Encoding: offered to an encoder are the frames, with how each differs from the one before; what reads pictures reads
each frame, and what stands behind it reads their vectors as steps.

A table's cell names a clip in any format that PyAV reads, a folder of pictures (sorted by name, 2 before 10), or
several pictures in order, with `;` between them.
Attribution: (frames, H, W), of each pixel of each frame that is looked at.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mmkeras.base import html
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoder import Chain, Parts, PartsKind
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt, Modality
from mmkeras.features.cells import at_least_one, check_bytes, split_paths

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

ENDINGS = (".mp4", ".mov", ".m4v", ".avi", ".webm", ".mkv", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MOST_DRAWN, DRAWN_PX = 12, 96  # frames, and their longer side
THUMBNAIL_PX = 8
JPEG_QUALITY = 95
MARGIN = 2  # frames are kept so many times larger than the encoder needs them
SEEN_PX, SAME = 32, 4  # frames are compared so small; so far, of 255, JPEG changes what stands still
CUT_OFF = 0.9  # of the frames that a file promises; fewer are a file that was cut off


class Video(Modality):
    """A clip of any length, as a fixed number of frames."""

    takes_folders = True
    content: ClassVar = "frames"
    switches: ClassVar = frozenset({"mask", "present"})
    offers: ClassVar = ("frames",)
    standard_encoder: ClassVar = ("picture", "recurrent")

    frames: int = Field(12, ge=2, le=256, description="evenly spaced over the clip")
    height_px: int = Field(48, ge=8, le=1024)
    width_px: int = Field(48, ge=8, le=1024)
    aspect: Literal["keep", "stretch"] = Field("stretch", description="keep: fill up around the frame")
    max_megapixels: float = Field(100, gt=0, le=170, description="clips of larger frames, by their header, are bad")
    max_seconds: float = Field(3600, gt=0, description="clips that last longer are bad")
    max_mb: float = Field(4000, gt=0, description="larger files are bad")
    encoder: Chain = tunable((), description="what reads each frame, then what reads their vectors in order")
    differences: bool = tunable(True, description="show the encoder how each frame differs from the one before")
    dropout: float = tunable(0.3, ge=0, lt=1)
    flip: bool = tunable(False, description="training mirrors half of the clips: what moves left then moves right")
    shift: float = tunable(0.1, ge=0, lt=1, description="training moves clips by up to this fraction")
    zoom: float = tunable(0.1, ge=0, lt=1, description="training scales clips by up to this fraction")
    rotate_degrees: float = tunable(5.0, ge=0, le=180, description="training turns clips by up to this angle")
    color: float = tunable(0.1, ge=0, lt=1, description="training changes colours by up to this fraction")
    mask_frames: int = tunable(1, ge=0, description="training hides at most so many neighbouring frames")
    mean: tuple[float, ...] | None = fitted()
    deviation: tuple[float, ...] | None = fitted()

    @classmethod
    def encoder_defaults(cls, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        dropout = cls.number_of(settings, "dropout")
        return {
            # Without its place would be lost where something is, and with it how it moves.
            "picture": {"filters": (16, 32, 64), "places": 6, "units": 64, "dropout": dropout},
            "transformer": {"dropout": dropout},
        }

    def check(self) -> None:
        if importlib.util.find_spec("av") is None:
            raise ValueError('PyAV, which reads videos, is not installed: pip install "mmkeras[video]"')

    def paths(self, value: str) -> list[str]:
        return split_paths(value)

    def read(self, value: str) -> list[bytes]:
        self.check()
        paths = self.paths(value)
        if len(paths) == 1 and os.path.isdir(paths[0]):
            paths = _pictures_in(paths[0])
        elif len(paths) == 1 and not _is_picture(paths[0]):
            check_bytes(paths[0], self.max_mb)
            return [self._as_jpeg(frame) for frame in self._frames_of_clip(paths[0])]
        kept = min(len(paths), self.frames)
        return [self._read_picture(paths[_evenly(i, len(paths), kept)]) for i in range(kept)]

    def measure(self, value: str, cell: list[bytes]) -> dict[str, float]:
        paths = self.paths(value)
        if len(paths) == 1 and not os.path.isdir(paths[0]) and not _is_picture(paths[0]):
            return _clip_figures(paths[0])
        count = len(_pictures_in(paths[0])) if os.path.isdir(paths[0]) else len(paths)
        height_px, width_px = _small(cell[0])[0]
        return {"frames": count, "height_px": height_px, "width_px": width_px}

    def doubts(self, value: str, cell: list[bytes]) -> list[Doubt]:
        """Of the frames that are looked at."""
        frames = np.stack([_small(frame)[1] for frame in cell]).astype(int)
        if np.ptp(frames, axis=(0, 1, 2)).max() <= SAME:
            return [Doubt("all of one colour", f"all {len(cell)} frames", "replace the clip, or empty the cell")]
        if len(cell) > 1 and np.ptp(frames, axis=0).max() <= SAME:
            what = f"all {len(cell)} frames that are looked at are the same"
            return [Doubt("nothing moves", what, "replace the clip, or take it as one picture")]
        return []

    def learn(self, cells: Iterable[list[bytes]]) -> Self:
        """Learns the mean and deviation of each colour channel."""
        from sklearn.preprocessing import StandardScaler

        colors = StandardScaler()
        measure = ops.image.by_format(self._colors_of_good, self._colors)
        measured = ([measure(frame).numpy() for frame in cell if frame] for cell in cells)
        for frames in at_least_one(frames for frames in measured if frames and all(map(len, frames))):
            for pixels in frames:
                colors.partial_fit(pixels)
        return self.model_copy(update={"mean": tuple(colors.mean_), "deviation": tuple(colors.scale_)})

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((None,), tf.string)

    @property
    def cell_description(self) -> str:
        return (
            f"bytes of JPEG, PNG, GIF or BMP files, a clip's frames in order, {self.frames} of them are looked at; "
            "empty ones are left out; none: missing"
        )

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {
            "frames": tf.TensorSpec((self.frames, self.height_px, self.width_px, 3), tf.float32),
            "mask": tf.TensorSpec((self.frames,), tf.float32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def examine(self, cell: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        given = tf.boolean_mask(cell, tf.strings.length(cell) > 0)
        count = tf.size(given)
        kept = tf.minimum(count, self.frames)
        places = _evenly(tf.range(kept), count, tf.maximum(kept, 1))
        specs = (tf.TensorSpec(self.features["frames"].shape[1:], tf.float32), tf.TensorSpec((), tf.string))
        frames, faults = tf.map_fn(self._frame, tf.gather(given, places), fn_output_signature=specs)
        fault = ops.common.numbered_fault("frame", places + 1, count, faults)
        mask = ops.common.time_mask(tf.where(fault == "", kept, 0), self.frames)
        frames = ops.common.pad_time(frames, self.frames) * mask[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return {"frames": frames, "mask": mask, "present": tf.reduce_max(mask)}, fault

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """All frames move alike and change their colours alike: what moves in the clip stays what moved."""
        seeds = ops.common.split_seed(seed, 3)
        frames, height_px, width_px, _ = features["frames"].shape[1:]
        layered = tf.transpose(features["frames"], (0, 2, 3, 1, 4))  # (B, H, W, N, 3)
        moved = ops.image.move_image(
            tf.reshape(layered, (-1, height_px, width_px, frames * 3)),
            seeds[0],
            self.flip,
            self.shift,
            self.zoom,
            self.rotate_degrees,
        )
        wide = tf.reshape(moved, (-1, height_px, width_px * frames, 3))
        layered = tf.reshape(ops.image.jitter_color(wide, seeds[1], self.color), tf.shape(layered))
        mask = ops.common.drop_bands(features["mask"][..., tf.newaxis], seeds[2], steps=self.mask_frames, bands=0)[
            ..., 0
        ]
        # A clip of few frames is not hidden altogether.
        mask = tf.where(tf.reduce_max(mask, axis=1, keepdims=True) > 0, mask, features["mask"])
        changed = tf.transpose(layered, (0, 3, 1, 2, 4)) * mask[..., None, None, None]
        return {**features, "frames": tf.ensure_shape(changed, features["frames"].shape), "mask": mask}

    def parts(self, inputs: dict[str, Any], kind: PartsKind) -> Parts:
        # Inputs (B, N, H, W, 3) -> frames (B, N, H, W, 3 or 6)
        frames, mask = inputs["frames"], inputs["mask"]
        if self.differences:
            frames = layers.joining.concatenate([frames, _differences(frames, mask)])
        return Parts(kind, frames, mask, {"mean": self.mean, "deviation": self.deviation})

    def parts_shape(self, kind: PartsKind) -> tuple[int | None, ...]:
        return (self.frames, self.height_px, self.width_px, 6 if self.differences else 3)

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs -> steps (B, N, D) -> tokens (B, N, D'), vector (B, D'')
        encoded = layers.chain.encode(self.encoder, self.parts(inputs, self.kind_read))
        vector = keras.layers.Dropout(self.dropout)(encoded.vector)
        return Encoding(vector, encoded.tokens, encoded.mask, inputs["present"])

    def attribute(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        return parts[self.content].sum(axis=-1)

    def example(self, seed: int) -> list[bytes]:
        """Three frames of a few pixels."""
        from PIL import Image as Pillow

        pixels = np.random.default_rng(seed).integers(0, 256, (3, 12, 17, 3), dtype=np.uint8)
        return [_jpeg(Pillow.fromarray(frame)) for frame in pixels]

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        named = values.str.strip().str.lower().str.endswith(ENDINGS).mean()
        return f"{named:.0%} of the cells end as video files do" if named >= 0.5 else None

    def draw(
        self, cell: list[bytes], attribution: np.ndarray | None = None, method: str = "", scale: float | None = None
    ) -> str:
        given = [frame for frame in cell or [] if frame]
        if not given:
            return html.note("missing")
        kept = min(len(given), self.frames)
        frames = [given[_evenly(i, len(given), kept)] for i in range(kept)]
        if attribution is None:
            drawn = [self._draw_frame(frames[i], i) for i in _shown(kept)]
            return html.figure(html.side_by_side(drawn), html.remarks(_left_out(kept, len(given))))
        values = html.checked(attribution, (self.frames, self.height_px, self.width_px))[:kept]
        scale, sums = html.full_scale_of_many(values, scale), values.sum(axis=(1, 2))
        most = html.full_scale(sums)
        drawn = [self._draw_frame(frames[i], i, values[i], scale, sums[i], most) for i in _shown(kept, np.abs(sums))]
        legend = html.legend(attribution, scale, method, "bars: sums of the frames", _left_out(kept, len(given)))
        return html.figure(html.side_by_side(drawn), legend)

    def baseline(self) -> Any:
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(self._thumbnails)

    def _read_picture(self, path: str) -> bytes:
        from PIL import Image as Pillow
        from PIL import ImageOps

        name = os.path.basename(path)
        try:
            check_bytes(path, self.max_mb)
            content = Path(path).read_bytes()
            with Pillow.open(io.BytesIO(content)) as picture:
                self._check_size(*picture.size)
                picture.load()
                is_canonical = (picture.format, picture.mode) in {("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB")}
                upright = ImageOps.exif_transpose(picture)
                if is_canonical and not picture.getexif() and self._fitting_px(*picture.size) == picture.size:
                    return content
                return self._as_jpeg(upright)
        except Pillow.UnidentifiedImageError:
            raise ValueError(f"{name}: not a picture that Pillow knows") from None
        except Exception as error:  # Pillow's readers raise anything where a file is damaged
            raise ValueError(f"{name}: not a readable picture: {' '.join(str(error).split())}") from None

    def _frames_of_clip(self, path: str) -> list[Any]:
        """At most so many Pillow pictures, evenly spaced; the others are decoded but not kept."""
        with _opened(path) as (container, stream):
            self._check_size(stream.width, stream.height)
            if (container.duration or 0) > self.max_seconds * 1e6:
                seconds = container.duration // 1_000_000
                raise ValueError(f"{seconds} seconds, more than max_seconds {self.max_seconds:g}")
        count = _count_packets(path)
        frames, decoded = _decode(path, count, self.frames)
        if len(frames) < min(count, self.frames):  # packets that hold no frame of their own
            frames, _ = _decode(path, decoded, self.frames)
        if not frames:
            raise ValueError("holds no frame that can be decoded (a truncated or empty video)")
        return frames

    def _check_size(self, width_px: int, height_px: int) -> None:
        if width_px * height_px > self.max_megapixels * 1e6:
            raise ValueError(f"{width_px} x {height_px} pixels, more than max_megapixels {self.max_megapixels:g}")

    def _as_jpeg(self, picture: Any) -> bytes:
        from PIL import Image as Pillow

        if picture.has_transparency_data:
            white = Pillow.new("RGBA", picture.size, "white")
            picture = Pillow.alpha_composite(white, picture.convert("RGBA"))
        size_px = self._fitting_px(*picture.size)
        return _jpeg(picture.convert("RGB").resize(size_px, Pillow.Resampling.BILINEAR))

    def _fitting_px(self, width_px: int, height_px: int) -> tuple[int, int]:
        """A frame's own size, or a smaller one that still has more than the encoder needs."""
        scale = min(1.0, max(MARGIN * self.width_px / width_px, MARGIN * self.height_px / height_px))
        return max(1, round(width_px * scale)), max(1, round(height_px * scale))

    def _resized(self, picture: tf.Tensor) -> tf.Tensor:
        return ops.image.resize_image(picture, self.height_px, self.width_px, self.aspect)

    def _colors(self, content: tf.Tensor) -> tf.Tensor:
        """(pixels, 3) in [0, 255]; none where a frame cannot be decoded."""
        picture, _, fault = ops.image.decode_image(content, self.max_megapixels)
        return tf.cond(fault == "", lambda: tf.reshape(self._resized(picture), (-1, 3)), lambda: tf.zeros((0, 3)))

    def _colors_of_good(self, content: tf.Tensor, image_format: str) -> tf.Tensor:
        picture, _ = ops.image.decode_good_image(content, image_format, self.max_megapixels)
        return tf.reshape(self._resized(picture), (-1, 3))

    def _frame(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(H, W, 3), zeros where a frame cannot be decoded, and what is wrong with it."""
        picture, _, fault = ops.image.decode_image(content, self.max_megapixels)

        def standardized() -> tf.Tensor:
            pixels = ops.common.standardize(self._resized(picture), self.mean, self.deviation)
            return ops.image.pad_image(pixels, self.height_px, self.width_px)

        return tf.cond(fault == "", standardized, lambda: tf.zeros((self.height_px, self.width_px, 3))), fault

    def _draw_frame(
        self,
        frame: bytes,
        i: int,
        values: np.ndarray | None = None,
        scale: float = 0.0,
        total: float = 0.0,
        most: float = 0.0,
    ) -> str:
        """A frame with its number and, where there are attributions, its heat map and its share in a bar."""
        try:
            small, size_px = html.thumbnail(frame, DRAWN_PX)
        except ValueError as error:
            return html.note(str(error))
        values = None if values is None else html.seen(values, size_px, self.aspect)
        drawn = html.picture(small, f"frame {i + 1}", values, scale, DRAWN_PX)
        bar = "" if values is None else _bar(total, most)
        return f'<div style="line-height:1">{drawn}{bar}<span style="{html.MUTED}">{i + 1}</span></div>'

    def _thumbnails(self, cells: list[list[bytes]]) -> np.ndarray:
        """(N, 4 * 8 * 8 * 3): the mean and deviation of small frames and of their differences."""
        decode = ops.image.by_format(
            lambda content, image_format: ops.image.decode_good_image(content, image_format, self.max_megapixels)[0],
            lambda content: ops.image.decode_image(content, self.max_megapixels)[0],
        )
        return np.stack([_thumbnails(cell, decode) for cell in cells])


def _evenly(i: Any, count: Any, kept: Any) -> Any:
    """Which of `count` frames is the i-th of `kept` that are evenly spaced: the middle of each of so many parts."""
    return (2 * i + 1) * count // (2 * kept)


def _differences(frames: Any, mask: Any) -> Any:
    """(B, N, H, W, C): each frame less the one before; zeros for the first and where one of the two is not there."""
    both = keras.ops.reshape(mask[:, 1:] * mask[:, :-1], (-1, mask.shape[1] - 1, 1, 1, 1))
    changes = (frames[:, 1:] - frames[:, :-1]) * both
    return keras.ops.concatenate([keras.ops.zeros_like(frames[:, :1]), changes], axis=1)


# Drawing


def _shown(kept: int, sizes: np.ndarray | None = None) -> list[int]:
    """Which of so many frames are drawn: of each of a few equal parts the one of the largest size, or the middle."""
    parts = np.array_split(np.arange(kept), min(kept, MOST_DRAWN))
    return [int(part[len(part) // 2 if sizes is None else np.argmax(sizes[part])]) for part in parts]


def _left_out(kept: int, given: int) -> str:
    """What a html says of the frames that are not in it."""
    words = [f"{MOST_DRAWN} of the {kept} frames that the model sees" if kept > MOST_DRAWN else ""]
    words += [f"the model sees {kept} of {given} frames" if given > kept else ""]
    return ", ".join(filter(None, words))


def _bar(total: float, most: float) -> str:
    """A frame's sum as a bar in its colour."""
    share = abs(total) / most if most else 0.0
    style = f"width:{share:.0%};height:6px;background:{html.color(np.sign(total), 1.0, 1.0)}"
    words = html.signed(total)
    return (
        f'<div title="{words}" role="img" aria-label="{words}" style="margin:2px 0"><div style="{style}"></div></div>'
    )


# Reading


def _is_picture(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(ops.image.PNG)).startswith((ops.image.PNG, ops.image.JPEG))


def _pictures_in(folder: str) -> list[str]:
    names = [name for name in os.listdir(folder) if name.lower().endswith(PICTURE_ENDINGS) and name[0] != "."]
    if not names:
        raise ValueError(f"the folder holds no picture; expected files ending in {', '.join(PICTURE_ENDINGS)}")
    return [os.path.join(folder, name) for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[str | int]:
    """Sorts frame2 before frame10."""
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(re.split(r"(\d+)", name))]


def _clip_figures(path: str) -> dict[str, float]:
    """A clip's own length, rate and size, as its header has them; what it does not say is left out."""
    with _opened(path) as (container, stream):
        figures = {
            "seconds": (container.duration or 0) / 1e6,
            "rate_hz": float(stream.average_rate or 0),
            "height_px": stream.height,
            "width_px": stream.width,
        }
    return {name: figure for name, figure in figures.items() if figure}


def _small(frame: bytes) -> tuple[tuple[int, int], np.ndarray]:
    """A frame's (height, width) in pixels, and the frame as (32, 32, 3)."""
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(frame)) as picture:
        small = picture.convert("RGB").resize((SEEN_PX, SEEN_PX), Pillow.Resampling.BOX)
        return (picture.height, picture.width), np.asarray(small)


def _count_packets(path: str) -> int:
    """How many frames a clip seems to have; many files do not say so, and none has to be decoded to see it."""
    with _opened(path) as (container, stream):
        count = sum(1 for packet in container.demux(stream) if packet.size)
        if count < CUT_OFF * stream.frames:
            raise ValueError(f"holds {count} of {stream.frames} frames: the file is cut off")
        return count


def _decode(path: str, count: int, most: int) -> tuple[list[Any], int]:
    """The evenly spaced frames of so many, and how many frames were decoded until the last of them."""
    kept = min(count, most)
    places = {_evenly(i, count, kept) for i in range(kept)}
    frames, decoded = [], 0
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            if decoded in places:
                frames.append(frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True))
            decoded += 1
            if len(frames) == kept:
                break
    return frames, decoded


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """A clip and its video stream, with what goes wrong while it is read as a ValueError."""
    import av

    try:
        # A playlist in a file called .mp4 must not fetch anything from elsewhere.
        with av.open(path, options={"protocol_whitelist": "file"}, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise ValueError("holds no video, sound alone or nothing")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("holds a video of a kind that no decoder here knows")
            stream.thread_type = "AUTO"
            yield container, stream
    except av.error.FFmpegError as error:
        raise ValueError(f"not a readable video: {error.strerror}") from None


def _jpeg(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


# The baseline


def _thumbnails(cell: list[bytes], decode: Callable[[bytes], tf.Tensor]) -> np.ndarray:
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    pictures = [decode(frame) for frame in cell if frame]
    small = [tf.image.resize(picture, side, antialias=True) for picture in pictures if tf.size(picture)]
    small = np.array(small or [np.zeros((*side, 3))], np.float32)
    changes = np.diff(small, axis=0) if len(small) > 1 else np.zeros_like(small)
    parts = (small.mean(axis=0), small.std(axis=0), changes.mean(axis=0), changes.std(axis=0))
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)
