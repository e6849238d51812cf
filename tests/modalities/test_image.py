"""Pictures: every kind of file that people have, as Pillow shows it, and each one that cannot be used."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image as Pillow
from PIL import ImageOps

from mmkeras import ops
from mmkeras.modalities.image import Image

HOSTILE = Path(__file__).parents[3] / "shared/data/hostile/image"
ORIENTATION = 0x0112


def picture(mode="RGB", height_px=23, width_px=31):
    down, right = np.mgrid[0:height_px, 0:width_px]
    pixels = np.stack([down * 10, right * 8, 250 - down * 4 - right * 4, 40 + down * 6], axis=-1).astype(np.uint8)
    return Pillow.fromarray(pixels) if mode == "RGBA" else Pillow.fromarray(pixels[..., :3]).convert(mode)


def deep_grey():
    down, right = np.mgrid[0:23, 0:31]
    return Pillow.fromarray((down * 2000 + right * 300).astype(np.uint16))


def transparent_palette():
    image = picture().quantize(7)
    image.info["transparency"] = 2
    return image


def rotated():
    exif = Pillow.Exif()
    exif[ORIENTATION] = 6
    return {"exif": exif}


KINDS = {
    "jpeg": (picture(), "JPEG", {}),
    "jpeg progressive": (picture(), "JPEG", {"progressive": True}),
    "jpeg grey": (picture("L"), "JPEG", {}),
    "jpeg cmyk": (picture("CMYK"), "JPEG", {}),
    "jpeg rotated": (picture(), "JPEG", rotated()),
    "png": (picture(), "PNG", {}),
    "png alpha": (picture("RGBA"), "PNG", {}),
    "png grey": (picture("L"), "PNG", {}),
    "png grey alpha": (picture("LA"), "PNG", {}),
    "png 1 bit": (picture("1"), "PNG", {}),
    "png palette": (picture("P"), "PNG", {}),
    "png palette of 4 bits": (picture().quantize(9), "PNG", {"bits": 4}),
    "png palette with a transparent colour": (transparent_palette(), "PNG", {}),
    "png rotated": (picture(), "PNG", rotated()),
    "gif": (picture("P"), "GIF", {}),
    "gif animated": (picture("P"), "GIF", {"save_all": True, "append_images": [picture("P").rotate(180)]}),
    "gif with a transparent colour": (transparent_palette(), "GIF", {"transparency": 2}),
    "bmp": (picture(), "BMP", {}),
    "bmp palette": (picture("P"), "BMP", {}),
    "bmp 1 bit": (picture("1"), "BMP", {}),
    "webp": (picture(), "WEBP", {}),
    "webp alpha": (picture("RGBA"), "WEBP", {"lossless": True}),
    "tiff": (picture(), "TIFF", {}),
    "tiff cmyk": (picture("CMYK"), "TIFF", {}),
}


def save(path, image, file_format, **options):
    image.save(path, file_format, **options)
    return str(path)


def shown(path):
    """What Pillow shows of a file: upright, first frame, transparency over white."""
    rgba = ImageOps.exif_transpose(Pillow.open(path)).convert("RGBA")
    return np.asarray(Pillow.alpha_composite(Pillow.new("RGBA", rgba.size, "white"), rgba).convert("RGB"), np.float32)


def decoded(cell):
    assert ops.is_image(tf.constant(cell))
    return ops.decode_image(tf.constant(cell)).numpy()


@pytest.mark.parametrize(("image", "file_format", "options"), KINDS.values(), ids=KINDS)
def test_every_kind_of_file_is_what_pillow_shows(tmp_path, image, file_format, options):
    path = save(tmp_path / "picture.any", image, file_format, **options)
    np.testing.assert_allclose(decoded(Image().read(path)), shown(path), atol=3)


def test_exif_rotation_turns_the_sides(tmp_path):
    path = save(tmp_path / "a.jpg", picture(height_px=23, width_px=31), "JPEG", **rotated())
    assert decoded(Image().read(path)).shape == (31, 23, 3)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_keep_their_range(tmp_path, file_format):
    """Pillow's own conversion to 8 bits cuts everything above 255 off: all white."""
    path = save(tmp_path / "deep", deep_grey(), file_format)
    wanted = np.asarray(deep_grey(), np.float64) / 257
    np.testing.assert_allclose(decoded(Image().read(path))[..., 0], wanted, atol=1)


@pytest.mark.parametrize("kind", ["jpeg", "png", "png alpha", "png palette of 4 bits"])
def test_files_that_the_graph_decodes_are_sent_as_they_are(tmp_path, kind):
    image, file_format, options = KINDS[kind]
    path = save(tmp_path / "a", image, file_format, **options)
    assert Image().read(path) == Path(path).read_bytes()


# What cannot be used


def bomb(side_px=20_000):
    """A PNG of 400 million white pixels in half a megabyte."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(b"\0" * ((side_px // 8 + 1) * side_px), 1)
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def as_bytes(file_format):
    stream = io.BytesIO()
    picture(height_px=200, width_px=300).save(stream, file_format)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture that Pillow knows"),
        (b"this is text in a file called .png", "not a picture that Pillow knows"),
        (b"\x89PNG\r\n\x1a\nthis is text", "not a (readable picture: |picture that)"),
        (as_bytes("JPEG")[:1000], "not a readable picture: .*truncated"),
        (as_bytes("JPEG")[:3], "not a (readable picture: |picture that)"),
        (as_bytes("PNG")[:500], "not a readable picture: .*truncated"),
        (as_bytes("GIF")[:100], "not a (readable picture: |picture that)"),
        (bomb(), "not a readable picture: .*decompression bomb"),
    ],
    ids=["empty", "text", "text behind a header", "cut JPEG", "3 bytes", "cut PNG", "cut GIF", "bomb"],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Image().read(str(path))
    assert "\n" not in str(caught.value) and str(path) not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Image().read(str(tmp_path / "nowhere.png"))


def test_hostile_files_are_read_or_refused():
    if not HOSTILE.is_dir():
        pytest.skip(f"{HOSTILE} is not there: the hostile pictures were NOT tried")
    refused = {"bomb.png", "loop-a.jpg", "loop-b.jpg", "not-an-image.png", "truncated.jpg", "zero.jpg"}
    odd = {"animated.gif", "cmyk.jpg", "exif-rotated.jpg", "grey16.png", "palette.png"}
    for name in refused:
        with pytest.raises((ValueError, OSError)), warnings.catch_warnings():
            Image().read(str(HOSTILE / name))
    for name in odd:
        assert decoded(Image().read(str(HOSTILE / name))).std() > 1, name


# Features


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    sizes = [(23, 31), (40, 17), (11, 60)]
    paths = [save(folder / f"{i}.png", picture(height_px=h, width_px=w), "PNG") for i, (h, w) in enumerate(sizes)]
    return [Image().read(path) for path in paths]


def features(image, cell):
    return {name: tensor.numpy() for name, tensor in image.preprocess(tf.constant(cell)).items()}


def test_training_pictures_have_mean_0_and_deviation_1(cells):
    image = Image(height_px=20, width_px=24, aspect="stretch").adapt(cells)
    pixels = np.stack([features(image, cell)["pixels"] for cell in cells])
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), [0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), [1, 1, 1], atol=1e-5)


def test_sizes_are_logarithms_with_mean_0_and_deviation_1(cells):
    image = Image().adapt(cells)
    sizes = np.stack([features(image, cell)["size"] for cell in cells])
    logarithms = np.log([(23, 31), (40, 17), (11, 60)])
    np.testing.assert_allclose(image.size_mean, logarithms.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sizes, (logarithms - logarithms.mean(axis=0)) / logarithms.std(axis=0), atol=1e-4)


def test_one_picture_alone_can_be_learned_from():
    """Deviations of zero divide nothing."""
    grey = Pillow.new("RGB", (9, 7), (10, 20, 30))
    stream = io.BytesIO()
    grey.save(stream, "PNG")
    image = Image().adapt([stream.getvalue()])
    assert all(np.isfinite(values).all() for values in features(image, stream.getvalue()).values())


def test_a_picture_keeps_its_proportions_between_zeros(cells):
    image = Image(height_px=20, width_px=24, aspect="keep").adapt(cells)
    pixels = features(image, cells[2])["pixels"]  # 11 x 60 -> 4 x 24, in the middle
    assert not pixels[:8].any() and not pixels[12:].any()
    assert np.abs(pixels[8:12]).min(axis=-1).mean() > 0.01


def test_a_stretched_picture_fills_the_whole(cells):
    image = Image(height_px=20, width_px=24, aspect="stretch").adapt(cells)
    assert (np.abs(features(image, cells[2])["pixels"]).sum(axis=-1) > 0).all()


@pytest.mark.parametrize(("height_px", "width_px"), [(1, 3000), (3000, 1), (1, 1)])
def test_extreme_pictures_fit(cells, height_px, width_px):
    stream = io.BytesIO()
    Pillow.new("RGB", (width_px, height_px), "red").save(stream, "PNG")
    found = features(Image(aspect="keep").adapt(cells), stream.getvalue())
    assert found["present"] == 1 and np.isfinite(found["pixels"]).all() and found["pixels"].any()


def test_no_augmentation_leaves_pictures_alone(cells):
    image = Image(flip=False, shift=0, zoom=0, rotate_degrees=0, color=0, erase=0).adapt(cells)
    found = image.preprocess(tf.constant(cells[0]))
    np.testing.assert_allclose(image.augment(found, tf.constant([1, 2]))["pixels"], found["pixels"], atol=1e-4)


@pytest.mark.parametrize("options", [{"flatten": True}, {"size_bins": 0}, {"batch_normalization": False}])
def test_encoders_of_other_settings(cells, options):
    image = Image(height_px=16, width_px=20, filters=(5, 7), **options).adapt(cells)
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in image.features.items()}
    encoding = image.encode(inputs)
    assert encoding.tokens.shape == (None, 4 * 5, 7)
    assert len(encoding.vector.shape) == 2


def test_the_encoder_sees_the_size_only_if_it_may(cells):
    for size_bins, differs in ((8, True), (0, False)):
        image = Image(height_px=16, width_px=20, size_bins=size_bins).adapt(cells)
        inputs = {
            name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in image.features.items()
        }
        model = keras.Model(inputs, image.encode(inputs).vector)
        row = {name: values[None] for name, values in features(image, cells[0]).items()}
        other = {**row, "size": row["size"] + 1}
        assert (not np.array_equal(model(row), model(other))) == differs


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a.png", "b.JPG", "c.txt"], "67% of the cells end as picture files do"),
        (["a.webp", "b.tif", "c.gif", "d.bmp"], "100% of the cells end as picture files do"),
        (["a.png", "b.wav", "c.txt"], None),
        (["png", "jpg"], None),
    ],
)
def test_columns_of_picture_files_are_claimed(values, reason):
    assert Image.claims(pd.Series(values, dtype=object)) == reason
