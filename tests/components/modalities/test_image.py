"""Pictures: every kind of file that people have, as Pillow shows it, and each one that cannot be used."""

import io
import re
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_drawn import Page, heats, pictures
from fixtures_pictures import batch, dead_weights, encoded
from PIL import Image as Pillow
from PIL import ImageOps

from mmkeras.components.modalities.image import Image
from mmkeras.contracts.config import build
from mmkeras.features import ops
from mmkeras.features.columns import _traced

HOSTILE = Path(__file__).parents[4] / "shared/data/hostile/image"
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


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
KINDS = {
    "jpeg": (picture(), "JPEG", {}),
    "jpeg progressive": (picture(), "JPEG", {"progressive": True}),
    "jpeg grey": (picture("L"), "JPEG", {}),
    "jpeg cmyk": (picture("CMYK"), "JPEG", {}),
    "jpeg rotated": (picture(), "JPEG", rotated()),
    "jpeg rotated by other data": (picture(), "JPEG", {"xmp": XMP}),
    "jpeg of several pictures": (picture(), "MPO", {"save_all": True, "append_images": [picture().rotate(180)]}),
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


_decode = tf.function(ops.image.decode_image, input_signature=[tf.TensorSpec((), tf.string)])


def decoded(cell):
    pixels, _, fault = _decode(tf.constant(cell))
    assert fault.numpy() == b""
    return pixels.numpy().astype(np.float32)


def fault_of(cell, image=None):
    """What the graph says of a cell, all of whose features have to be zeros."""
    image = image or FITTED
    found, fault = image.examine(tf.constant(cell))
    assert not any(np.any(values) for values in found.values())
    return fault.numpy().decode()


def told(path, image=None):
    """What is wrong with a file, whether reading it tells or the graph."""
    try:
        return fault_of((image or FITTED).read(str(path)), image)
    except ValueError as error:
        return str(error)


FITTED = Image(mean=(0,) * 3, deviation=(1,) * 3, size_mean=(0,) * 2, size_deviation=(1,) * 2)


@pytest.mark.parametrize(("image", "file_format", "options"), KINDS.values(), ids=KINDS)
def test_every_kind_of_file_is_what_pillow_shows(tmp_path, image, file_format, options):
    path = save(tmp_path / "picture.any", image, file_format, **options)
    np.testing.assert_allclose(decoded(Image().read(path)), shown(path), atol=3)


def test_pictures_of_one_format_together_are_what_each_is_alone():
    """Whole files of each format; cut ones and such as only begin as a picture does fail."""
    whole = [bytes_of(picture(mode), name) for mode, name in (("RGB", "PNG"), ("RGBA", "PNG"), ("RGB", "JPEG"))]
    whole += [bytes_of(picture().quantize(7), "GIF"), bytes_of(picture(), "BMP")]
    assert [FITTED.sort_of(cell) for cell in (*whole, b"", b"text")] == ["PNG", "PNG", "JPEG", "GIF", "BMP", "", None]
    assert Image(files=2).sort_of([whole[0]]) is None
    small = FITTED.model_copy(update={"max_megapixels": 1e-4})
    heavy = FITTED.model_copy(update={"max_mb": 5e-5})
    for cell in whole:
        sort = FITTED.sort_of(cell)
        together = _together(FITTED, sort)
        found = together(tf.constant([cell] * 3))
        for name, values in FITTED.examine(tf.constant(cell))[0].items():
            np.testing.assert_array_equal(found[name], np.stack([values] * 3))
        for content in (cell[: len(cell) // 2], cell[:9]):
            assert FITTED.examine(tf.constant(content))[1].numpy(), (sort, len(content))
            with pytest.raises(tf.errors.OpError):
                together(tf.constant([cell, content]))
        for image in (small, heavy):
            assert image.examine(tf.constant(cell))[1].numpy(), sort
            with pytest.raises(tf.errors.OpError):
                _together(image, sort)(tf.constant([cell] * 2))
    assert not any(values.numpy().any() for values in _together(FITTED, "")(tf.constant([b""] * 2)).values())


def _together(image, sort):
    """In eager mode `tf.map_fn` complains of what it had begun when a picture made it fail."""
    given = [tf.TensorSpec((None,), tf.string)]
    return tf.function(lambda cells: image.examine_many(cells, sort), given, autograph=False)


def test_a_graph_is_traced_for_each_format_that_is_met(monkeypatch):
    traced = []
    decoder = ops.image._decoder
    monkeypatch.setattr(ops.image, "_decoder", lambda name, enough_px: traced.append(name) or decoder(name, enough_px))
    _traced.cache_clear()
    examine = _traced(FITTED)
    png, jpeg = (bytes_of(picture(), name) for name in ("PNG", "JPEG"))
    assert examine([b"", png, b""])[1] == ["", "", ""] and traced == ["PNG"]
    assert examine([jpeg, png])[1] == ["", ""] and traced == ["PNG", "JPEG"]
    for _ in range(2):
        features, faults = examine([jpeg, png, jpeg[:-9], b"text"])
        assert faults == ["", "", "truncated JPEG", "not a PNG, JPEG, GIF or BMP file"]
        assert traced == ["PNG", "JPEG", *ops.image.IMAGE_FORMATS]
        assert features["present"].tolist() == [1, 1, 0, 0]


def test_what_is_learned_of_pictures_is_traced_for_each_format_that_is_met(monkeypatch):
    traced = []
    decoder = ops.image._decoder
    monkeypatch.setattr(ops.image, "_decoder", lambda name, enough_px: traced.append(name) or decoder(name, enough_px))
    cells = [bytes_of(picture(height_px=height_px), name) for height_px in (23, 31) for name in ("PNG", "JPEG")]
    few = {"height_px": 16, "width_px": 16}
    good = Image(**few).learn(cells)
    assert traced == ["PNG", "JPEG"]
    traced.clear()
    with_bad = Image(**few).learn([cells[0], cells[1][:-9], b"text", *cells[1:]])
    assert traced == ["PNG", "JPEG", *ops.image.IMAGE_FORMATS]
    assert with_bad == good and len(set(good.mean)) == 3


def test_exif_rotation_turns_the_sides(tmp_path):
    path = save(tmp_path / "a.jpg", picture(height_px=23, width_px=31), "JPEG", **rotated())
    assert decoded(Image().read(path)).shape == (31, 23, 3)
    assert FITTED.measure(path, Image().read(path)) == {"height_px": 31, "width_px": 23}
    size = FITTED.examine(tf.constant(Image().read(path)))[0]["size"]
    np.testing.assert_allclose(size, np.log([31, 23]), rtol=1e-6)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_keep_their_range(tmp_path, file_format):
    """Pillow's own conversion to 8 bits cuts everything above 255 off: all white."""
    path = save(tmp_path / "deep", deep_grey(), file_format)
    wanted = np.asarray(deep_grey(), np.float64) / 257
    np.testing.assert_allclose(decoded(Image().read(path))[..., 0], wanted, atol=1)


@pytest.mark.parametrize(
    "kind", ["jpeg", "jpeg rotated", "jpeg of several pictures", "png", "png alpha", "png palette of 4 bits"]
)
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
        (b"\x89PNG\r\n\x1a\nthis is text", "truncated PNG"),
        (as_bytes("JPEG")[:1000], "truncated JPEG"),
        (as_bytes("JPEG")[:3], "truncated JPEG"),
        (as_bytes("PNG")[:500], "truncated PNG"),
        (as_bytes("GIF")[:100], "not a (readable picture: |picture that)"),
        (bomb(), "20000 x 20000 pixels, more than max_megapixels 100"),
    ],
    ids=["empty", "text", "text behind a header", "cut JPEG", "3 bytes", "cut PNG", "cut GIF", "bomb"],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    fault = told(path)
    assert re.match(message, fault)
    assert "\n" not in fault and str(path) not in fault


def test_a_sound_png_is_not_decoded_where_it_is_read(tmp_path, monkeypatch):
    """The graph decodes it, and tells what is wrong with it."""
    path = save(tmp_path / "a.png", picture(), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert Image().read(path) == Path(path).read_bytes()


def test_the_limits_can_be_set(tmp_path):
    limited = FITTED.model_copy(update={"max_megapixels": 0.0005, "max_mb": 0.005})
    for file_format in ("PNG", "JPEG", "TIFF", "GIF", "BMP"):
        path = save(tmp_path / "a", picture(height_px=23, width_px=31), file_format)
        assert told(path, limited) == "31 x 23 pixels, more than max_megapixels 0.0005"
    assert fault_of(Path(path).read_bytes(), limited) == "31 x 23 pixels, more than max_megapixels 0.0005"
    (tmp_path / "large").write_bytes(bytes(5001))
    assert told(tmp_path / "large", limited) == "5001 bytes, more than max_mb 0.005"
    assert fault_of(bytes(5001), limited) == "5001 bytes, more than max_mb 0.005"


def test_a_program_that_draws_is_never_run(tmp_path):
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\n")
    assert told(tmp_path / "a.eps") == "EPS, a program that draws, no picture"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Image().read(str(tmp_path / "nowhere.png"))


def test_hostile_files_are_read_or_refused():
    if not HOSTILE.is_dir():
        pytest.skip(f"{HOSTILE} is not there: the hostile pictures were NOT tried")
    refused = {"bomb.png", "loop-a.jpg", "loop-b.jpg", "not-an-image.png", "truncated.jpg", "zero.jpg"}
    odd = {"animated.gif", "cmyk.jpg", "exif-rotated.jpg", "grey16.png", "palette.png"}
    for name in refused:
        try:
            assert told(HOSTILE / name), name
        except OSError as error:
            assert name.startswith("loop"), error
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
    found = alone(image.preprocess(tf.constant(cells[0])))
    np.testing.assert_allclose(image.augment(found, tf.constant([1, 2]))["pixels"], found["pixels"], atol=1e-4)


def alone(features):
    """One row's features as a batch."""
    return {name: tensor[tf.newaxis] for name, tensor in features.items()}


@pytest.mark.parametrize(
    ("encoder", "options"), [({"places": "all"}, {}), ({}, {"size_bins": 0}), ({"normalization": "none"}, {})]
)
def test_encoders_of_other_settings(cells, encoder, options):
    image = Image(height_px=16, width_px=20, encoder={"filters": (5, 7), **encoder}, **options).adapt(cells)
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
        (["a.png;b.png", "c.jpg ; d.JPG;"], "100% of the cells end as picture files do"),
        (["a.png;b.txt", "c.txt;d.png"], None),
    ],
)
def test_columns_of_picture_files_are_claimed(values, reason):
    assert Image.claims(pd.Series(values, dtype=object)) == reason


# Encoders


TINY = {"height_px": 16, "width_px": 20}
FEW = {"type": "picture", "filters": (5, 7)}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"encoder": FEW | {"blocks": "residual"}}, id="residual"),
        pytest.param(
            {"encoder": FEW | {"blocks": "residual", "normalization": "none"}},
            id="residual, not normalized",
            marks=pytest.mark.slow,
        ),
        pytest.param({"encoder": FEW | {"normalization": "layer"}}, id="layers", marks=pytest.mark.slow),
        pytest.param({"encoder": FEW, "files": 3}, id="files", marks=pytest.mark.slow),
        pytest.param({"encoder": FEW, "files": 3, "file_pooling": "attentive"}, id="attentive files"),
    ],
)
def test_gradients_reach_every_weight(adapted, options):
    keras.utils.set_random_seed(1)
    image = adapted(Image(**TINY, **options))
    assert not dead_weights(encoded(image), batch(image, [image.example(seed) for seed in (1, 2, 3)]))


def test_more_files_than_there_may_be_are_refused():
    with pytest.raises(ValueError, match=r"columns\.photo\.files: expected less than or equal to 64, got 65"):
        build("modality", {"type": "image", "files": 65}, "config.yaml columns.photo")


# Several files in one cell


@pytest.fixture
def files(tmp_path):
    """Paths of three pictures, red, green and blue, and of a file that is none."""
    for name in ("red", "green", "blue"):
        Pillow.new("RGB", (9, 7), name).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(ops.image.PNG + b"this is text")
    (tmp_path / "text.png").write_bytes(b"this is text")
    return {path.stem: str(path) for path in tmp_path.iterdir()}


@pytest.fixture(scope="module")
def several():
    image = Image(encoder=FEW, files=3, **TINY)
    return image.adapt([image.example(seed) for seed in range(4)])


def test_cells_of_several_files_are_read_in_order(files, several):
    value = f"{files['red']} ; {files['blue']};"
    assert several.paths(value) == [files["red"], files["blue"]]
    assert several.read(value) == [Path(files[name]).read_bytes() for name in ("red", "blue")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["red", "text"], "file 2 of 2: not a picture that Pillow knows"),
        (["nowhere", "red", "blue"], "file 1 of 3: No such file"),
        (["red", "red", "red", "red"], "names 4 files, expected at most 3; set files: 4 for this column"),
    ],
)
def test_cells_of_several_files_that_cannot_be_read(names, message, files, several):
    folder = Path(files["red"]).parent
    with pytest.raises(ValueError, match=message):
        several.read(";".join(str(folder / f"{name}.png") for name in names))


def test_several_files_where_one_is_expected(files):
    with pytest.raises(ValueError, match="names 2 files, expected at most 1; set files: 2"):
        Image().read(f"{files['red']};{files['blue']}")


def test_a_name_may_hold_a_semicolon(files):
    path = Path(files["red"]).rename(Path(files["red"]).with_name("a;b.png"))
    assert Image().read(str(path)) == path.read_bytes()


@pytest.mark.parametrize(
    ("chosen", "mask", "wrong"),
    [
        ([], [0, 0, 0], ""),
        (["", "", "", ""], [0, 0, 0], ""),
        (["red"], [1, 0, 0], ""),
        (["red", "", "blue", ""], [1, 1, 0], ""),
        (["broken", "red", ""], [0, 0, 0], "file 1 of 2: truncated PNG"),
        (["red", "green", "", "text"], [0, 0, 0], "file 3 of 3: not a PNG, JPEG, GIF or BMP file"),
        (["red", "green", "blue", "red"], [0, 0, 0], "names 4 files, expected at most 3; set files: 4"),
    ],
)
def test_empty_files_are_dropped_and_a_broken_one_makes_the_cell_bad(chosen, mask, wrong, files, several):
    contents = [Path(files[name]).read_bytes() if name else b"" for name in chosen]
    found, fault = several.examine(tf.constant(contents, tf.string))
    found = {name: part.numpy() for name, part in found.items()}
    assert fault.numpy().decode().startswith(wrong) and bool(fault.numpy()) == bool(wrong)
    assert {name: part.shape for name, part in found.items()} == {
        "pixels": (3, 16, 20, 3), "size": (3, 2), "file_mask": (3,), "present": (),
    }  # fmt: skip
    np.testing.assert_array_equal(found["file_mask"], mask)
    assert found["present"] == max(mask)
    np.testing.assert_array_equal(found["pixels"].any(axis=(1, 2, 3)), np.array(mask, bool))


def test_each_file_gives_what_it_gives_alone(files, several):
    alone = several.model_copy(update={"files": 1})
    contents = [Path(files[name]).read_bytes() for name in ("red", "blue")]
    together = several.preprocess(tf.constant(contents))
    for i, content in enumerate(contents):
        wanted = alone.preprocess(tf.constant(content))
        np.testing.assert_array_equal(together["pixels"][i], wanted["pixels"])
        np.testing.assert_array_equal(together["size"][i], wanted["size"])


def test_each_file_is_changed_by_itself(files, several):
    contents = [Path(files["red"]).read_bytes()] * 2
    found = alone(several.preprocess(tf.constant(contents)))
    (changed,) = several.augment(found, tf.constant([3, 5]))["pixels"].numpy()
    assert np.abs(changed[0] - changed[1]).max() > 0.01
    assert not changed[2].any()
    np.testing.assert_array_equal(several.augment(found, tf.constant([3, 5]))["pixels"], [changed])


def test_the_vector_is_the_mean_of_the_files_vectors(files, several):
    alone = several.model_copy(update={"files": 1})
    model, single = encoded(several), encoded(alone)
    single.set_weights(model.get_weights())
    contents = [Path(files[name]).read_bytes() for name in ("red", "blue")]
    vector, tokens, mask = model(batch(several, [contents]))
    vectors, alone_tokens, _ = single(batch(alone, contents))
    np.testing.assert_allclose(vector[0], np.mean(vectors, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tokens[0, :40], np.concatenate(alone_tokens), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(mask[0], [1] * 40 + [0] * 20)


def test_examples_are_lists_of_two_or_more(several):
    counts = {len(several.example(seed)) for seed in range(20)}
    assert counts == {2, 3}
    assert several.example(1) == several.example(1) != several.example(2)


def test_all_files_are_drawn(files, several):
    contents = [Path(files[name]).read_bytes() for name in ("red", "blue", "green")]
    assert several.draw(contents).count("<img") == 3
    values = np.zeros((several.files, several.height_px, several.width_px))
    values[1, 2, 3], values[2, 0, 0] = -0.5, 1.0
    found = heats(several.draw([*contents, b""], values, "integrated gradients"))
    assert [np.abs(heat).max().round(1) for heat in found] == [0, 0.5, 1]  # on one scale
    assert np.unravel_index(np.argmin(found[1]), found[1].shape) == (2, 3)


def bytes_of(image, file_format, **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("aspect", "column"), [("keep", 12), ("stretch", 24)])
def test_the_heat_map_lies_where_the_model_saw_it(aspect, column):
    """A picture of 24 x 48 px: kept, it fills columns 12 to 35 of 48; stretched, all of them."""
    content = bytes_of(Pillow.new("RGB", (24, 48), (200, 30, 30)), "PNG")
    values = np.zeros((48, 48))
    values[7, 24] = 0.25
    values[30, 2] = 1e-6  # beside the picture, where it is kept
    (heat,) = heats(Image(aspect=aspect).draw(content, values, "Grad-CAM", scale=0.25))
    assert heat.shape == (48, 24 if aspect == "keep" else 48)
    assert np.unravel_index(np.argmax(heat), heat.shape) == (7, column)


def test_a_photo_of_12_megapixels_is_drawn_small():
    down, right = np.mgrid[0:3000, 0:4000]
    noise = np.random.default_rng(0).integers(0, 90, (3000, 4000))
    pixels = np.stack([down / 20 + noise, right / 30 + noise, noise + 60], axis=-1).astype(np.uint8)
    content = bytes_of(Pillow.fromarray(pixels), "JPEG", quality=95)
    values = np.random.default_rng(1).normal(size=(224, 224))
    drawn = Image(height_px=224, width_px=224).draw(content, values, "integrated gradients")
    assert len(drawn) < 60_000 and len(Image().draw(content)) < 60_000
    assert [(tag, attributes.get("width")) for tag, attributes in Page(drawn).elements if tag == "img"] == [
        ("img", "320"), ("img", None)
    ]  # fmt: skip
    assert pictures(drawn)[0].size == (320, 240)


def test_a_picture_that_cannot_be_shown_says_so():
    assert Page(Image().draw(b"<script>")).text == "a picture that cannot be shown"
    assert Page(Image().draw(b"")).text == Page(Image(files=2).draw([b""])).text == "missing"


def test_the_baseline_sees_the_mean_of_the_files(files, several):
    red, blue = (Path(files[name]).read_bytes() for name in ("red", "blue"))
    both, first, second = several.baseline().fit_transform([[red, blue], [red], [blue]])
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-6)
    np.testing.assert_allclose(first, Image().baseline().fit_transform([red])[0])


@pytest.mark.parametrize(
    ("values", "settings"),
    [(["a.png", "b.png"], {}), (["a.png;b.png", "c.png;d.png;e.jpg", "x;y;z;u"], {"files": 3}), (["a.png;"], {})],
)
def test_the_number_of_files_is_suggested(values, settings):
    assert Image.suggest(pd.Series(values, dtype=object)) == settings


# What is measured and doubted


def stored(image, **options):
    stream = io.BytesIO()
    image.save(stream, options.pop("format", "PNG"), **options)
    return stream.getvalue()


def doubted(modality, cell):
    value = "a.png" if isinstance(cell, bytes) else ";".join(f"{i}.png" for i in range(len(cell)))
    return [doubt.kind for doubt in modality.doubts(value, cell)]


def test_height_and_width_are_measured():
    cell = stored(picture(height_px=23, width_px=31))
    assert Image().measure("", cell) == {"height_px": 23, "width_px": 31}
    other = stored(picture(height_px=13, width_px=11))
    assert Image(files=2).measure("a.png;b.png", [cell, other]) == {"height_px": 18, "width_px": 21, "files": 2}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_one_colour_is_doubted_and_two_are_not(mode):
    format_name = "PNG" if mode == "RGBA" else "JPEG"
    one, two = (Pillow.new(mode, (16, 16), "gray") for _ in range(2))
    two.paste("red", (0, 0, 8, 16))
    assert doubted(Image(), stored(one, format=format_name)) == ["all of one colour"]
    assert doubted(Image(), stored(two, format=format_name)) == []
    assert doubted(Image(files=2), [stored(two, format=format_name), stored(one, format=format_name)]) == [
        "all of one colour"
    ]


def test_white_on_transparent_is_one_colour_and_black_is_not():
    white, black = (Pillow.new("RGBA", (16, 16), (0, 0, 0, 0)) for _ in range(2))
    white.paste((255, 255, 255, 255), (4, 4, 9, 9))
    black.paste((0, 0, 0, 255), (4, 4, 9, 9))
    assert doubted(Image(), stored(white)) == ["all of one colour"]
    assert doubted(Image(), stored(black)) == []


def test_a_large_picture_is_doubted(monkeypatch):
    monkeypatch.setattr("mmkeras.components.modalities.image.LARGE_PIXELS", 23 * 31 - 1)
    assert doubted(Image(), stored(picture())) == ["far too large"]
    monkeypatch.setattr("mmkeras.components.modalities.image.LARGE_PIXELS", 23 * 31)
    assert doubted(Image(), stored(picture())) == []


@pytest.mark.parametrize("format_name", ["PNG", "JPEG"])
def test_what_cannot_be_decoded_to_its_end_is_no_doubt_but_an_error(format_name):
    content = stored(picture(height_px=230, width_px=310), format=format_name)
    with pytest.raises(ValueError, match="not a readable picture: .*truncated"):
        Image().doubts("", content[: len(content) * 2 // 3])
