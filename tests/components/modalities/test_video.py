"""Clips: every kind of file that people have, folders, lists; and motion that no single frame shows."""

import importlib.util
import io
import re
import sys
from pathlib import Path

import av
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_drawn import Page, heats
from PIL import Image as Pillow

from mmkeras.components.modalities.video import Video
from mmkeras.contracts.config import build
from mmkeras.contracts.registry import find

VIDEO = Video(frames=4, height_px=16, width_px=24)
FRAMES, HEIGHT_PX, WIDTH_PX = 23, 64, 96
KINDS = {
    "mp4 of mpeg4": ("a.mp4", "mpeg4", "yuv420p"),
    "mp4 of h264": ("a.mp4", "libx264", "yuv420p"),
    "mov": ("a.mov", "mjpeg", "yuvj420p"),
    "avi": ("a.avi", "mpeg4", "yuv420p"),
    "webm": ("a.webm", "libvpx", "yuv420p"),
    "mkv": ("a.mkv", "libvpx-vp9", "yuv420p"),
    "gif": ("a.gif", "gif", "rgb8"),
}


def drawn(i, count=FRAMES, height_px=HEIGHT_PX, width_px=WIDTH_PX):
    """A red square on blue that walks from left to right as time goes on; its green grows with time."""
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    picture[..., 2] = 200
    left = round(i / (count - 1) * (width_px - 16))
    picture[24:40, left : left + 16] = (220, round(200 * i / (count - 1)), 0)
    return picture


def save(path, codec, pixel_format, frames=FRAMES, draw=drawn):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12)
        stream.height, stream.width = draw(0).shape[:2]
        stream.pix_fmt, stream.bit_rate = pixel_format, 2_000_000
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(i)).reformat(format=pixel_format)))
        container.mux(stream.encode())
    return str(path)


def pictures(cell):
    return [np.asarray(Pillow.open(io.BytesIO(frame))).astype(int) for frame in cell]


def assert_time(picture, i, count=FRAMES):
    """The square is where it was drawn as the i-th frame of so many, in its colours."""
    red = (picture[..., 0] > 120) & (picture[..., 2] < 120)
    rows, columns = np.nonzero(red)
    scale = WIDTH_PX / picture.shape[1]
    assert (columns.mean() + 0.5) * scale == pytest.approx(i / (count - 1) * (WIDTH_PX - 16) + 8, abs=1.5)
    assert (rows.mean() + 0.5) * scale == pytest.approx(32, abs=1.5)
    middle = picture[round(rows.mean()), round(columns.mean())]
    np.testing.assert_allclose(middle, [220, 200 * i / (count - 1), 0], atol=40)
    np.testing.assert_allclose(picture[0, 0], [0, 0, 200], atol=60)  # a GIF has few blues


# Reading


def test_the_name_finds_the_class():
    assert find("modality", "video") is Video


@pytest.mark.parametrize(("name", "codec", "pixel_format"), KINDS.values(), ids=KINDS)
def test_every_kind_of_clip(tmp_path, name, codec, pixel_format):
    cell = VIDEO.read(save(tmp_path / name, codec, pixel_format))
    assert len(cell) == 4 and all(frame.startswith(b"\xff\xd8\xff") for frame in cell)
    for picture, i in zip(pictures(cell), (2, 8, 14, 20), strict=True):  # the middles of four parts of 23
        assert picture.shape == (32, 48, 3)  # twice what the encoder needs
        assert_time(picture, i)


def test_a_name_says_nothing_about_what_is_in_a_file(tmp_path):
    path = Path(save(tmp_path / "a.webm", "libvpx", "yuv420p"))
    assert_time(pictures(VIDEO.read(str(path.rename(tmp_path / "clip"))))[0], 2)


def test_a_short_clip_gives_all_its_frames(tmp_path):
    cell = VIDEO.read(save(tmp_path / "a.mp4", "mpeg4", "yuv420p", 3, lambda i: drawn(i, 3)))
    assert len(cell) == 3
    for i, picture in enumerate(pictures(cell)):
        assert_time(picture, i, 3)


def test_small_frames_are_not_enlarged(tmp_path):
    path = save(tmp_path / "a.mp4", "mpeg4", "yuv420p")
    assert pictures(Video(height_px=48, width_px=48).read(path))[0].shape == (64, 96, 3)
    assert pictures(Video(height_px=16, width_px=16).read(path))[0].shape == (32, 48, 3)
    assert pictures(Video(height_px=8, width_px=36).read(path))[0].shape == (48, 72, 3)


def test_a_clip_of_a_phone_that_was_held_upright(tmp_path):
    """The file says that its frames are to be turned by 90 degrees clockwise."""
    path = Path(save(tmp_path / "a.mp4", "mpeg4", "yuv420p"))
    content = bytearray(path.read_bytes())
    one = (1 << 16).to_bytes(4, "big")
    minus_one, zero, w = (-(1 << 16)).to_bytes(4, "big", signed=True), bytes(4), (1 << 30).to_bytes(4, "big")
    matrix = content.index(b"tkhd") + 4 + 40
    assert content[matrix : matrix + 36] == one + zero * 3 + one + zero * 3 + w
    content[matrix : matrix + 36] = zero + one + zero + minus_one + zero * 4 + w
    path.write_bytes(content)
    picture = pictures(VIDEO.read(str(path)))[0]
    assert picture.shape[0] > picture.shape[1]
    assert_time(np.rot90(picture), 2)  # turned back


def test_a_long_clip_is_never_held_whole(tmp_path, monkeypatch):
    path = save(tmp_path / "a.mp4", "mpeg4", "yuv420p", 90, lambda i: drawn(i, 90))
    made = []
    monkeypatch.setattr(Pillow.Image, "rotate", lambda self, *args, **kwargs: made.append(self.size) or self)
    assert len(VIDEO.read(path)) == 4
    assert made == [(WIDTH_PX, HEIGHT_PX)] * 4  # no other frame was made a picture of


def folder_of_pictures(tmp_path, count=12, ending="png"):
    for i in range(count):
        Pillow.fromarray(drawn(i, count)).save(tmp_path / f"frame{i}.{ending}")
    return tmp_path


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp"])
def test_a_folder_of_pictures_in_natural_order(tmp_path, ending):
    folder = folder_of_pictures(tmp_path, 12, ending)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    assert Video.takes_folders
    for picture, i in zip(pictures(VIDEO.read(str(folder))), (1, 4, 7, 10), strict=True):
        assert_time(picture, i, 12)


def test_a_list_of_pictures_in_its_own_order(tmp_path):
    folder = folder_of_pictures(tmp_path, 12)
    value = f"{folder}/frame7.png; {folder}/frame2.png;{folder}/frame11.png;"
    assert VIDEO.paths(value) == [f"{folder}/frame7.png", f"{folder}/frame2.png", f"{folder}/frame11.png"]
    for picture, i in zip(pictures(VIDEO.read(value)), (7, 2, 11), strict=True):
        assert_time(picture, i, 12)


def test_pictures_that_fit_are_taken_as_they_are(tmp_path):
    content = VIDEO.example(1)[0]
    (tmp_path / "a").write_bytes(content)
    assert VIDEO.read(str(tmp_path / "a")) == [content]


def test_what_is_transparent_is_white(tmp_path):
    Pillow.new("RGBA", (12, 8), (9, 9, 9, 0)).save(tmp_path / "a.png")
    np.testing.assert_allclose(pictures(VIDEO.read(str(tmp_path / "a.png")))[0], 255, atol=1)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="holds no video"):
        VIDEO.read(str(tmp_path / "a.mp4"))


@pytest.mark.parametrize("content", [b"", b"text in a file called .mp4", b"\0\0\0\x18ftypmp42", bytes(range(256)) * 9])
def test_files_that_cannot_be_used(tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(ValueError, match="not a readable video") as caught:
        VIDEO.read(str(tmp_path / "bad.mp4"))
    assert "\n" not in str(caught.value)


def test_a_clip_that_is_cut_off(tmp_path):
    for name, codec in (("a.mp4", "mpeg4"), ("a.avi", "mpeg4")):
        path = Path(save(tmp_path / name, codec, "yuv420p"))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match="not a readable video|the file is cut off"):
            VIDEO.read(str(path))


def test_folders_and_pictures_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="the folder holds no picture"):
        VIDEO.read(str(tmp_path))
    folder_of_pictures(tmp_path, 2)
    (tmp_path / "frame1.png").write_bytes((tmp_path / "frame1.png").read_bytes()[:90])
    with pytest.raises(ValueError, match="frame1.png: not a readable picture"):
        VIDEO.read(str(tmp_path))
    (tmp_path / "frame1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="frame1.png: not a picture that Pillow knows"):
        VIDEO.read(str(tmp_path))


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.mp4", "mpeg4", "yuv420p", 2)
    VIDEO.check()
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "mmkeras\[video\]"'):
        VIDEO.check()
    with pytest.raises(ValueError, match=r'pip install "mmkeras\[video\]"'):
        VIDEO.read(path)


# Features


def jpeg(color, size_px=(24, 16)):
    stream = io.BytesIO()
    Pillow.new("RGB", size_px, color).save(stream, "JPEG", quality=95)
    return stream.getvalue()


GREYS = [jpeg((20 * i, 20 * i, 20 * i)) for i in range(11)]
PLAIN = VIDEO.model_copy(update={"mean": (100.0, 100.0, 100.0), "deviation": (20.0, 10.0, 5.0)})


def features(video, cell):
    return {name: tensor.numpy() for name, tensor in video.preprocess(tf.constant(cell, tf.string)).items()}


def test_frames_are_evenly_spaced_and_z_scored_by_channel():
    found = features(PLAIN, GREYS)  # of 11: 1, 4, 6, 9
    np.testing.assert_allclose(found["frames"][:, 3, 5, 0], [(20 * i - 100) / 20 for i in (1, 4, 6, 9)], atol=0.06)
    np.testing.assert_allclose(found["frames"][2, 0, 0], [1, 2, 4], atol=0.21)
    np.testing.assert_array_equal(found["mask"], [1, 1, 1, 1])
    assert found["present"] == 1


def test_empty_frames_are_no_frames():
    found = features(PLAIN, [GREYS[1], b"", GREYS[9], b"", b""])
    np.testing.assert_array_equal(found["mask"], [1, 1, 0, 0])
    np.testing.assert_allclose(found["frames"][:, 0, 0, 0], [-4, 4, 0, 0], atol=0.06)
    assert not found["frames"][2:].any() and found["present"] == 1


@pytest.mark.parametrize(
    ("cell", "wrong"),
    [
        ([], ""),
        ([b""], ""),
        ([GREYS[0], b"", b"broken", GREYS[1]], "frame 2 of 3: not a PNG, JPEG, GIF or BMP file"),
        ([GREYS[0], GREYS[1][:-9]], "frame 2 of 2: truncated JPEG"),
        ([b"broken"] + GREYS[:8], ""),  # of nine frames the first is not looked at
    ],
)
def test_no_frame_is_missing_and_a_broken_one_makes_the_clip_bad(cell, wrong):
    found, fault = PLAIN.examine(tf.constant(cell, tf.string))
    assert fault.numpy().decode() == wrong
    is_good = len(cell) == 9
    assert found["present"] == is_good
    assert is_good or not any(np.any(values) for values in found.values())


def test_training_frames_have_mean_0_and_deviation_1():
    video = VIDEO.adapt([GREYS[:5], [b"", b"broken"], GREYS[5:]])
    np.testing.assert_allclose(video.mean, 100, atol=1)
    np.testing.assert_allclose(video.deviation, 20 * np.sqrt(10), rtol=0.02)  # of 0 to 10


def test_frames_keep_their_proportions_if_told_to():
    video = PLAIN.model_copy(update={"aspect": "keep"})
    frame = features(video, [jpeg((200, 200, 200), (30, 30))])["frames"][0]  # 16 x 16 in 16 x 24
    assert not frame[:, :4].any() and not frame[:, 20:].any() and (frame[:, 4:20] > 4).all()


# Augmentation


def test_all_frames_of_a_clip_are_changed_alike():
    picture = np.random.default_rng(0).normal(size=(16, 24, 3)).astype(np.float32)
    still = {"frames": tf.constant(np.stack([[picture] * 4] * 3)), "mask": tf.ones((3, 4)), "present": tf.ones(3)}
    changed = VIDEO.model_copy(update={"mask_frames": 0, "shift": 0.3}).augment(still, tf.constant([3, 5]))
    for frames in changed["frames"].numpy():
        assert np.abs(frames[0] - picture).max() > 0.1
        for frame in frames[1:]:
            np.testing.assert_array_equal(frame, frames[0])
    assert np.abs(np.diff(changed["frames"], axis=0)).max(axis=(1, 2, 3, 4)).min() > 0.1  # each clip in its own way


def test_direction_is_kept_unless_clips_may_be_mirrored():
    ramp = np.tile(np.linspace(-1, 1, 24, dtype=np.float32)[:, None], (4, 16, 1, 3))
    found = {"frames": tf.constant(np.stack([ramp] * 12)), "mask": tf.ones((12, 4)), "present": tf.ones(12)}
    still = {"shift": 0.0, "zoom": 0.0, "rotate_degrees": 0.0, "color": 0.0, "mask_frames": 0}

    def rises(flip):
        video = VIDEO.model_copy(update={**still, "flip": flip})
        drawn = video.augment(found, tf.constant([3, 1]))["frames"].numpy()
        return {bool(one[0, 0, -1, 0] > one[0, 0, 0, 0]) for one in drawn}

    assert Video().flip is False
    assert rises(flip=False) == {True}
    assert rises(flip=True) == {True, False}


def test_hidden_frames_are_masked_and_never_all():
    found = batch_of(PLAIN, [GREYS[6:8]] * 30)
    video = PLAIN.model_copy(update={"mask_frames": 4})
    changed = {name: np.asarray(tensor) for name, tensor in video.augment(found, tf.constant([3, 1])).items()}
    np.testing.assert_array_equal(changed["frames"].any(axis=(2, 3, 4)), changed["mask"] > 0)
    assert set(changed["mask"].sum(axis=1)) == {1, 2}


# Encoding


def encoder(video):
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in video.features.items()}
    encoding = video.encode(inputs)
    return keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask, encoding.present])


@pytest.mark.parametrize(
    "steps_encoder",
    [
        pytest.param({"type": "recurrent", "units": 8}, id="lstm", marks=pytest.mark.slow),
        pytest.param({"type": "recurrent", "cell": "gru", "units": 8}, id="gru", marks=pytest.mark.slow),
        pytest.param({"type": "transformer", "width": 8}, id="transformer"),
    ],
)
def test_encoders_do_not_see_what_lies_behind_a_clip(steps_encoder):
    found = []
    picture = {"type": "picture", "filters": (4,), "units": 6, "places": 2}
    for frames in (4, 7):
        keras.utils.set_random_seed(1)
        changes = {"frames": frames, "encoder": [picture, steps_encoder]}
        video = build("modality", PLAIN.model_dump() | changes, "here")
        cells = [GREYS[:3], GREYS[8:11], GREYS[2::-1]]
        batch = {name: np.stack([features(video, cell)[name] for cell in cells]) for name in video.features}
        vector, tokens, mask, present = encoder(video)(batch)
        assert tokens.shape == (3, frames, 8) and mask.shape == (3, frames)
        assert present.numpy().tolist() == [1, 1, 1]
        found.append(vector.numpy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0][0] - found[0][2]).max() > 1e-4  # the same frames in another order


def test_a_transformer_whose_heads_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="width is 10, expected a multiple of heads, which is 4"):
        Video(encoder=["picture", {"type": "transformer", "width": 10}])


# Around it


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a.mp4", "b.MOV", "c.txt"], "67% of the cells end as video files do"),
        (["a.webm", "b.mkv", "c.avi"], "100% of the cells end as video files do"),
        (["a.gif", "b.jpg", "c.mp4"], None),  # a GIF is a picture unless a config says otherwise
    ],
)
def test_columns_of_clips_are_claimed(values, reason):
    assert Video.claims(pd.Series(values, dtype=object)) == reason


def test_a_drawing_is_a_row_of_frames():
    assert VIDEO.draw(GREYS[:3] + [b""]).count("<img") == 3
    drawn = VIDEO.draw(GREYS * 3)
    assert drawn.count("<img") == 4 and "the model sees 4 of" in drawn
    many = Video(frames=30).draw(GREYS * 9)
    assert many.count("<img") == 12 and "12 of the 30 frames" in many
    assert Page(VIDEO.draw([])).text == "missing"
    assert "a picture that cannot be shown" in VIDEO.draw([GREYS[0], b"<script>"])


def test_frames_have_their_heat_maps_and_sums():
    values = np.zeros((4, 16, 24))
    values[1, 5, 7], values[3, 0, 0], values[3, 0, 1] = 0.5, -0.25, -0.125
    drawn = VIDEO.draw(GREYS[:4], values, "integrated gradients")
    found = heats(drawn)
    assert len(found) == 4 and np.unravel_index(np.argmax(found[1]), found[1].shape) == (5, 7)
    bars = [attributes["title"] for _, attributes in Page(drawn).elements if "title" in attributes]
    assert bars == ["0", "+0.500", "0", "-0.375"]
    assert "width:75%;height:6px;background:rgba(255,120,0,1.00)" in drawn


def test_of_many_frames_the_most_important_ones_are_drawn():
    values = np.zeros((30, 48, 48))
    values[4, 0, 0] = -1.0  # of 3, 4, 5
    drawn = Video(frames=30).draw(GREYS * 9, values)
    assert [text for text in re.findall(r"<span[^>]*>([0-9]+)</span>", drawn)][:2] == ["1", "5"]


def test_the_baseline_sees_colours_and_changes():
    table = VIDEO.baseline().fit_transform([GREYS[:2], [GREYS[5]], [b""]])
    assert table.shape == (3, 4 * 8 * 8 * 3)
    mean, deviation, change, change_deviation = np.split(table[0], 4)
    for part, wanted in ((mean, 10), (deviation, 10), (change, 20), (change_deviation, 0)):
        np.testing.assert_allclose(part, wanted, atol=1.1)
    np.testing.assert_allclose(table[1][:192], 100, atol=1.1)
    assert not table[1][192:].any() and not table[2].any()


# Motion


def moving_dot(direction, generator, frames=8, size_px=32, dot_px=6):
    """A dot that starts anywhere and goes round the edges once: left and right are one set of frames."""
    place = generator.integers(0, size_px, 2)
    step = 4 * np.array({"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}[direction])
    color = generator.integers(120, 256, 3)
    picture = np.zeros((size_px, size_px, 3), np.uint8)
    picture[:dot_px, :dot_px] = color
    return [_moved(picture, place + i * step) for i in range(frames)]


def _moved(picture, place):
    stream = io.BytesIO()
    Pillow.fromarray(np.roll(picture, place, (0, 1))).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def moving_dots(count, seed):
    directions = ["left", "right", "up", "down"]
    generator = np.random.default_rng(seed)
    return [moving_dot(directions[i % 4], generator) for i in range(count)], np.arange(count) % 4


def test_no_unsorted_frames_tell_the_direction():
    """Going round, left and right show the same places, in the opposite order."""
    right, left = (moving_dot(direction, np.random.default_rng(1)) for direction in ("right", "left"))
    assert right != left and set(right) == set(left)


@pytest.mark.slow
def test_motion_alone_is_learned():
    keras.utils.set_random_seed(0)
    cells, targets = moving_dots(320, seed=1)
    video = Video(frames=8, height_px=32, width_px=32).adapt(cells)
    trained = tf.data.Dataset.from_tensor_slices((batch_of(video, cells), targets)).shuffle(320, seed=0).repeat(25)
    trained = trained.batch(32).enumerate().map(lambda i, rows: (video.augment(rows[0], tf.stack([i, 7])), rows[1]))
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in video.features.items()}
    model = keras.Model(inputs, keras.layers.Dense(4)(video.encode(inputs).vector))
    model.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(trained, verbose=0)
    cells, targets = moving_dots(200, seed=2)
    answers = model.predict(batch_of(video, cells), verbose=0).argmax(axis=1)
    assert (answers == targets).mean() >= 0.95


def batch_of(video, cells):
    preprocess = tf.function(video.preprocess, input_signature=[video.cell])
    found = [preprocess(tf.constant(cell)) for cell in cells]
    return {name: np.stack([one[name] for one in found]) for name in video.features}


# What is measured and doubted


def still(i):
    return drawn(0)


def blank(i):
    return np.full((HEIGHT_PX, WIDTH_PX, 3), 99, np.uint8)


def doubted(value):
    return [doubt.kind for doubt in VIDEO.doubts(value, VIDEO.read(value))]


def test_a_clip_is_measured_as_it_is(tmp_path):
    path = save(tmp_path / "a.mp4", "mpeg4", "yuv420p")
    figures = VIDEO.measure(path, VIDEO.read(path))
    assert figures.pop("seconds") == pytest.approx(FRAMES / 12, abs=0.1)
    assert figures == {"rate_hz": 12, "height_px": HEIGHT_PX, "width_px": WIDTH_PX}


def test_pictures_are_counted(tmp_path):
    for i in range(3):
        Pillow.fromarray(drawn(i)).save(tmp_path / f"{i}.png")
    wanted = {"frames": 3, "height_px": 32, "width_px": 48}  # as far as the encoder needs them
    folder, listed = str(tmp_path), ";".join(str(tmp_path / f"{i}.png") for i in range(3))
    assert VIDEO.measure(folder, VIDEO.read(folder)) == VIDEO.measure(listed, VIDEO.read(listed)) == wanted


@pytest.mark.parametrize(("draw", "wanted"), [(drawn, []), (still, ["nothing moves"]), (blank, ["all of one colour"])])
def test_clips_in_which_nothing_is_to_be_seen_are_doubted(tmp_path, draw, wanted):
    assert doubted(save(tmp_path / "a.mp4", "mpeg4", "yuv420p", draw=draw)) == wanted


def test_one_picture_needs_not_move(tmp_path):
    Pillow.fromarray(drawn(0)).save(tmp_path / "a.png")
    assert doubted(str(tmp_path / "a.png")) == []
