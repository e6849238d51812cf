"""TensorFlow operations on pictures: PNG, JPEG, GIF and BMP bytes to pixels, sizes, random changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from mmkeras.base.lazy import lazy
from mmkeras.features.ops.common import (
    begins,
    first_fault,
    first_octets,
    graph_of_file,
    holds,
    length_of,
    number_at,
    split_seed,
)

tf = lazy("tensorflow")

T = TypeVar("T")

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
        [(begins(content, magic), functools.partial(_decoder(name, enough_px), *given))
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


def by_format(good: Callable[[tf.Tensor, str], T], careful: Callable[[tf.Tensor], T]) -> Callable[[bytes], T]:
    """A function of pictures' bytes, which traces graphs for the formats that it meets, and one for bad files.

    Args:
        good: Of a file and its format; fails where the file is bad, as `decode_good_image` does.
        careful: The same of any file.
    """
    graphs: dict[str, Callable[[bytes], T]] = {}
    of_any = graph_of_file(careful)

    def of_file(content: bytes) -> T:
        name = image_format(content)
        if name is None:
            return of_any(content)
        if name not in graphs:
            graphs[name] = graph_of_file(lambda content: good(content, name))
        try:
            return graphs[name](content)
        except tf.errors.OpError:
            return of_any(content)

    return of_file


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
    result = dataset.ignore_errors(log_warning=False).concatenate(tf.data.Dataset.from_tensors(otherwise))
    return result.take(1).with_options(options).get_single_element()


def _attempt(content: tf.Tensor, fits: tf.Tensor, decode: Decode, channels: int) -> tf.Tensor:
    """(H, W, channels) uint8; (0, 0, channels) where it does not fit or the decoder refuses."""
    dataset = tf.data.Dataset.from_tensors(content).take(tf.cast(fits, tf.int64))
    return tf.ensure_shape(_caught(dataset.map(decode), _nothing(channels)), (None, None, channels))


def _decode_or_fail(content: tf.Tensor, fits: tf.Tensor, decode: Decode, channels: int) -> tf.Tensor:
    """(H, W, channels) uint8; fails where it does not fit or the decoder refuses, which it does an empty string."""
    return tf.ensure_shape(decode(tf.where(fits, content, "")), (None, None, channels))


def _decode_png(content: tf.Tensor, max_pixels: float, run: Run) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    header = first_octets(content, 33)
    width_px, height_px = (number_at(header, at, 4, big=True) for at in (16, 20))
    fits = _fits(width_px, height_px, max_pixels)
    # Transparency if there is some: TensorFlow 2.21 gives pictures of 1, 2 or 4 bits an alpha of 1, 3 or 15 otherwise.
    has_alpha = tf.equal(number_at(header, PNG_COLOR_AT, 1) & PNG_ALPHA, PNG_ALPHA)
    is_clear = tf.cond(has_alpha, lambda: True, lambda: holds(content, b"tRNS"))
    pixels = tf.cond(
        is_clear,
        lambda: _over_white(run(content, fits, lambda png: tf.io.decode_png(png, channels=4), 4)),
        lambda: run(content, fits, lambda png: tf.io.decode_png(png, channels=3), 3),
    )
    return pixels, tf.shape(pixels)[:2], _fault(pixels, lambda: first_fault(
        _too_many_pixels(width_px, height_px, max_pixels),
        (tf.logical_not(holds(content, PNG_END)), "truncated PNG"),
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
    is_whole = holds(content, JPEG_END)
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
    return tf.cond(holds(head, EXIF), lambda: _orientation_in(tf.io.decode_raw(head, tf.uint8)), lambda: upright)


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
    orientation = tf.reduce_max(tf.where(is_known & (tags == EXIF_ORIENTATION), values, 0))
    return tf.where((orientation >= 1) & (orientation <= EXIF_ORIENTATIONS), orientation, 1)


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
        first = number_at(octets, position, 1)
        is_frame = tf.logical_not(is_inside) & (first == GIF_FRAME)
        is_known = is_inside | is_frame | (first == GIF_EXTENSION)
        skipped = tf.where(is_frame, 11 + colors(number_at(octets, position + 9, 1)), 2)
        after = position + tf.where(is_inside, 1 + first, skipped)
        frame = tf.where(is_frame, position, frame)
        is_last = is_inside & (first == 0)
        is_whole = (after <= tf.size(octets, tf.int64)) & (frame > 0) & is_last
        return tf.where(is_known, after, GIF_NOWHERE), tf.logical_not(is_last), frame, tf.where(is_whole, after, end)

    _, _, frame, end = tf.while_loop(
        lambda position, is_inside, frame, end: (position < tf.size(octets, tf.int64)) & (end == 0),
        look_at_block,
        (13 + colors(number_at(octets, 10, 1)), tf.constant(False), zero, zero),
        maximum_iterations=GIF_BLOCKS,
    )
    width_px, height_px = (tf.where(frame > 0, number_at(octets, frame + at, 2), 0) for at in (5, 7))
    return end, width_px, height_px


def _decode_bmp(content: tf.Tensor, max_pixels: float, run: Run) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    header = first_octets(content, 34)
    start, width_px, height_px, bits, compression = (
        number_at(header, at, size) for at, size in ((10, 4), (18, 4), (22, 4), (28, 2), (30, 4))
    )
    height_px = tf.minimum(height_px, 2**32 - height_px)  # negative where the rows go downwards
    octets = start + (width_px * bits + 31) // 32 * 4 * height_px
    is_whole = (octets <= length_of(content)) & (tf.size(header) == 34)
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
