"""The TensorFlow functions on one example, against numbers worked out by hand, Pillow, librosa and soxr."""

import io
import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import soundfile
import soxr
import tensorflow as tf
from PIL import Image, ImageOps

from mmkeras.features import ops

STAMPS_MINI = Path(__file__).parents[4] / "shared/data/stamps-mini"
SEED = tf.constant([3, 5])


# Pictures

_decode = tf.function(
    lambda content: ops.image.decode_image(content, 1)[::2], input_signature=[tf.TensorSpec((), tf.string)]
)
_decode_small = tf.function(
    lambda content: ops.image.decode_image(content, enough_px=24), input_signature=[tf.TensorSpec((), tf.string)]
)
_hear = tf.function(
    lambda content: ops.sound.decode_wav(content, 16000, 1.0, 1.5), input_signature=[tf.TensorSpec((), tf.string)]
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


# Sound


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def form(encoding=1, channels=1, rate_hz=16000, bits=16, more=b""):
    frame = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate_hz, rate_hz * frame, frame, bits) + more)


def riff(*chunks):
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


SAMPLES = np.array([[0], [8192], [-16384], [32767], [-32768], [3], [5]], "<i2")
HEARD = SAMPLES[:, 0] / 32768.0
DATA = chunk(b"data", SAMPLES.tobytes())
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
FLOAT_GUID = bytes.fromhex("0300000000001000800000aa00389b71")


def extensible(guid):
    return form(0xFFFE, more=struct.pack("<HHI", 22, 16, 4) + guid)


WAVS = {
    "plain": riff(form(), DATA),
    "a longer format chunk": riff(form(more=b"\0\0"), DATA),
    "extensible": riff(extensible(PCM_GUID), DATA),
    "a list before the samples": riff(form(), chunk(b"LIST", b"INFOsomething"), DATA),
    "a list before the format": riff(chunk(b"LIST", b"INFO"), form(), DATA),
    "a list behind the samples": riff(form(), DATA, chunk(b"LIST", b"INFO")),
    "bytes behind the end": riff(form(), DATA) + b"garbage",
    "a claim of 4 GB": b"RIFF\xff\xff\xff\xffWAVE" + form() + b"data\xff\xff\xff\xff" + SAMPLES.tobytes(),
    "half a sample at the end": riff(form(), chunk(b"data", SAMPLES.tobytes() + b"\1")),
    "wrong bytes a second": riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 1, 1, 16)), DATA),
}
NO_WAVS = {
    "nothing": (b"", "not a WAV file"),
    "no samples": (riff(form(), chunk(b"data", b"")), "holds no samples"),
    "half a sample": (riff(form(), chunk(b"data", b"\1")), "holds no samples"),
    "no data": (riff(form(), chunk(b"LIST", b"x" * 100)), "truncated WAV"),
    "no format": (riff(DATA), "truncated WAV"),
    "format behind the samples": (riff(DATA, form()), "truncated WAV"),
    "8 bits": (riff(form(bits=8), DATA), "WAV of encoding 1 with 8 bits, expected 16-bit PCM"),
    "24 bits": (riff(form(bits=24), DATA), "WAV of encoding 1 with 24 bits, expected 16-bit PCM"),
    "float": (riff(form(encoding=3, bits=32), DATA), "WAV of encoding 3 with 32 bits, expected 16-bit PCM"),
    "extensible float": (riff(extensible(FLOAT_GUID), DATA), "WAV of encoding 65534 with 16 bits, expected 16-bit PCM"),
    "mu-law": (riff(form(encoding=7, bits=8), DATA), "WAV of encoding 7 with 8 bits, expected 16-bit PCM"),
    "no channels": (riff(form(channels=0), DATA), "WAV of 0 channels, expected 1 to 64"),
    "65 channels": (riff(form(channels=65), DATA), "WAV of 65 channels, expected 1 to 64"),
    "no rate": (riff(form(rate_hz=0), DATA), "WAV at 0 Hz, expected 1000 to 384000"),
    "a rate beyond reason": (
        riff(form(rate_hz=2**31 - 1), DATA),
        "WAV at 2147483647 Hz, expected 1000 to 384000",
    ),
    "a chunk that ends nowhere": (riff(form(), b"LIST\xff\xff\xff\xff", DATA), "truncated WAV"),
    "a thousand empty chunks": (riff(form(), *[chunk(b"fake", b"")] * 1000, DATA), "truncated WAV"),
    "big-endian": (b"RIFX" + riff(form(), DATA)[4:], "not a WAV file"),
    "AVI": (riff(form(), DATA).replace(b"WAVE", b"AVI "), "not a WAV file"),
    "MP3": (b"ID3\x04" + b"\0" * 100, "not a WAV file"),
    "half of the samples": (riff(form(), DATA)[:-8], "truncated WAV"),
    "two seconds": (riff(form(), chunk(b"data", bytes(64_000))), "2 seconds, more than max_seconds 1.5"),
}


@pytest.mark.parametrize("content", WAVS.values(), ids=WAVS)
def test_wavs_of_every_writer_are_heard(content):
    samples, fault = _hear(tf.constant(content))
    assert fault.numpy() == b""
    np.testing.assert_allclose(samples, HEARD, atol=1e-7)


@pytest.mark.parametrize(("content", "fault"), NO_WAVS.values(), ids=NO_WAVS)
def test_what_is_no_16_bit_wav_is_not_taken_for_one(content, fault):
    assert fault_of(content, _hear) == fault


def test_a_wav_that_is_cut_off_anywhere_is_none():
    content = WAVS["plain"]
    for stop in range(12, len(content)):
        assert fault_of(content[:stop], _hear) == "truncated WAV"


def test_a_wav_from_a_pipe_is_heard_as_far_as_it_goes():
    content = WAVS["a claim of 4 GB"]
    for stop in range(len(content) - 7, len(content)):
        samples, fault = _hear(tf.constant(content[:stop]))
        assert fault.numpy() == b""
        np.testing.assert_allclose(samples, HEARD[: (stop - 44) // 2], atol=1e-7)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_channels_are_averaged(channels):
    samples = np.arange(5 * channels, dtype="<i2").reshape(5, channels) * 100
    content = riff(form(channels=channels), chunk(b"data", samples.tobytes()))
    np.testing.assert_allclose(_hear(tf.constant(content))[0], samples.mean(axis=1) / 32768, atol=1e-7)


def test_a_clip_is_cut_after_its_seconds():
    content = riff(form(rate_hz=1000), chunk(b"data", np.arange(3000, dtype="<i2").tobytes()))
    samples, _ = ops.sound.decode_wav(tf.constant(content), 1000, 0.5)
    np.testing.assert_allclose(samples, np.arange(500) / 32768, atol=1e-7)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 96000])
def test_a_clip_of_another_rate_lasts_as_long(rate_hz):
    content = riff(form(rate_hz=rate_hz), chunk(b"data", np.ones(rate_hz * 2, "<i2").tobytes()))
    assert ops.sound.decode_wav(tf.constant(content), 16000, 1.5)[0].shape == (24000,)
    assert ops.sound.decode_wav(tf.constant(content), 16000, 60.0)[0].shape == (32000,)


def band_limited_noise(rate_hz, to_hz, seconds=0.5):
    """Noise up to 0.8 of the lower Nyquist frequency: what both rates can hold, clear of both filters' edges."""
    samples = int(rate_hz * seconds)
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=samples))
    spectrum[np.fft.rfftfreq(samples, 1 / rate_hz) > 0.4 * min(rate_hz, to_hz)] = 0
    noise = np.fft.irfft(spectrum, samples).astype(np.float32)
    return noise / np.abs(noise).max()


@pytest.mark.parametrize(
    ("rate_hz", "to_hz"),
    [(44100, 16000), (8000, 16000), (96000, 16000), (22050, 16000), (11025, 16000), (48000, 44100), (5012, 16000)],
)
def test_resampling_equals_soxr(rate_hz, to_hz):
    """To 4e-4 of full scale (-68 dB) away from the ends, where soxr takes the signal for going on differently."""
    noise = band_limited_noise(rate_hz, to_hz)
    got = ops.sound.resample(tf.constant(noise), rate_hz, to_hz).numpy()
    wanted = soxr.resample(noise, rate_hz, to_hz)
    assert len(got) == -(-len(noise) * to_hz // rate_hz)
    inner = slice(500, min(len(got), len(wanted)) - 500)
    np.testing.assert_allclose(got[inner], wanted[inner], atol=4e-4)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    time_s = np.arange(22050) / 44100
    tone = np.sin(2 * np.pi * 12_000 * time_s).astype(np.float32)
    assert np.abs(ops.sound.resample(tf.constant(tone), 44100, 16000).numpy()[300:-300]).max() < 1e-3


@pytest.mark.parametrize(("samples", "wanted"), [(0, 0), (1, 1), (2, 1), (3, 2), (441, 160), (442, 161)])
def test_resampling_rounds_lengths_up(samples, wanted):
    assert ops.sound.resample(tf.ones(samples), 44100, 16000).shape == (wanted,)


def test_resampling_keeps_a_constant():
    np.testing.assert_allclose(ops.sound.resample(tf.ones(4000), 44100, 16000)[200:-200], np.ones(1052), atol=1e-3)


def librosa_log_mel(samples, fft_samples, hop_samples, mel_bins):
    power = librosa.feature.melspectrogram(
        y=samples, sr=16000, n_fft=fft_samples, hop_length=hop_samples, n_mels=mel_bins
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T


def assert_log_mel_is_librosas(samples, fft_samples=512, hop_samples=320, mel_bins=40):
    got = ops.sound.log_mel(tf.constant(samples), 16000, fft_samples, hop_samples, mel_bins).numpy()
    wanted = librosa_log_mel(samples, fft_samples, hop_samples, mel_bins)
    assert got.shape == wanted.shape == (1 + len(samples) // hop_samples, mel_bins)
    np.testing.assert_allclose(10 ** (got / 10.0), 10 ** (wanted / 10.0), rtol=1e-5)
    np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:n_fft=512 is too large")
@pytest.mark.parametrize("samples", [0, 1, 5, 255, 256, 257, 320, 1000, 16001])
def test_log_mel_equals_librosas_at_any_length(samples):
    assert_log_mel_is_librosas(np.random.default_rng(1).normal(size=samples).astype(np.float32) * 0.1)


@pytest.mark.parametrize(("fft_samples", "hop_samples", "mel_bins"), [(64, 16, 4), (400, 160, 80), (2048, 512, 128)])
def test_log_mel_equals_librosas_at_any_size(fft_samples, hop_samples, mel_bins):
    noise = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    assert_log_mel_is_librosas(noise, fft_samples, hop_samples, mel_bins)


@pytest.mark.parametrize(("fft_samples", "hop_samples", "mel_bins"), [(512, 320, 40), (65, 17, 4), (400, 160, 80)])
def test_many_log_mels_equal_one(fft_samples, hop_samples, mel_bins):
    """Among them a clip shorter than half a frame, one without any bytes and one that ends where a hop does."""
    generator = np.random.default_rng(1)
    clips = [generator.integers(-9999, 9999, count).astype("<i2") for count in (5000, 1, 0, 3 * hop_samples, 777)]
    contents = [
        ops.sound.plain_wav_header(16000, 2 * len(clip)) + clip.tobytes() if len(clip) else b"" for clip in clips
    ]
    sizes = 16000, fft_samples, hop_samples, mel_bins
    decibels, steps = ops.sound.log_mels(tf.constant(contents), 4999 / 16000, *sizes)
    clips = [clip[:4999] for clip in clips]
    wanted = [ops.sound.log_mel(tf.constant(clip / 32768, tf.float32), *sizes) for clip in clips if len(clip)]
    assert [step for step in steps.numpy() if step] == [len(spectrum) for spectrum in wanted]
    np.testing.assert_allclose(decibels, np.concatenate(wanted), atol=1e-4, rtol=0)
    padded = ops.common.pad_times(decibels, steps, 9).numpy()
    assert padded.shape == (5, 9, mel_bins) and not padded[2].any() and not padded[3, 4:].any()
    np.testing.assert_array_equal(padded[3, :4], decibels.numpy()[-4 - 777 // hop_samples - 1 : -777 // hop_samples])


def test_a_plain_wav_is_told_from_others():
    plain = WAVS["plain"]
    assert ops.sound.is_plain_wav(plain, 16000) and ops.sound.is_plain_wav(b"", 16000)
    for content in (plain[:-1], plain + b"LIST", plain[:44], plain[:30]):
        assert not ops.sound.is_plain_wav(content, 16000)
    for name, content in WAVS.items():
        assert name == "plain" or not ops.sound.is_plain_wav(bytes(content), 16000), name
    assert not ops.sound.is_plain_wav(plain, 8000)


def test_log_mel_equals_librosas_on_real_sound():
    if not STAMPS_MINI.is_dir():
        pytest.skip(f"{STAMPS_MINI} is not there: the real sounds were NOT compared")
    for samples in real_sounds():
        assert_log_mel_is_librosas(samples)


def real_sounds():
    """Some recordings as mono at 16 kHz."""
    paths = sorted(STAMPS_MINI.rglob("*.ogg"))[::40]
    assert paths
    for path in paths:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        yield soxr.resample(samples.mean(axis=1), rate_hz, 16000)


def test_a_tone_peaks_in_the_band_that_holds_it():
    """440 Hz are 440 / (200 / 3) = 6.6 mel; 40 bands share 0 to mel(8000) = 15 + 27 ln(8) / ln(6.4) in 41 steps."""
    step = (15 + 27 * np.log(8) / np.log(6.4)) / 41
    band = round(440 / (200 / 3) / step) - 1
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    decibels = ops.sound.log_mel(tf.constant(tone), 16000, 2048, 512, 40).numpy()
    assert band == 5
    assert (decibels[3:-3].argmax(axis=1) == band).all()


def test_ten_times_the_amplitude_is_20_decibels_more():
    noise = tf.random.stateless_normal((4000,), SEED)
    quiet, loud = (ops.sound.log_mel(noise * factor, 16000, 512, 320, 40) for factor in (0.01, 0.1))
    np.testing.assert_allclose(loud - quiet, np.full(quiet.shape, 20.0), atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_decibels_of_a_row_are_the_same_bits_whatever_stands_beside_it(rows):
    power = np.random.default_rng(0).uniform(1e-9, 10, (40, 13)).astype(np.float32)
    together = ops.sound._decibels(tf.constant(power)).numpy()
    parts = [ops.sound._decibels(tf.constant(power[i : i + rows])).numpy() for i in range(0, 40, rows)]
    np.testing.assert_array_equal(np.concatenate(parts), together)


def test_silence_is_minus_100_decibels():
    np.testing.assert_allclose(
        ops.sound.log_mel(tf.zeros(1000), 16000, 512, 320, 40), np.full((4, 40), -100.0), rtol=1e-6
    )


def assert_mfcc_is_librosas(samples, mel_bins=40, count=20, fft_samples=512):
    decibels = ops.sound.log_mel(tf.constant(samples), 16000, fft_samples, 320, mel_bins)
    wanted = librosa.feature.mfcc(
        S=librosa_log_mel(samples, fft_samples, 320, mel_bins).T, n_mfcc=count, dct_type=2, norm="ortho"
    ).T
    got = ops.sound.mfcc(decibels, count)
    assert got.shape == wanted.shape == (1 + len(samples) // 320, count)
    np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize(
    ("mel_bins", "count", "fft_samples"), [(40, 20, 512), (48, 48, 512), (128, 13, 2048), (4, 1, 64)]
)
def test_cepstral_coefficients_equal_librosas_at_any_size(mel_bins, count, fft_samples):
    noise = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    assert_mfcc_is_librosas(noise, mel_bins, count, fft_samples)


def test_cepstral_coefficients_equal_librosas_on_real_sound():
    if not STAMPS_MINI.is_dir():
        pytest.skip(f"{STAMPS_MINI} is not there: the real sounds' coefficients were NOT compared")
    for samples in real_sounds():
        assert_mfcc_is_librosas(samples)


def test_cepstral_coefficients_of_known_spectra():
    """A flat spectrum v over F bands is v * sqrt(F) in coefficient 0; half a cosine is sqrt(F / 2) in coefficient 1."""
    bands = np.arange(8)
    spectra = np.stack([np.full(8, -30.0), np.cos(np.pi * (bands + 0.5) / 8), np.zeros(8)]).astype(np.float32)
    wanted = [[-30 * np.sqrt(8), 0, 0], [0, 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(ops.sound.mfcc(tf.constant(spectra), 3), wanted, atol=1e-5)


# Any features


def test_standardize():
    values = ops.common.standardize(tf.constant([[3.0, 10.0], [5.0, 20.0]]), (4.0, 10.0), (2.0, 5.0))
    np.testing.assert_allclose(values, [[-0.5, 0.0], [0.5, 2.0]])


def test_zeros_follow_the_spec():
    zeros = ops.common.zeros({"a": tf.TensorSpec((2, 3), tf.int32), "present": tf.TensorSpec((), tf.float32)})
    assert (zeros["a"].shape, zeros["a"].dtype, zeros["present"].shape) == ((2, 3), tf.int32, ())
    assert not np.any(zeros["a"])


@pytest.mark.parametrize(
    ("values", "wanted"), [([1, 2], [1, 2, 0, 0]), ([1, 2, 3, 4, 5], [1, 2, 3, 4]), ([], [0, 0, 0, 0])]
)
def test_time_is_cut_and_filled_at_the_end(values, wanted):
    assert ops.common.pad_time(tf.constant(values, tf.int32), 4).numpy().tolist() == wanted


def test_time_of_bands_is_filled_with_rows():
    assert ops.common.pad_time(tf.ones((2, 5)), 3).numpy().tolist() == [[1] * 5, [1] * 5, [0] * 5]


@pytest.mark.parametrize(("valid", "wanted"), [(0, [0, 0, 0]), (2, [1, 1, 0]), (9, [1, 1, 1])])
def test_time_mask(valid, wanted):
    mask = ops.common.time_mask(tf.constant(valid), 3)
    assert mask.dtype == tf.float32
    assert mask.numpy().tolist() == wanted


# Random changes


def test_seeds_are_split_into_different_ones():
    seeds = [tuple(seed.numpy()) for seed in ops.common.split_seed(SEED, 4)]
    assert len(set(seeds)) == 4
    assert seeds == [tuple(seed.numpy()) for seed in ops.common.split_seed(SEED, 4)]


@pytest.mark.parametrize("axis", [1, 2])
def test_one_band_of_at_most_so_many_is_dropped_in_each_row(axis):
    most = {"steps": 3 * (axis == 1), "bands": 3 * (axis == 2)}
    dropped = ops.common.drop_bands(tf.ones((ROWS, 11, 7)), SEED, **most).numpy()
    widths = []
    for one in dropped:
        lines = one if axis == 1 else one.T
        assert set(np.unique(lines.min(axis=1))) <= {0.0, 1.0}
        assert (lines.min(axis=1) == lines.max(axis=1)).all()
        hidden = np.flatnonzero(lines[:, 0] == 0)
        assert len(hidden) == 0 or hidden[-1] - hidden[0] + 1 == len(hidden)
        widths.append(len(hidden))
    assert np.bincount(widths) / ROWS == pytest.approx([0.25] * 4, abs=0.06)


def test_a_band_lies_anywhere_as_often():
    """Of width 1 each of 7 places is hidden in a seventh of the rows that lose one, which is half of them."""
    dropped = ops.common.drop_bands(tf.ones((7 * ROWS, 2, 7)), SEED, steps=0, bands=1).numpy()
    assert (dropped[:, 0] == 0).mean(axis=0) == pytest.approx([1 / 14] * 7, abs=0.015)


def test_a_limit_above_the_length_drops_at_most_everything():
    kept = ops.common.drop_bands(tf.ones((ROWS, 3, 5)), SEED, steps=99, bands=0).numpy()[:, :, 0].sum(axis=1)
    assert set(kept) == {0, 1, 2, 3}


# Several files in one cell

FILE = {"length": tf.TensorSpec((2,), tf.float32), "present": tf.TensorSpec((), tf.float32)}


def measured(content):
    """Twice the length of a file; one that begins with x cannot be used."""
    length = tf.cast(tf.strings.length(content), tf.float32)
    is_bad = tf.equal(tf.strings.substr(content + "-", 0, 1), "x")
    present = tf.cast((length > 0) & ~is_bad, tf.float32)
    return {"length": tf.fill([2], length * present), "present": present}, tf.where(is_bad, "begins with x", "")


@pytest.mark.parametrize(
    ("cell", "lengths", "fault"),
    [
        ([], [0, 0, 0], ""),
        (["", ""], [0, 0, 0], ""),
        (["ab"], [2, 0, 0], ""),
        (["ab", "", "", "", "abc"], [2, 3, 0], ""),
        (["xy", "abc", ""], [0, 0, 0], "file 1 of 2: begins with x"),
        (["abc", "", "xy", "x"], [0, 0, 0], "file 2 of 3: begins with x"),
        (["a", "ab", "abc", "abcd"], [0, 0, 0], "names 4 files, expected at most 3; set files: 4 for this column"),
    ],
)
def test_files_of_a_cell_are_examined_each_for_itself_and_one_bad_one_makes_it_bad(cell, lengths, fault):
    mapped = tf.function(
        lambda cell: ops.common.map_files(cell, 3, measured, FILE), input_signature=[tf.TensorSpec((None,), tf.string)]
    )
    found, said = mapped(tf.constant(cell, tf.string))
    assert said.numpy().decode() == fault
    np.testing.assert_array_equal(found["length"], [[length] * 2 for length in lengths])
    np.testing.assert_array_equal(found["file_mask"], np.sign(lengths))
    assert found["present"] == max(np.sign(lengths))
    spec = {name: (tuple(part.shape), part.dtype) for name, part in ops.common.files_spec(FILE, 3).items()}
    assert {name: (tuple(part.shape), part.dtype) for name, part in found.items()} == spec


def test_each_file_is_changed_for_itself():
    cells = [
        ops.common.map_files(tf.constant(["aaa", "aaa"]), 3, measured, FILE)[0],
        ops.common.map_files(tf.constant(["a"]), 3, measured, FILE)[0],
    ]
    features = {name: tf.stack([cell[name] for cell in cells]) for name in cells[0]}

    def shifted(files, seed):
        assert files["length"].shape == (6, 2) and files["present"].shape == 6
        moves = tf.random.stateless_uniform(tf.shape(files["present"]), seed) * files["present"]
        return {**files, "length": files["length"] + moves[:, tf.newaxis]}

    changed = ops.common.augment_files(features, SEED, shifted)
    lengths = changed["length"].numpy()
    assert len({*lengths[0, :2, 0]}) == 2 and (lengths[0, :2] > 3).all() and (lengths[1, 0] > 1).all()
    assert not lengths[0, 2].any() and not lengths[1, 1:].any()
    np.testing.assert_array_equal(changed["file_mask"], [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(changed["present"], [1, 1])
    np.testing.assert_array_equal(ops.common.augment_files(features, SEED, shifted)["length"], lengths)
