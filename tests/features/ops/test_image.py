"""The TensorFlow functions on pictures, against numbers worked out by hand and Pillow."""

import io
import struct

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageOps

from mmkeras.features import ops

SEED = tf.constant([3, 5])


_decode = tf.function(
    lambda content: ops.image.decode_image(content, 1)[::2], input_signature=[tf.TensorSpec((), tf.string)]
)
_decode_small = tf.function(
    lambda content: ops.image.decode_image(content, enough_px=24), input_signature=[tf.TensorSpec((), tf.string)]
)


def decoded(content):
    """(H, W, 3) of a good picture of at most a megapixel."""
    pixels, fault = _decode(tf.constant(content))
    assert fault.numpy() == b""
    assert pixels.dtype == tf.uint8
    return pixels.numpy()


def fault_of(content, examine=_decode):
    """What is wrong with a file of which nothing is decoded."""
    values, fault = examine(tf.constant(content))
    assert not tf.size(values)
    return fault.numpy().decode()


def picture(mode="RGB", height_px=23, width_px=31):
    """Smooth enough for JPEG, different in every corner and channel."""
    down, right = np.mgrid[0:height_px, 0:width_px]
    pixels = np.stack([down * 10, right * 8, 250 - down * 4 - right * 4, 40 + down * 6], axis=-1).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((down * 2000 + right * 300).astype(np.uint16))
    return Image.fromarray(pixels) if mode == "RGBA" else Image.fromarray(pixels[..., :3]).convert(mode)


def encoded(image, file_format, **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def exif(orientation, is_big=False, tag=0x0112, before=0):
    """An Exif segment's data: one entry says how a picture is turned, after others."""
    order = ">" if is_big else "<"
    header = b"MM\0\x2a" if is_big else b"II\x2a\0"
    entries = [struct.pack(f"{order}HHIHH", tag_, 3, 1, value, 0)
               for tag_, value in [(0x0100, 7)] * before + [(tag, orientation)]]  # fmt: skip
    return b"Exif\0\0" + header + struct.pack(f"{order}IH", 8, len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_big", [False, True])
def test_a_jpeg_is_turned_as_pillow_turns_it(orientation, is_big):
    content = encoded(picture(), "JPEG", quality=95, exif=exif(orientation, is_big, before=orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    for decode in (_decode, _decode_small):
        np.testing.assert_allclose(decode(tf.constant(content))[0].numpy().astype(int), np.asarray(upright), atol=3)
    assert _decode_small(tf.constant(content))[1].numpy().tolist() == [upright.height, upright.width]


def test_other_segments_may_stand_before_the_exif_data():
    content = encoded(picture(), "JPEG", comment=b"Exif\0\0" * 9, exif=exif(6))
    comment = b"\xff\xfe\0\x20" + bytes(30)
    assert decoded(content).shape == decoded(content[:2] + comment * 3 + content[2:]).shape == (31, 23, 3)


@pytest.mark.parametrize(
    "data",
    [
        exif(0), exif(9), exif(65535), exif(6, tag=0x0113), exif(6)[:-8], exif(6)[:20], exif(6)[:12], exif(6)[:7],
        exif(6)[:10] + b"\xff" * 30, exif(6)[:14] + b"\xff\xff" + exif(1)[16:], b"Exif\0\0XX" + exif(6)[8:],
    ],
)  # fmt: skip
def test_exif_data_that_say_nothing_leave_a_picture_as_it_is(data):
    content = encoded(picture(), "JPEG", exif=data)
    wanted = decoded(encoded(picture(), "JPEG"))
    np.testing.assert_array_equal(decoded(content), wanted)


@pytest.mark.parametrize(
    ("height_px", "width_px", "ratio"), [(95, 300, 1), (96, 97, 1), (192, 500, 2), (390, 391, 4), (2000, 801, 4)]
)
@pytest.mark.parametrize("aspect", ["keep", "stretch"])
def test_a_large_jpeg_is_decoded_small(height_px, width_px, ratio, aspect):
    """What becomes of it differs by less than a hundredth of the range (root mean square); its full size is known."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise).resize((width_px, height_px), Image.BICUBIC), "JPEG", quality=95)
    small, full_px, fault = _decode_small(tf.constant(content))
    assert fault.numpy() == b"" and full_px.numpy().tolist() == [height_px, width_px]
    assert small.shape == (-(-height_px // ratio), -(-width_px // ratio), 3)
    found = ops.image.resize_image(small, 24, 24, aspect, full_px)
    full = tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE")
    difference = found - ops.image.resize_image(full, 24, 24, aspect)
    assert np.sqrt(np.mean(np.square(difference))) < (0.01 * 255 if ratio > 1 else 1e-3)


def over_white(image):
    """What Pillow shows, transparency over white, as (H, W, 3) floats."""
    rgba = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"), np.float32)


def transparent_palette():
    image = picture("P")
    image.info["transparency"] = image.getpixel((3, 2))
    return image


def few_colours(colours, transparent=None):
    image = picture().quantize(colours)
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


PICTURES = {
    "PNG RGB": (encoded(picture(), "PNG"), picture(), 0),
    "PNG RGBA": (encoded(picture("RGBA"), "PNG"), picture("RGBA"), 1),
    "PNG grey": (encoded(picture("L"), "PNG"), picture("L"), 0),
    "PNG grey with alpha": (encoded(picture("LA"), "PNG"), picture("LA"), 1),
    "PNG 1 bit": (encoded(picture("1"), "PNG"), picture("1"), 0),
    "PNG palette": (encoded(picture("P"), "PNG"), picture("P"), 0),
    "PNG palette with a transparent colour": (encoded(transparent_palette(), "PNG"), transparent_palette(), 1),
    "PNG palette of 1 bit": (encoded(few_colours(2), "PNG", bits=1), few_colours(2), 0),
    "PNG palette of 4 bits": (encoded(few_colours(11), "PNG", bits=4), few_colours(11), 0),
    "PNG palette of 4 bits with a transparent colour": (
        encoded(few_colours(11, transparent=2), "PNG", bits=4),
        few_colours(11, transparent=2),
        1,
    ),
    "PNG with bytes behind its end": (encoded(picture(), "PNG") + b"more", picture(), 0),
    "JPEG": (encoded(picture(), "JPEG"), Image.open(io.BytesIO(encoded(picture(), "JPEG"))), 3),
    "JPEG progressive": (
        encoded(picture(), "JPEG", progressive=True),
        Image.open(io.BytesIO(encoded(picture(), "JPEG", progressive=True))),
        3,
    ),
    "JPEG grey": (encoded(picture("L"), "JPEG"), Image.open(io.BytesIO(encoded(picture("L"), "JPEG"))), 1),
    "GIF": (encoded(picture("P"), "GIF"), picture("P"), 0),
    "GIF animated": (
        encoded(picture("P"), "GIF", save_all=True, append_images=[picture("P").rotate(180)] * 2),
        picture("P"),
        0,
    ),
    "BMP 24 bit": (encoded(picture(), "BMP"), picture(), 0),
    "BMP 32 bit": (encoded(picture("RGBA"), "BMP"), picture("RGBA").convert("RGB"), 0),
}


@pytest.mark.parametrize(("content", "shown", "tolerance"), PICTURES.values(), ids=PICTURES)
def test_pictures_are_what_pillow_shows(content, shown, tolerance):
    np.testing.assert_allclose(decoded(content), over_white(shown), atol=tolerance)


def test_a_picture_with_16_bits_keeps_its_upper_8():
    content = encoded(picture("I;16"), "PNG")
    wanted = np.asarray(picture("I;16"), np.float32) / 257.0
    np.testing.assert_allclose(decoded(content)[..., 0], wanted, atol=1)


def test_transparency_shows_white():
    clear = Image.new("RGBA", (5, 3), (255, 0, 0, 0))
    half = Image.new("RGBA", (5, 3), (255, 0, 0, 51))  # a fifth
    assert decoded(encoded(clear, "PNG"))[0, 0].tolist() == [255, 255, 255]
    assert decoded(encoded(half, "PNG"))[0, 0].tolist() == [255, 204, 204]


@pytest.mark.parametrize("content", [b"", b"x", b"%PDF-1.4", b"\x89PNG", b"RIFF....WEBP", b"II*\0", b"\xff\xd8"])
def test_other_bytes_are_no_picture(content):
    assert fault_of(content) == "not a PNG, JPEG, GIF or BMP file"


@pytest.mark.parametrize("name", ["PNG RGB", "PNG RGBA", "GIF", "BMP 24 bit", "JPEG", "JPEG progressive"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_picture_that_is_cut_off_is_none(name, kept):
    content = PICTURES[name][0]
    assert fault_of(content[: int(kept * len(content))]) == f"truncated {name.split()[0]}"


def test_an_animation_that_is_cut_off_behind_its_first_frame_shows_it():
    content = PICTURES["GIF animated"][0]
    np.testing.assert_array_equal(decoded(content[: int(0.95 * len(content))]), decoded(content))


def test_a_gif_whose_blocks_never_end_comes_to_an_end():
    assert fault_of(b"GIF89a" + bytes(7) + b"\x21\xff" + b"\1\1" * 10_000) == "truncated GIF"
    assert fault_of(b"GIF89a" + bytes(7) + b"no block") == "truncated GIF"


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_a_bmp_with_a_palette_is_none(mode):
    """TensorFlow would show its indices as greys."""
    bits = 1 if mode == "1" else 8
    assert fault_of(encoded(picture(mode), "BMP")) == f"BMP of {bits} bits a pixel or compressed, expected 24 or 32"


@pytest.mark.parametrize("name", ["PNG RGB", "PNG RGBA", "PNG palette"])
def test_a_png_that_is_damaged_inside_is_none(name):
    content = bytearray(PICTURES[name][0])
    content[content.index(b"IDAT") + 20] ^= 0xFF
    assert fault_of(bytes(content)) == "damaged PNG"


def with_sides(name, width_px, height_px):
    """The same file, but for the sides in its header."""
    content = bytearray(PICTURES[name][0])
    if name.startswith("PNG"):
        content[16:24] = struct.pack(">II", width_px, height_px)
    elif name.startswith("BMP"):
        content[18:26] = struct.pack("<Ii", width_px, height_px)
    elif name.startswith("GIF"):
        at = content.index(b",\0\0\0\0") + 5
        content[at : at + 4] = struct.pack("<HH", width_px, height_px)
    else:
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height_px, width_px)
    return bytes(content)


@pytest.mark.parametrize("name", ["PNG RGB", "PNG RGBA", "GIF", "BMP 24 bit", "JPEG"])
def test_more_pixels_than_allowed_are_refused_by_the_header(name):
    assert fault_of(with_sides(name, 1025, 977)) == "1025 x 977 pixels, more than max_megapixels 1"
    assert fault_of(with_sides(name, 65500, 65500)) == "65500 x 65500 pixels, more than max_megapixels 1"
    if name != "JPEG":  # what it lacks is shown in grey
        assert fault_of(with_sides(name, 999, 999)).split()[0] in ("truncated", "damaged")


def test_sides_beyond_all_reason_are_refused_by_the_header():
    assert "4294967295 x 4294967295 pixels, more" in fault_of(with_sides("PNG RGB", 2**32 - 1, 2**32 - 1))


def segment_ends(jpeg):
    """Where each segment of a JPEG file before the picture itself ends."""
    position = 2
    while jpeg[position + 1] != 0xDA:
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        yield position


@pytest.mark.parametrize("end", [b"", ops.image.JPEG_END])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_anywhere_is_none(progressive, end):
    """decode_jpeg(try_recover_truncated=True) never returns from those that are cut between two segments."""
    jpeg = encoded(picture(), "JPEG", progressive=progressive)
    scan = jpeg.index(b"\xff\xda")
    for stop in (3, *segment_ends(jpeg), scan + 1, scan + 7):
        assert fault_of(jpeg[:stop] + end) in ("truncated JPEG", "damaged JPEG")
    if not end:
        assert {fault_of(jpeg[:stop]) for stop in range(scan, len(jpeg), 17)} == {"truncated JPEG"}


def test_resizing_keeps_the_proportions_if_asked():
    image = tf.random.stateless_uniform((20, 10, 3), SEED, 0, 255)
    assert ops.image.resize_image(image, 8, 6, "keep").shape == (8, 4, 3)
    assert ops.image.resize_image(image, 8, 6, "stretch").shape == (8, 6, 3)
    assert ops.image.resize_image(tf.ones((10, 20, 3)), 8, 6, "keep").shape == (3, 6, 3)
    assert ops.image.resize_image(tf.ones((2, 3, 3)), 8, 6, "keep").shape == (4, 6, 3)  # small pictures grow


@pytest.mark.parametrize("shape", [(1, 5000, 3), (5000, 1, 3), (1, 1, 3)])
def test_extreme_proportions_keep_a_pixel(shape):
    resized = ops.image.resize_image(tf.fill(shape, 7.0), 8, 6, "keep")
    assert min(resized.shape) >= 1
    np.testing.assert_allclose(resized, np.full(resized.shape, 7.0), rtol=1e-6)


def test_shrinking_averages():
    """Without antialiasing every second column of a fine grid would vanish."""
    grid = np.tile(np.array([0.0, 200.0], np.float32)[None, :, None], (16, 32, 3))
    inner = ops.image.resize_image(tf.constant(grid), 4, 16, "stretch")[:, 2:-2]
    np.testing.assert_allclose(inner, np.full((4, 12, 3), 100.0), atol=1e-3)


def test_padding_centres_a_picture():
    padded = ops.image.pad_image(tf.ones((2, 3, 3)), 5, 7).numpy()[..., 0]
    assert padded.shape == (5, 7)
    assert padded.sum() == 2 * 3
    assert padded[1:3, 2:5].all()


ROWS = 400  # so many rows tell a distribution


def moved(image, rows=ROWS, **limits):
    """(B, H, W, C): the same picture in many rows, each moved for itself."""
    limits = {"flip": False, "shift": 0.0, "zoom": 0.0, "rotate_degrees": 0.0} | limits
    return ops.image.move_image(repeated(image, rows), SEED, **limits).numpy()


def repeated(values, rows=ROWS):
    return tf.repeat(tf.constant(values, tf.float32)[tf.newaxis], rows, axis=0)


def assert_uniform(values, low, high):
    """All between the limits, and as evenly spread as draws of that many are; the seed is fixed."""
    assert low - 1e-3 <= np.min(values) and np.max(values) <= high + 1e-3
    assert scipy.stats.kstest(np.asarray(values, np.float64), "uniform", (low, high - low)).pvalue > 0.01


def test_a_picture_that_is_not_to_move_stays_as_it_is():
    image = tf.random.stateless_normal((7, 5, 3), SEED)
    np.testing.assert_allclose(moved(image, 5), repeated(image, 5), atol=1e-5)


def test_half_of_the_pictures_are_mirrored():
    image = tf.random.stateless_normal((7, 5, 3), SEED).numpy()
    found = moved(image, flip=True)
    mirrored = [np.allclose(one, image[:, ::-1], atol=1e-4) for one in found]
    same = [np.allclose(one, image, atol=1e-4) for one in found]
    assert sum(mirrored) + sum(same) == ROWS
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize(("axis", "most_px"), [(0, 4.0), (1, 3.0)])
def test_a_picture_moves_by_a_fraction_of_its_side(axis, most_px):
    """Each pixel of a ramp holds its own place, so that the middle tells how far it went."""
    ramp = np.indices((40, 30))[axis].astype(np.float32)[..., np.newaxis]
    assert_uniform((moved(ramp, shift=0.1) - ramp)[:, 20, 15, 0], -most_px, most_px)


def test_both_sides_of_a_move_are_drawn_by_themselves():
    ramps = np.stack(np.indices((40, 30)), axis=-1).astype(np.float32)
    moves = (moved(ramps, shift=0.1) - ramps)[:, 20, 15]
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.15


def test_edges_go_on_outside():
    turned = moved(np.full((9, 7, 1), 5.0), 10, flip=True, shift=0.3, zoom=0.3, rotate_degrees=40.0)
    np.testing.assert_allclose(turned, np.full((10, 9, 7, 1), 5.0), rtol=1e-5)


def test_zoom_and_turn_leave_the_middle_where_it_is():
    spot = np.zeros((9, 9, 1), np.float32)
    spot[4, 4] = 1
    assert moved(spot, flip=True, zoom=0.3, rotate_degrees=40.0)[:, 4, 4, 0] == pytest.approx(1, abs=1e-4)


def test_zoom_stays_within_its_limit():
    """A ramp's slope is the scale."""
    ramp = np.indices((9, 21))[1].astype(np.float32)[..., np.newaxis]
    assert_uniform(np.diff(moved(ramp, zoom=0.2)[:, 4, 8:12, 0]).mean(axis=1), 0.8, 1.2)


def test_a_turn_stays_within_its_limit():
    """Turned by an angle, a ramp from left to right falls by its sine from row to row."""
    ramp = np.indices((21, 21))[1].astype(np.float32)[..., np.newaxis]
    sines = np.diff(moved(ramp, rotate_degrees=30.0)[:, 8:12, 10, 0]).mean(axis=1)
    assert_uniform(np.degrees(np.arcsin(sines)), -30.0, 30.0)


def test_rows_of_a_batch_are_moved_as_each_is_alone():
    """By hand in NumPy: turned by what a ramp across and one down show."""
    picture = np.random.default_rng(0).normal(size=(9, 11, 2)).astype(np.float32)
    down, across = np.indices((9, 11)).astype(np.float32)
    limits = {"flip": True, "shift": 0.1, "zoom": 0.2, "rotate_degrees": 20.0}
    found = moved(np.concatenate([picture, np.stack([down, across], axis=-1)], axis=-1), 20, **limits)
    for one in found:
        # Where a ramp is not at its end, it tells which place a pixel shows.
        y, x = one[..., 2], one[..., 3]
        for row, column in [(4, 5), (3, 4), (5, 7)]:
            wanted = scipy.ndimage.map_coordinates(picture[..., 0], [[y[row, column]], [x[row, column]]], order=1)
            assert one[row, column, 0] == pytest.approx(wanted[0], abs=1e-4)


def test_colours_that_are_not_to_change_stay():
    images = tf.random.stateless_normal((2, 5, 4, 3), SEED)
    np.testing.assert_allclose(ops.image.jitter_color(images, SEED, 0.0), images, atol=1e-6)


def test_a_grey_picture_changes_by_contrast_and_brightness_of_the_whole():
    """Saturation leaves grey alone: y = c x + b with one c for each channel and one b for all."""
    grey = np.repeat(np.linspace(-1, 1, 5, dtype=np.float32)[:, None, None], 3, axis=-1)
    changed = ops.image.jitter_color(repeated(grey), SEED, 0.2).numpy()
    contrast, brightness = (changed[:, -1, 0] - changed[:, 0, 0]) / 2, (changed[:, -1, 0] + changed[:, 0, 0]) / 2
    for channel in range(3):
        assert_uniform(contrast[:, channel], 0.8, 1.2)
        np.testing.assert_allclose(brightness[:, channel], brightness[:, 0], atol=1e-5)
    assert (np.abs(np.corrcoef(contrast.T)[np.triu_indices(3, 1)]) < 0.15).all()
    assert_uniform(brightness[:, 0], -0.2, 0.2)
    np.testing.assert_allclose(changed, grey * contrast[:, None, None] + brightness[:, None, None], atol=1e-5)


def test_saturation_stretches_what_is_not_grey():
    """Of (-1, 0, 1) and its grey 0, the middle channel shows the brightness and the outer ones s c + b."""
    changed = ops.image.jitter_color(repeated([[[-1.0, 0.0, 1.0]]]), SEED, 0.1).numpy()[:, 0, 0]
    grey = ops.image.jitter_color(repeated([[[1.0, 1.0, 1.0]]]), SEED, 0.1).numpy()[:, 0, 0]
    contrast = grey[:, 2] - changed[:, 1]  # the same seed draws the same; the middle one is the brightness
    assert_uniform((changed[:, 2] - changed[:, 1]) / contrast, 0.8, 1.2)


def test_one_rectangle_is_erased_by_chance():
    found = ops.image.erase_rectangle(tf.zeros((ROWS, 40, 30, 3)), SEED, 0.3).numpy()
    erased = [one for one in found if one.any()]
    assert len(erased) / ROWS == pytest.approx(0.3, abs=0.06)
    sides, colors = [], []
    for one in erased:
        rows, across = np.flatnonzero(one.any(axis=(1, 2))), np.flatnonzero(one.any(axis=(0, 2)))
        inside = one[rows[0] : rows[-1] + 1, across[0] : across[-1] + 1]
        np.testing.assert_array_equal(inside, np.broadcast_to(inside[0, 0], inside.shape))
        colors.append(inside[0, 0])
        if rows[0] > 0 and rows[-1] < 39 and across[0] > 0 and across[-1] < 29:  # whole rectangles
            sides.append((len(rows) / 40, len(across) / 30))
    low, high = np.min(sides, axis=0), np.max(sides, axis=0)
    np.testing.assert_allclose([low, high], [[0.1, 0.1], [0.4, 0.4]], atol=0.05)
    assert np.mean(colors) == pytest.approx(0, abs=0.2) and np.std(colors) == pytest.approx(1, abs=0.15)
    images = tf.random.stateless_normal((2, 5, 4, 3), SEED)
    np.testing.assert_array_equal(ops.image.erase_rectangle(images, SEED, 0.0), images)
