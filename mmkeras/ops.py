"""Pure TensorFlow functions on one example: decode, resize, resample, log-mel, pad; on a batch: augment.

Training maps them over tf.data and the export runs the same functions, so nothing here reads Python state or draws
random numbers that a `seed` does not fix.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import struct
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmkeras.lazy import lazy

tf = lazy("tensorflow")

if TYPE_CHECKING:
    Decode = Callable[[tf.Tensor], tf.Tensor]
    Run = Callable[[tf.Tensor, tf.Tensor, Decode, int], tf.Tensor]  # a decoder: `_attempt`, `_decode_or_fail`

PNG, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM"
IMAGE_FORMATS = {"PNG": PNG, "JPEG": JPEG, "GIF": GIF, "BMP": BMP}
PNG_END, JPEG_END, GIF_END = b"IEND\xaeB`\x82", b"\xff\xd9", b";"
PNG_COLOR_AT, PNG_ALPHA = 25, 4  # the octet that says what a pixel holds, and its bit for transparency
GIF_FRAME, GIF_EXTENSION = 0x2C, 0x21
GIF_BLOCKS = 2**16  # more of them in one frame (16 MB) are an attack
GIF_NOWHERE = 2**62
BMP_MASKS = 3  # the compression that is none: the channels' order is written out
WHITE = 255.0
REDUCED, JPEG_RATIOS = 4, (1, 2, 4)  # an eighth is hardly faster and differs more
JPEG_APP1, JPEG_SCAN, JPEG_SEGMENT = 0xFFE1, 0xFFDA, 0xFF02  # the kinds that hold EXIF data, pixels, anything
JPEG_SEGMENTS = 64  # more of them before the pixels are an attack
EXIF, EXIF_WITHIN = b"Exif\0\0", 1 << 18
EXIF_ORIENTATION, EXIF_ORIENTATIONS, EXIF_TRANSPOSED = 0x0112, 8, 5  # of those from the last on the sides are swapped
TIFF_ENTRY = 12  # octets
LOGARITHMS_AT_ONCE = 64  # four of the widest registers
WAV_PCM, WAV_EXTENSIBLE = 1, 0xFFFE
WAV_CHUNKS = 64  # more of them before the samples are an attack
WAV_RATES_HZ = (1000, 384_000)  # outside, resampling costs more memory than a clip is worth
WAV_CHANNELS = 64
WAV_NAMES = {name: int.from_bytes(name, "little") for name in (b"WAVE", b"fmt ", b"data")}
WAV_OPEN_END = 0x7FFF0000  # octets; files that were written to a pipe claim so many or more
CUT_OFF = 0.99  # of what a file promises; one that holds less was cut off


# Pictures


def decode_image(
    content: tf.Tensor, max_megapixels: float = 100, enough_px: int | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Bytes of a PNG, JPEG, GIF (first frame) or BMP file -> (H, W, 3) uint8, upright, transparency over white.

    A JPEG is turned as its EXIF data say. Where sides of `enough_px` are enough, it is decoded at a half or a quarter
    of its size, which takes a quarter of the time, if its sides are `REDUCED` times as long even then.

    Bytes that are no such file, that are cut off or damaged, or that hold more than so many pixels by their header give
    no pixels and a fault.

    Returns:
        The picture, its full (height, width), (2,) int32, and () string, what is wrong with it, "" if nothing is.
    """
    given = content, max_megapixels * 1e6, _attempt
    return tf.case(
        [(_begins(content, magic), functools.partial(_decoder(name, enough_px), *given))
         for name, magic in IMAGE_FORMATS.items()],
        default=lambda: (_nothing(3), tf.zeros(2, tf.int32), tf.constant("not a PNG, JPEG, GIF or BMP file")),
    )  # fmt: skip


def decode_good_image(
    content: tf.Tensor, image_format: str, max_megapixels: float, enough_px: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The picture and full size that `decode_image` gives of a file of one format, without its care for bad ones.

    It is traced in a third of the time and runs in a half.

    Raises:
        tf.errors.OpError: The file is bad, when the graph runs; `decode_image` says why.
    """
    picture, size_px, _ = _decoder(image_format, enough_px)(content, max_megapixels * 1e6, _decode_or_fail)
    return picture, size_px


def _decoder(image_format: str, enough_px: int | None) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    jpeg = functools.partial(_decode_jpeg, enough_px=enough_px)
    return {"PNG": _decode_png, "JPEG": jpeg, "GIF": _decode_gif, "BMP": _decode_bmp}[image_format]


def image_format(content: bytes) -> str | None:
    """Which of the formats a file begins as."""
    return next((name for name, magic in IMAGE_FORMATS.items() if content.startswith(magic)), None)


def resize_image(
    image: tf.Tensor,
    height_px: int,
    width_px: int,
    aspect: Literal["keep", "stretch"],
    full_px: tf.Tensor | None = None,
) -> tf.Tensor:
    """(H, W, 3) -> at most (height_px, width_px, 3), bilinear, antialiased; `keep` leaves the proportions alone.

    They are those of `full_px`, (2,) int32, if the picture was decoded smaller than it is.
    """
    if aspect == "stretch":
        return tf.image.resize(image, (height_px, width_px), antialias=True)
    size_px = tf.cast(tf.shape(image)[:2] if full_px is None else full_px, tf.float32)
    scale = tf.reduce_min((height_px, width_px) / size_px)
    fitted_px = tf.clip_by_value(tf.cast(tf.round(size_px * scale), tf.int32), 1, (height_px, width_px))
    return tf.image.resize(image, fitted_px, antialias=True)


def pad_image(image: tf.Tensor, height_px: int, width_px: int) -> tf.Tensor:
    """(h, w, 3) -> (height_px, width_px, 3): zeros around a centred picture."""
    shape = tf.shape(image)
    top, left = (height_px - shape[0]) // 2, (width_px - shape[1]) // 2
    return tf.ensure_shape(
        tf.image.pad_to_bounding_box(image, top, left, height_px, width_px), (height_px, width_px, 3)
    )


def _begins(content: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(content, 0, len(magic)), magic)


def _holds(content: tf.Tensor, part: bytes) -> tf.Tensor:
    return tf.size(tf.strings.split(content, part)) > 1


def _nothing(channels: int) -> tf.Tensor:
    return tf.zeros((0, 0, channels), tf.uint8)


def _caught(dataset: tf.data.Dataset, otherwise: tf.Tensor) -> tf.Tensor:
    """The only element of a dataset, `otherwise` where it has none or making it fails.

    TensorFlow catches no error of a decoder, which would fail its whole batch, but a dataset does, in an exported
    graph too. It costs 0.1 ms, if the functions that it maps are as small as they can be.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    found = dataset.ignore_errors(log_warning=False).concatenate(tf.data.Dataset.from_tensors(otherwise))
    return found.take(1).with_options(options).get_single_element()


def _attempt(content: tf.Tensor, fits: tf.Tensor, decode: Decode, channels: int) -> tf.Tensor:
    """(H, W, channels) uint8; (0, 0, channels) where it does not fit or the decoder refuses."""
    dataset = tf.data.Dataset.from_tensors(content).take(tf.cast(fits, tf.int64))
    return tf.ensure_shape(_caught(dataset.map(decode), _nothing(channels)), (None, None, channels))


def _decode_or_fail(content: tf.Tensor, fits: tf.Tensor, decode: Decode, channels: int) -> tf.Tensor:
    """The same, but that what the decoder refuses fails; it refuses an empty string."""
    return tf.ensure_shape(decode(tf.where(fits, content, "")), (None, None, channels))


def _decode_png(content: tf.Tensor, max_pixels: float, run: Run) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    header = _first_octets(content, 33)
    width_px, height_px = (_number(header, at, 4, big=True) for at in (16, 20))
    fits = _fits(width_px, height_px, max_pixels)
    # Transparency if there is some: TensorFlow 2.21 gives pictures of 1, 2 or 4 bits an alpha of 1, 3 or 15 otherwise.
    has_alpha = tf.equal(_number(header, PNG_COLOR_AT, 1) & PNG_ALPHA, PNG_ALPHA)
    is_clear = tf.cond(has_alpha, lambda: True, lambda: _holds(content, b"tRNS"))
    pixels = tf.cond(
        is_clear,
        lambda: _over_white(run(content, fits, lambda png: tf.io.decode_png(png, channels=4), 4)),
        lambda: run(content, fits, lambda png: tf.io.decode_png(png, channels=3), 3),
    )
    return pixels, tf.shape(pixels)[:2], _fault(pixels, lambda: first_fault(
        _too_many_pixels(width_px, height_px, max_pixels),
        (tf.logical_not(_holds(content, PNG_END)), "truncated PNG"),
        (True, "damaged PNG"),
    ))  # fmt: skip


def _decode_jpeg(
    content: tf.Tensor, max_pixels: float, run: Run, enough_px: int | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    def size_px(jpeg: tf.Tensor) -> tf.Tensor:
        return tf.io.extract_jpeg_shape(jpeg)[:2]

    def decode(jpeg: tf.Tensor) -> tf.Tensor:
        height_px, width_px = tf.unstack(tf.cast(size_px(jpeg), tf.int64))
        jpeg = tf.where(_fits(width_px, height_px, max_pixels), jpeg, "")
        if not enough_px:
            return _decode_jpeg_at(jpeg, 1)
        spare = tf.minimum(height_px, width_px) // (enough_px * REDUCED)
        sizes = [functools.partial(_decode_jpeg_at, jpeg, ratio) for ratio in JPEG_RATIOS]
        return tf.switch_case(tf.reduce_sum(tf.cast(spare >= JPEG_RATIOS[1:], tf.int32)), sizes)

    # libjpeg writes a line to stderr for most files that are cut off: it does not see those that lack their end.
    is_whole = _holds(content, JPEG_END)
    pixels = run(content, is_whole, decode, 3)
    orientation, full_px = tf.cond(
        tf.size(pixels) > 0,
        lambda: (_exif_orientation(content), size_px(content)),
        lambda: (tf.constant(1, tf.int64), tf.zeros(2, tf.int32)),
    )

    def fault() -> tf.Tensor:
        whole = tf.data.Dataset.from_tensors(content).take(tf.cast(is_whole, tf.int64))
        shape = _caught(whole.map(tf.io.extract_jpeg_shape), tf.zeros(3, tf.int32))
        height_px, width_px, _ = tf.unstack(tf.cast(shape, tf.int64))
        return first_fault(
            _too_many_pixels(width_px, height_px, max_pixels),
            (tf.logical_not(is_whole), "truncated JPEG"),
            (True, "damaged JPEG"),
        )

    full_px = tf.where(orientation >= EXIF_TRANSPOSED, full_px[::-1], full_px)
    return _upright(pixels, orientation), full_px, _fault(pixels, fault)


def _decode_jpeg_at(jpeg: tf.Tensor, ratio: int) -> tf.Tensor:
    # `try_recover_truncated=True` never returns where a file ends between two of its segments (TensorFlow 2.21).
    return tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _exif_orientation(content: tf.Tensor) -> tf.Tensor:
    """() int64, 1 to 8: how a JPEG file says that its picture is turned; 1, upright, where it says nothing.

    References:
        JEITA CP-3451, Exchangeable image file format for digital still cameras: Exif 2.2, 2002, sections 4.5 and 4.6.
    """
    head = tf.strings.substr(content, 0, EXIF_WITHIN)
    upright = tf.constant(1, tf.int64)
    return tf.cond(_holds(head, EXIF), lambda: _orientation_in(tf.io.decode_raw(head, tf.uint8)), lambda: upright)


def _orientation_in(octets: tf.Tensor) -> tf.Tensor:
    length, zero = tf.size(octets, tf.int64), tf.constant(0, tf.int64)
    octets = tf.cast(tf.pad(octets, [[0, TIFF_ENTRY]]), tf.int64)  # what lies beyond the end is zeros

    def look_at_segment(position: tf.Tensor, tiff: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = octets[position : position + 10]
        kind, size = tf.unstack(tf.reduce_sum(tf.reshape(head[:4], (2, 2)) * (256, 1), axis=1))
        is_exif = (kind == JPEG_APP1) & tf.reduce_all(head[4:] == tuple(EXIF))
        is_segment = (kind >= JPEG_SEGMENT) & (kind != JPEG_SCAN)
        return tf.where(is_segment, position + 2 + size, length), tf.where(is_exif, position + 10, tiff)

    _, tiff = tf.while_loop(
        lambda position, tiff: (position + 12 <= length) & (tiff == 0),
        look_at_segment,
        (tf.constant(2, tf.int64), zero),
        maximum_iterations=JPEG_SEGMENTS,
    )
    # Two octets say which of a number's comes first, two are always the same, four where the first directory begins.
    head = octets[tiff : tiff + 8]
    is_big = tf.reduce_all(head[:2] == tuple(b"MM"))
    is_known = is_big | tf.reduce_all(head[:2] == tuple(b"II"))
    octets = octets[tiff + tf.reduce_sum(tf.where(is_big, head[4:], head[:3:-1]) * (1 << 24, 1 << 16, 1 << 8, 1)) :]
    weights = tf.where(is_big, tf.constant((256, 1), tf.int64), tf.constant((1, 256), tf.int64))
    # There two say how many entries follow, of twelve octets each: two are a tag, and two of the others what it says.
    count = tf.reduce_sum(tf.concat([octets[:2], (0, 0)], axis=0)[:2] * weights)
    octets = octets[2:][: TIFF_ENTRY * count]
    entries = tf.reshape(octets[: tf.size(octets) // TIFF_ENTRY * TIFF_ENTRY], (-1, TIFF_ENTRY))
    tags, values = (tf.reduce_sum(entries[:, at : at + 2] * weights, axis=1) for at in (0, 8))
    found = tf.reduce_max(tf.where(is_known & (tags == EXIF_ORIENTATION), values, 0))
    return tf.where((found >= 1) & (found <= EXIF_ORIENTATIONS), found, 1)


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) as it lies in a file of an EXIF orientation, () int64 -> as it is looked at."""

    def turned() -> tf.Tensor:
        is_transposed = orientation >= EXIF_TRANSPOSED
        picture = tf.cond(is_transposed, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
        for axis, orientations in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
            is_mirrored = tf.reduce_any(orientation == orientations)
            picture = tf.cond(is_mirrored, lambda at=axis, it=picture: tf.reverse(it, [at]), lambda it=picture: it)
        return picture

    return tf.cond(orientation == 1, lambda: pixels, turned)


def _decode_gif(content: tf.Tensor, max_pixels: float, run: Run) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    end, width_px, height_px = _gif_frame(tf.io.decode_raw(content, tf.uint8))
    # An end of our own: the other frames, which may be many and large, are not looked at.
    frame = tf.strings.substr(content, tf.constant(0, tf.int64), end) + GIF_END
    fits = _fits(width_px, height_px, max_pixels) & (end > 0)
    pixels = run(frame, fits, lambda gif: tf.io.decode_gif(gif)[0], 3)
    return pixels, tf.shape(pixels)[:2], _fault(pixels, lambda: first_fault(
        _too_many_pixels(width_px, height_px, max_pixels), (end == 0, "truncated GIF"), (True, "damaged GIF")
    ))  # fmt: skip


def _gif_frame(octets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """() int64 each: where the first frame ends (0 where the file ends before), its width and height.

    References:
        CompuServe, Graphics Interchange Format, Version 89a, 1990, sections 18 to 24.
    """
    zero = tf.constant(0, tf.int64)

    def colors(flags: tf.Tensor) -> tf.Tensor:
        """How many octets a table of colours takes."""
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2 * tf.ones_like(flags), flags % 8), 0)

    def look_at_block(
        position: tf.Tensor, is_inside: tf.Tensor, frame: tf.Tensor, end: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        first = _number(octets, position, 1)
        is_frame = tf.logical_not(is_inside) & (first == GIF_FRAME)
        is_known = is_inside | is_frame | (first == GIF_EXTENSION)
        skipped = tf.where(is_frame, 11 + colors(_number(octets, position + 9, 1)), 2)
        after = position + tf.where(is_inside, 1 + first, skipped)
        frame = tf.where(is_frame, position, frame)
        is_last = is_inside & (first == 0)
        is_whole = (after <= tf.size(octets, tf.int64)) & (frame > 0) & is_last
        return tf.where(is_known, after, GIF_NOWHERE), tf.logical_not(is_last), frame, tf.where(is_whole, after, end)

    _, _, frame, end = tf.while_loop(
        lambda position, is_inside, frame, end: (position < tf.size(octets, tf.int64)) & (end == 0),
        look_at_block,
        (13 + colors(_number(octets, 10, 1)), tf.constant(False), zero, zero),
        maximum_iterations=GIF_BLOCKS,
    )
    width_px, height_px = (tf.where(frame > 0, _number(octets, frame + at, 2), 0) for at in (5, 7))
    return end, width_px, height_px


def _decode_bmp(content: tf.Tensor, max_pixels: float, run: Run) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    header = _first_octets(content, 34)
    start, width_px, height_px, bits, compression = (
        _number(header, at, size) for at, size in ((10, 4), (18, 4), (22, 4), (28, 2), (30, 4))
    )
    height_px = tf.minimum(height_px, 2**32 - height_px)  # negative where the rows go downwards
    octets = start + (width_px * bits + 31) // 32 * 4 * height_px
    is_whole = (octets <= _length(content)) & (tf.size(header) == 34)
    is_plain = ((bits == 24) | (bits == 32)) & ((compression == 0) | (compression == BMP_MASKS))
    fits = _fits(width_px, height_px, max_pixels) & is_plain & is_whole
    # TensorFlow refuses what follows the picture.
    plain = tf.strings.substr(content, tf.constant(0, tf.int64), tf.where(fits, octets, 0))
    pixels = run(plain, fits, lambda bmp: tf.io.decode_bmp(bmp)[..., :3], 3)
    return pixels, tf.shape(pixels)[:2], _fault(pixels, lambda: first_fault(
        (tf.size(header) < 34, "truncated BMP"),
        _too_many_pixels(width_px, height_px, max_pixels),
        (tf.logical_not(is_plain), tf.strings.join(["BMP of ", tf.strings.as_string(bits), " bits a pixel or "
                                                    "compressed, expected 24 or 32"])),
        (tf.logical_not(is_whole), "truncated BMP"),
        (True, "damaged BMP"),
    ))  # fmt: skip


def _fits(width_px: tf.Tensor, height_px: tf.Tensor, max_pixels: float) -> tf.Tensor:
    pixels = tf.cast(width_px, tf.float64) * tf.cast(height_px, tf.float64)
    return (width_px > 0) & (height_px > 0) & (pixels <= max_pixels)


def _too_many_pixels(width_px: tf.Tensor, height_px: tf.Tensor, max_pixels: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether a header says so, and the words for it."""
    is_so = (width_px > 0) & (height_px > 0) & tf.logical_not(_fits(width_px, height_px, max_pixels))
    sides = tf.strings.as_string(width_px), " x ", tf.strings.as_string(height_px)
    return is_so, tf.strings.join([*sides, f" pixels, more than max_megapixels {max_pixels / 1e6:g}"])


def _fault(pixels: tf.Tensor, fault: Callable[[], tf.Tensor]) -> tf.Tensor:
    return tf.cond(tf.size(pixels) > 0, lambda: tf.constant(""), fault)


def _over_white(rgba: tf.Tensor) -> tf.Tensor:
    """(H, W, 4) uint8 -> (H, W, 3) uint8."""
    # All four channels until the end: to take three of them from floats costs more than the rest. A half is added so
    # that the cast rounds: 255 is odd, so that no sum lies between two numbers.
    rgba = tf.cast(rgba, tf.float32)
    alpha = rgba[..., 3:] / 255.0
    return tf.cast(rgba * alpha + (WHITE + 0.5 - WHITE * alpha), tf.uint8)[..., :3]


def move_image(
    images: tf.Tensor, seed: tf.Tensor, flip: bool, shift: float, zoom: float, rotate_degrees: float
) -> tf.Tensor:
    """(B, H, W, C), each mirrored (one in two), moved, scaled and turned at random; its edges go on outside.

    Args:
        images: float32, any range.
        seed: (2,) integers.
        flip: Whether to mirror left and right.
        shift: Largest move, as a fraction of the height and the width.
        zoom: Largest change of scale, as a fraction.
        rotate_degrees: Largest turn, either way.
    """
    rows, (height_px, width_px) = tf.shape(images)[0], images.shape[1:3]
    seeds = split_seed(seed, 4)
    mirror = tf.where(tf.random.stateless_uniform([rows], seeds[0]) < (0.5 if flip else 0.0), -1.0, 1.0)
    scale = 1.0 + tf.random.stateless_uniform([rows], seeds[1], -zoom, zoom)
    down, right = tf.unstack(tf.random.stateless_uniform([2, rows], seeds[2], -shift, shift))
    turn = tf.random.stateless_uniform([rows], seeds[3], -rotate_degrees, rotate_degrees) * math.pi / 180.0
    a, b = mirror * scale * tf.cos(turn), -scale * tf.sin(turn)
    d, e = mirror * scale * tf.sin(turn), scale * tf.cos(turn)
    # Output (x, y) shows input (a x + b y + c, d x + e y + f): turned and scaled about the middle, then moved.
    middle_x, middle_y = (width_px - 1) / 2.0, (height_px - 1) / 2.0
    c = middle_x - a * middle_x - b * middle_y + right * width_px
    f = middle_y - d * middle_x - e * middle_y + down * height_px
    zero = tf.zeros_like(a)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=(height_px, width_px),
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )
    return tf.ensure_shape(moved, images.shape)


def jitter_color(images: tf.Tensor, seed: tf.Tensor, amount: float) -> tf.Tensor:
    """(B, H, W, 3), z-scored; saturation, contrast of each channel and brightness change by up to a fraction."""
    rows, seeds = tf.shape(images)[0], split_seed(seed, 3)
    saturation = 1.0 + tf.random.stateless_uniform([rows, 1, 1], seeds[0], -2 * amount, 2 * amount)
    contrast = 1.0 + tf.random.stateless_uniform([rows, 1, 3], seeds[1], -amount, amount)
    brightness = tf.random.stateless_uniform([rows, 1, 1], seeds[2], -amount, amount)
    # Of each pixel p: (grey + (p - grey) * saturation) * contrast + brightness, where grey is the channels' mean. One
    # matrix product for each row takes a fifth of the time of so many operations with factors that repeat.
    mixed = (saturation * tf.eye(3) + (1.0 - saturation) / 3.0) * contrast
    pixels = tf.reshape(images, (-1, images.shape[1] * images.shape[2], 3))
    return tf.ensure_shape(tf.reshape(pixels @ mixed + brightness, tf.shape(images)), images.shape)


def erase_rectangle(images: tf.Tensor, seed: tf.Tensor, chance: float) -> tf.Tensor:
    """(B, H, W, C), by chance with a rectangle of one tenth to two fifths of each side filled with one random colour.

    References:
        Zhong et al., Random Erasing Data Augmentation, 2017, arXiv:1708.04896.
    """
    rows, (height_px, width_px, channels) = tf.shape(images)[0], images.shape[1:]
    seeds = split_seed(seed, 4)
    middle = tf.random.stateless_uniform([2, rows, 1], seeds[0])
    half = tf.random.stateless_uniform([2, rows, 1], seeds[1], 0.05, 0.2)
    is_erased = tf.random.stateless_uniform([rows, 1], seeds[2]) < chance
    down, across = (
        tf.cast(tf.abs((tf.range(size, dtype=tf.float32) + 0.5) / size - middle[i]) < half[i], tf.float32)
        for i, size in enumerate((height_px, width_px))
    )
    color = tf.tile(tf.random.stateless_normal([rows, channels], seeds[3]), (1, width_px))
    # A rectangle is the product of a column and a row: (B, H, 1) @ (B, 1, W * C).
    down = (down * tf.cast(is_erased, tf.float32))[..., tf.newaxis]
    across = tf.repeat(across, channels, axis=1)
    lines = tf.reshape(images, (-1, height_px, width_px * channels))
    erased = lines * (1.0 - down @ across[:, tf.newaxis]) + down @ (across * color)[:, tf.newaxis]
    return tf.ensure_shape(tf.reshape(erased, tf.shape(images)), images.shape)


# Sound


def plain_wav_header(sample_rate_hz: int, octets: int) -> bytes:
    """The 44 bytes before `octets` bytes of mono 16-bit PCM samples in a WAV file without anything else."""
    form = (16, WAV_PCM, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16)
    return struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + octets, b"WAVEfmt ", *form, b"data", octets)


def is_plain_wav(content: bytes, sample_rate_hz: int) -> bool:
    """Whether a file is whole and has such a header; no bytes, of a missing one, do too."""
    octets = len(content) - len(plain_wav_header(0, 0))
    return not content or (octets > 1 and content.startswith(plain_wav_header(sample_rate_hz, octets)))


def decode_wav(
    content: tf.Tensor, sample_rate_hz: int, seconds: float, max_seconds: float = 3600
) -> tuple[tf.Tensor, tf.Tensor]:
    """16-bit PCM WAV bytes of any rate and number of channels -> (T,) float32 mono in [-1, 1], and "".

    T is at most seconds * sample_rate_hz. Bytes that are no such file or cut off, or that last longer than
    `max_seconds`, give no samples and () string, what is wrong with them. (`tf.audio.decode_wav` refuses the extensible
    header, which stereo files often have, and sizes that are not exact, and a refusal fails the whole batch.)
    """
    channels, rate_hz, start, frames, fault = _wav_layout(content, max_seconds)
    kept = tf.minimum(frames, tf.cast(tf.math.ceil(tf.cast(rate_hz, tf.float32) * seconds), tf.int64))
    samples = tf.io.decode_raw(tf.strings.substr(content, start, 2 * channels * kept), tf.int16)
    mono = tf.reduce_mean(tf.reshape(tf.cast(samples, tf.float32) / 32768.0, (-1, channels)), axis=-1)
    same = tf.equal(rate_hz, sample_rate_hz)
    mono = tf.cond(same, lambda: mono, lambda: resample(mono, rate_hz, sample_rate_hz))
    return mono[: round(seconds * sample_rate_hz)], fault


def _wav_layout(content: tf.Tensor, max_seconds: float) -> tuple[tf.Tensor, ...]:
    """() int64 each: channels, rate in Hz, where the samples start, frames (0 with a fault); () string, what is wrong.

    References:
        IBM and Microsoft, Multimedia Programming Interface and Data Specifications 1.0, 1991, pages 56 to 60.
    """
    length = _length(content)
    octets = tf.io.decode_raw(content, tf.uint8)
    form, data = _wav_chunks(octets)
    encoding, channels, rate_hz, bits, extended = (
        _number(octets, form + at, size) for at, size in ((0, 2), (2, 2), (4, 4), (14, 2), (24, 2))
    )
    claimed, held = _number(octets, data - 4, 4), tf.maximum(length - data, 0)
    # A file that was written to a pipe claims 4 GB: what is there counts.
    is_cut = (claimed < WAV_OPEN_END) & (tf.cast(held, tf.float64) < CUT_OFF * tf.cast(claimed, tf.float64))
    is_pcm = (encoding == WAV_PCM) | ((encoding == WAV_EXTENSIBLE) & (extended == WAV_PCM))
    is_rate = (rate_hz >= WAV_RATES_HZ[0]) & (rate_hz <= WAV_RATES_HZ[1])
    is_channels = (channels > 0) & (channels <= WAV_CHANNELS)
    frames = tf.minimum(claimed, held) // tf.maximum(2 * channels, 1)
    is_long = tf.cast(frames, tf.float64) > max_seconds * tf.cast(rate_hz, tf.float64)
    shown = tf.strings.as_string
    fault = first_fault(
        (~_begins(content, b"RIFF") | (_number(octets, 8, 4) != WAV_NAMES[b"WAVE"]), "not a WAV file"),
        ((form == 0) | (data == 0), "truncated WAV"),
        (~is_pcm | (bits != 16), tf.strings.join(["WAV of encoding ", shown(encoding), " with ", shown(bits),
                                                  " bits, expected 16-bit PCM"])),
        (~is_channels, tf.strings.join(["WAV of ", shown(channels), f" channels, expected 1 to {WAV_CHANNELS}"])),
        (~is_rate, tf.strings.join(["WAV at ", shown(rate_hz), " Hz, expected {} to {}".format(*WAV_RATES_HZ)])),
        (is_cut, "truncated WAV"),
        (frames == 0, "holds no samples"),
        (is_long, tf.strings.join([shown(frames // tf.maximum(rate_hz, 1)),
                                   f" seconds, more than max_seconds {max_seconds:g}"])),
    )  # fmt: skip
    is_good = fault == ""
    return (
        tf.where(is_good, channels, 1),
        tf.where(is_good, rate_hz, WAV_RATES_HZ[0]),
        tf.where(is_good, data, 0),
        tf.where(is_good, frames, 0),
        fault,
    )


def _wav_chunks(octets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """() int64 each: where the format's description and where the samples start; 0 where they do not."""
    length, zero = tf.size(octets, tf.int64), tf.constant(0, tf.int64)

    def look_at_chunk(position: tf.Tensor, form: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, ...]:
        name, size, body = _number(octets, position, 4), _number(octets, position + 4, 4), position + 8
        form = tf.where(name == WAV_NAMES[b"fmt "], body, form)
        data = tf.where(name == WAV_NAMES[b"data"], body, data)
        return body + size + size % 2, form, data

    _, form, data = tf.while_loop(
        lambda position, form, data: (position + 8 <= length) & (data == 0),
        look_at_chunk,
        (tf.constant(12, tf.int64), zero, zero),
        maximum_iterations=WAV_CHUNKS,
    )
    return form, data


def _length(content: tf.Tensor) -> tf.Tensor:
    """() int64."""
    return tf.cast(tf.strings.length(content), tf.int64)


def _first_octets(content: tf.Tensor, count: int) -> tf.Tensor:
    """(count,) uint8, or fewer where there are fewer."""
    return tf.io.decode_raw(tf.strings.substr(content, 0, count), tf.uint8)


def _number(octets: tf.Tensor, start: tf.Tensor | int, count: int, big: bool = False) -> tf.Tensor:
    """() int64: the number without sign in so many octets; what lies beyond the end counts as zeros.

    The first octet weighs least, or most if `big`.
    """
    start = tf.minimum(tf.cast(start, tf.int64), tf.size(octets, tf.int64))
    piece = tf.cast(octets[start : start + count], tf.int64)
    weights = [256**i for i in (reversed(range(count)) if big else range(count))]
    return tf.reduce_sum(piece * tf.constant(weights, tf.int64)[: tf.size(piece)])


def resample(samples: tf.Tensor, from_hz: tf.Tensor, to_hz: int, zero_crossings: int = 24) -> tf.Tensor:
    """(T,) at `from_hz` -> (ceil(T * to_hz / from_hz),) at `to_hz`, by a Hann-windowed sinc.

    References:
        J. O. Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample/.
    """
    ratio = tf.cast(to_hz, tf.float64) / tf.cast(from_hz, tf.float64)
    # The cut-off lies 5 % below the lower of the two Nyquist frequencies: the filter needs room to fall.
    cutoff = 0.95 * tf.minimum(tf.constant(1.0, tf.float64), ratio)
    half_width = zero_crossings / cutoff
    reach = tf.cast(tf.math.ceil(half_width), tf.int32)
    wanted = tf.cast(tf.math.ceil(tf.cast(tf.size(samples), tf.float64) * ratio), tf.int32)
    position = tf.cast(tf.range(wanted), tf.float64) / ratio
    nearest = tf.cast(tf.floor(position), tf.int32)
    taps = tf.range(-reach, reach + 1)
    distance = tf.cast(tf.cast(taps, tf.float64) - (position - tf.floor(position))[:, tf.newaxis], tf.float32)
    cutoff, half_width = tf.cast(cutoff, tf.float32), tf.cast(half_width, tf.float32)
    window = tf.where(tf.abs(distance) < half_width, tf.square(tf.cos(math.pi / 2 * distance / half_width)), 0.0)
    angle = math.pi * cutoff * distance
    kernel = cutoff * window * tf.math.divide_no_nan(tf.sin(angle), angle) + tf.where(angle == 0.0, cutoff, 0.0)
    padded = tf.pad(samples, [[reach, reach]])
    return tf.reduce_sum(tf.gather(padded, nearest[:, tf.newaxis] + taps + reach) * kernel, axis=-1)


def log_mel(samples: tf.Tensor, sample_rate_hz: int, fft_samples: int, hop_samples: int, mel_bins: int) -> tf.Tensor:
    """(T,) mono sound -> (1 + T // hop_samples, mel_bins) in decibels of power, at least -100 dB.

    Equal to librosa.power_to_db(librosa.feature.melspectrogram(...), top_db=None): frames are centred on multiples of
    the hop, with zeros beyond both ends (https://librosa.org/doc/0.11.0/generated/librosa.feature.melspectrogram.html).
    """
    frames = 1 + tf.size(samples) // hop_samples
    # In 32 bits a quiet band beside a loud one comes out wrong by up to 0.003 dB of speech.
    centred = tf.pad(tf.cast(samples, tf.float64), [[fft_samples // 2, fft_samples // 2]])
    magnitude = _tfio().audio.spectrogram(centred, nfft=fft_samples, window=fft_samples, stride=hop_samples)[:frames]
    squared = tf.cast(tf.square(magnitude), tf.float32)
    return _decibels(tf.matmul(squared, mel_filter_bank(sample_rate_hz, fft_samples, mel_bins)))


def log_mels(
    contents: tf.Tensor, seconds: float, sample_rate_hz: int, fft_samples: int, hop_samples: int, mel_bins: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """`log_mel` of many clips in one transform, which takes a third of the time.

    Args:
        contents: (B,) bytes of WAV files for which `is_plain_wav` holds.
        seconds: So much of each clip is kept.
        sample_rate_hz: As for `log_mel`.
        fft_samples: As for `log_mel`.
        hop_samples: As for `log_mel`.
        mel_bins: As for `log_mel`.

    Returns:
        (sum of the clips' T, mel_bins) decibels, one clip after the other, and (B,) how many steps each has; 0 of one
        without samples.
    """
    octets = tf.cast(tf.strings.length(contents), tf.int64) - len(plain_wav_header(0, 0))
    samples = tf.clip_by_value(octets // 2, 0, round(seconds * sample_rate_hz))
    steps = tf.where(samples > 0, 1 + samples // hop_samples, 0)
    # Blocks of as many samples as frames and hops have in common: a frame is gathered as a few of them.
    block = math.gcd(fft_samples, fft_samples // 2, hop_samples)
    blocks = (samples + fft_samples + block - 1) // block
    sound = tf.reshape(
        _between_zeros(contents, samples, blocks * block, fft_samples // 2, fft_samples + block), (-1, block)
    )
    step = tf.range(tf.reduce_sum(steps)) - tf.repeat(tf.cumsum(steps, exclusive=True), steps)
    first = tf.repeat(tf.cumsum(blocks, exclusive=True), steps) + step * (hop_samples // block)
    frames = tf.gather(
        tf.reshape(sound, (-1, block)), first[:, tf.newaxis] + tf.range(fft_samples // block, dtype=tf.int64)
    )
    # In 64 bits, as `log_mel`.
    window = tf.signal.hann_window(fft_samples, dtype=tf.float64) / 32768.0
    wave = tf.signal.rfft(tf.cast(tf.reshape(frames, (-1, fft_samples)), tf.float64) * window)
    squared = tf.cast(tf.square(tf.math.real(wave)) + tf.square(tf.math.imag(wave)), tf.float32)
    return _decibels(tf.matmul(squared, mel_filter_bank(sample_rate_hz, fft_samples, mel_bins))), steps


def _between_zeros(contents: tf.Tensor, samples: tf.Tensor, room: tf.Tensor, before: int, most: int) -> tf.Tensor:
    """(sum of room,) int16: each clip's samples after `before` zeros, followed by zeros (at most `most` of them)."""
    octets = tf.cast(tf.strings.length(contents), tf.int64)
    header = len(plain_wav_header(0, 0))
    sounds = tf.strings.substr(contents, tf.minimum(octets, header), 2 * samples)
    after = tf.strings.substr(
        tf.fill(tf.shape(samples), b"\0" * 2 * most), tf.zeros_like(samples), 2 * (room - before - samples)
    )
    return tf.io.decode_raw(tf.strings.reduce_join(tf.strings.join([b"\0" * 2 * before, sounds, after])), tf.int16)


def _decibels(power: tf.Tensor) -> tf.Tensor:
    """(T, F) -> (T, F). The numbers at the end of a tensor take another logarithm, which differs in the last bit."""
    values = tf.size(power)
    filled = tf.pad(tf.reshape(power, (-1,)), [[0, -values % LOGARITHMS_AT_ONCE]])
    decibels = 10.0 / math.log(10.0) * tf.math.log(tf.maximum(filled, 1e-10))
    return tf.ensure_shape(tf.reshape(decibels[:values], tf.shape(power)), power.shape)


@functools.cache
def mel_filter_bank(sample_rate_hz: int, fft_samples: int, mel_bins: int) -> np.ndarray:
    """(fft_samples // 2 + 1, mel_bins) float32: librosa's triangular filters."""
    import librosa

    return librosa.filters.mel(sr=sample_rate_hz, n_fft=fft_samples, n_mels=mel_bins).T.astype(np.float32)


def mfcc(decibels: tf.Tensor, count: int) -> tf.Tensor:
    """(T, mel_bins) decibels of mel bands -> (T, count): the first mel-frequency cepstral coefficients.

    Equal to librosa.feature.mfcc(S=decibels). (`tf.signal.mfccs_from_log_mel_spectrograms` wants natural logarithms,
    and its first coefficient is larger by the square root of 2.)

    References:
        Davis and Mermelstein, Comparison of Parametric Representations for Monosyllabic Word Recognition in
        Continuously Spoken Sentences, 1980.
    """
    return tf.matmul(decibels, cosine_transform(decibels.shape[-1], count))


@functools.cache
def cosine_transform(bins: int, count: int) -> np.ndarray:
    """(bins, count) float32: the first `count` columns of the orthonormal discrete cosine transform of type 2."""
    angles = math.pi / bins * np.outer(np.arange(bins) + 0.5, np.arange(count))
    scale = np.where(np.arange(count) == 0, math.sqrt(1.0 / bins), math.sqrt(2.0 / bins))
    return (scale * np.cos(angles)).astype(np.float32)


@functools.cache
def _tfio() -> ModuleType:
    """tensorflow-io, imported without its two warnings.

    Its native library loads on TensorFlow 2.16 only; elsewhere it warns twice that its file-system and dataset
    operations are not there. Only its pure TensorFlow functions are used here.
    """
    with _quiet_import():
        import tensorflow_io
    return tensorflow_io


@contextlib.contextmanager
def _quiet_import():
    import warnings

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


# Series


def without_padding(series: tf.Tensor) -> tf.Tensor:
    """(T, C) -> (t, C): up to the last step that holds a number."""
    steps = tf.range(1, tf.shape(series)[0] + 1)
    is_real = tf.reduce_any(tf.math.is_finite(series), axis=1)
    return series[: tf.maximum(tf.reduce_max(tf.where(is_real, steps, 0)), 0)]


def fill_gaps(values: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    """(T, C), (T, C) bool -> (T, C): straight lines over gaps, the nearest value at the ends, 0 without any."""
    values, given = tf.transpose(values), tf.transpose(given)
    steps = tf.range(tf.shape(values)[1])
    # The places of each channel's values, in order, and how many of them lie before or at each step.
    places = tf.sort(tf.where(given, steps, tf.reduce_max(steps)), axis=1)
    seen = tf.cumsum(tf.cast(given, tf.int32), axis=1)
    count = seen[:, -1:]
    before = tf.gather(places, tf.maximum(seen - 1, 0), batch_dims=1)
    after = tf.gather(places, tf.clip_by_value(seen - tf.cast(given, tf.int32), 0, count - 1), batch_dims=1)
    low, high = tf.gather(values, before, batch_dims=1), tf.gather(values, after, batch_dims=1)
    share = tf.math.divide_no_nan(tf.cast(steps - before, tf.float32), tf.cast(after - before, tf.float32))
    return tf.transpose(tf.where(count > 0, low + (high - low) * share, 0.0))


def resize_time(values: tf.Tensor, steps: int) -> tf.Tensor:
    """(T, C) -> (steps, C) along straight lines; where steps are joined, their weighted mean."""
    return tf.image.resize(values[:, tf.newaxis], (steps, 1), antialias=True)[:, 0]


# Text


# What str.strip takes away too.
BLANKS_AROUND = r"^[\s\pZ\x{1c}-\x{1f}\x{85}]+|[\s\pZ\x{1c}-\x{1f}\x{85}]+$"


def strip_blanks(text: tf.Tensor) -> tf.Tensor:
    """() string without the blanks around it, of any script."""
    return tf.strings.regex_replace(text, BLANKS_AROUND, "")


# Any features


def standardize(values: tf.Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> tf.Tensor:
    """Z-scores along the last axis: (x - mean) / deviation."""
    return (values - tf.constant(mean, tf.float32)) / tf.constant(deviation, tf.float32)


def zeros(features: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """What a missing cell's features are."""
    return {name: tf.zeros(spec.shape, spec.dtype) for name, spec in features.items()}


def first_fault(*faults: tuple[tf.Tensor | bool, tf.Tensor | str]) -> tf.Tensor:
    """() string: the words of the first condition that holds, "" where none does."""
    found = tf.constant("")
    for is_so, words in reversed(faults):
        found = tf.where(is_so, words, found)
    return found


def bytes_fault(content: tf.Tensor, max_mb: float) -> tf.Tensor:
    """() string: what `component.check_bytes` says of a file that is too large; "" of any other."""
    length = _length(content)
    words = tf.strings.join([tf.strings.as_string(length), f" bytes, more than max_mb {max_mb:g}"])
    return first_fault((tf.cast(length, tf.float64) > max_mb * 1e6, words))


def pad_time(values: tf.Tensor, steps: int) -> tf.Tensor:
    """(t, ...) -> (steps, ...): cut or filled with zeros at the end."""
    kept = values[:steps]
    padding = [[0, steps - tf.shape(kept)[0]], *([[0, 0]] * (len(values.shape) - 1))]
    return tf.ensure_shape(tf.pad(kept, padding), (steps, *values.shape[1:]))


def pad_times(values: tf.Tensor, lengths: tf.Tensor, steps: int) -> tf.Tensor:
    """(sum of lengths, F) -> (B, steps, F): `pad_time` of each of B pieces, (B,) long."""
    ragged = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
    return ragged.to_tensor(shape=(None, steps, *values.shape[1:]))


def time_mask(valid_steps: tf.Tensor, steps: int) -> tf.Tensor:
    """(steps,) float32: 1 for the first `valid_steps`, then 0."""
    return tf.sequence_mask(valid_steps, steps, dtype=tf.float32)


# Several files in one cell


def files_spec(features: dict[str, tf.TensorSpec], files: int) -> dict[str, tf.TensorSpec]:
    """One file's features -> a cell's: each with an axis of files in front, `file_mask` (files,) and `present` ()."""
    stacked = {
        name: tf.TensorSpec((files, *spec.shape), spec.dtype) for name, spec in features.items() if name != "present"
    }
    return {**stacked, "file_mask": tf.TensorSpec((files,), tf.float32), "present": tf.TensorSpec((), tf.float32)}


def map_files(
    cell: tf.Tensor,
    files: int,
    one: Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]],
    features: dict[str, tf.TensorSpec],
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """A cell's files, each examined for itself, as `files_spec` says, and what is wrong with the first bad one.

    One bad file makes the cell bad, as it does where a table is read: all zeros.

    Args:
        cell: (N,) strings, N >= 0; an empty one is no file.
        files: How many the features hold; more are a fault.
        one: Examines one file, () string: its features, whose "present" says whether it can be used, and its fault.
        features: What `one` returns.
    """
    given = tf.boolean_mask(cell, tf.strings.length(cell) > 0)
    count = tf.size(given)
    kept = given[:files]
    filled = tf.ensure_shape(tf.concat([kept, tf.fill([files - tf.size(kept)], "")], axis=0), (files,))
    found, faults = tf.map_fn(one, filled, fn_output_signature=(features, tf.TensorSpec((), tf.string)))
    number = tf.strings.as_string(count)
    fault = first_fault(
        (count > files, tf.strings.join(["names ", number, f" files, expected at most {files}; set files: ", number,
                                         " for this column"])),
        (True, numbered_fault("file", tf.range(1, files + 1), count, faults)),
    )  # fmt: skip
    is_good = tf.cast(fault == "", tf.float32)
    stacked = {name: tf.ensure_shape(found[name], (files, *features[name].shape)) * is_good for name in features}
    return _with_file_mask(stacked), fault


def numbered_fault(part: str, numbers: tf.Tensor, count: tf.Tensor, faults: tf.Tensor) -> tf.Tensor:
    """() string: the first of (N,) faults with its number, as in `file 2 of 3: truncated PNG`; "" without any."""
    shown = [tf.strings.as_string(number) for number in (numbers, count)]
    words = tf.strings.join([f"{part} ", shown[0], " of ", shown[1], ": ", faults])
    bad = tf.boolean_mask(words, faults != "")
    return tf.concat([bad, [""]], axis=0)[0]


def augment_files(
    features: dict[str, tf.Tensor],
    seed: tf.Tensor,
    augment: Callable[[dict[str, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]],
) -> dict[str, tf.Tensor]:
    """Cells' features with every file changed for itself.

    Args:
        features: As `files_spec` says, with a batch axis in front.
        seed: (2,) integers.
        augment: Changes a batch of files' features, which hold `present` in place of `file_mask`, by a seed.
    """
    stacked = {name: values for name, values in features.items() if name not in ("file_mask", "present")}
    stacked["present"] = features["file_mask"]
    changed = augment({name: tf.reshape(values, (-1, *values.shape[2:])) for name, values in stacked.items()}, seed)
    return _with_file_mask({name: tf.reshape(changed[name], tf.shape(values)) for name, values in stacked.items()})


def _with_file_mask(stacked: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    mask = stacked.pop("present")
    return {**stacked, "file_mask": mask, "present": tf.reduce_max(mask, axis=-1)}


# Random changes, each fixed by its seed


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """One seed of two integers -> `count` independent ones."""
    return tf.unstack(tf.random.split(tf.cast(seed, tf.int32), count))


def drop_bands(values: tf.Tensor, seed: tf.Tensor, steps: int, bands: int) -> tf.Tensor:
    """Zeroes in each row of (B, T, F) some neighbouring steps, 0 to `steps`, and bands, 0 to `bands`, anywhere.

    References:
        Park et al., SpecAugment, 2019, arXiv:1904.08779. (`tfio.audio.freq_mask` and `time_mask` do the same but
        draw from TensorFlow's global generator, so that no seed of an example could fix what they did.)
    """
    seeds = split_seed(seed, 2)
    kept_steps, kept_bands = (
        _outside_a_run(tf.shape(values)[0], length, most, own_seed)
        for length, most, own_seed in zip(values.shape[1:], (steps, bands), seeds, strict=True)
    )
    return values * (kept_steps[..., tf.newaxis] @ kept_bands[:, tf.newaxis])


def _outside_a_run(rows: tf.Tensor, length: int, most: int, seed: tf.Tensor) -> tf.Tensor:
    """(B, length) float32: 0 on a run of random place and width (0 to `most`), 1 elsewhere."""
    seeds = split_seed(seed, 2)
    # TensorFlow draws integers below one limit only; here each row has its own.
    width = tf.floor(tf.random.stateless_uniform([rows, 1], seeds[0]) * (min(most, length) + 1))
    start = tf.floor(tf.random.stateless_uniform([rows, 1], seeds[1]) * (length - width + 1))
    place = tf.range(length, dtype=tf.float32)
    return tf.cast((place < start) | (place >= start + width), tf.float32)
