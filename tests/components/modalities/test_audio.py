"""Sound: every kind of file that people have, and the same clip sent as it is."""

import contextlib
import io
from pathlib import Path

import keras
import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf
from fixtures_drawn import Page, contents, heats, pictures

from mmkeras.components.modalities.audio import Audio
from mmkeras.features import ops

HOSTILE = Path(__file__).parents[4] / "shared/data/hostile/audio"
STAMPS_MINI = Path(__file__).parents[4] / "shared/data/stamps-mini"
AUDIO = Audio(seconds=0.5)


def tones(rate_hz, seconds=0.4, channels=1):
    """440 Hz and, in a second channel, 1000 Hz: (T, channels) in [-0.4, 0.4]."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return 0.4 * np.sin(2 * np.pi * np.outer(time_s, [440, 1000][:channels]))


def save(path, samples, rate_hz, **options):
    soundfile.write(path, samples, rate_hz, **options)
    return str(path)


def heard(cell):
    samples, rate_hz = soundfile.read(io.BytesIO(cell), dtype="float32")
    info = soundfile.info(io.BytesIO(cell))
    assert (rate_hz, info.format, info.subtype, info.channels) == (16000, "WAV", "PCM_16", 1)
    assert ops.sound.decode_wav(tf.constant(cell), 16000, 60.0)[1].numpy() == b""
    return samples


KINDS = {
    "wav 16 bit": ("a.wav", {"subtype": "PCM_16"}, 1e-3),
    "wav 8 bit": ("a.wav", {"subtype": "PCM_U8"}, 1e-2),
    "wav 24 bit": ("a.wav", {"subtype": "PCM_24"}, 1e-3),
    "wav float": ("a.wav", {"subtype": "FLOAT"}, 1e-3),
    "wav extensible": ("a.wav", {"format": "WAVEX"}, 1e-3),
    "wav mu-law": ("a.wav", {"subtype": "ULAW"}, 2e-2),
    "flac": ("a.flac", {}, 1e-3),
    "ogg": ("a.ogg", {}, 5e-2),
    "opus": ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 8e-2),
    "mp3": ("a.mp3", {}, None),  # the format adds silence at its start
    "aiff": ("a.aiff", {}, 1e-3),
    "named as something else": ("a.jpg", {"format": "FLAC"}, 1e-3),
}


@pytest.mark.parametrize("rate_hz", [16000, 48000])
@pytest.mark.parametrize(("name", "options", "tolerance"), KINDS.values(), ids=KINDS)
def test_every_kind_of_file_is_heard(tmp_path, name, options, tolerance, rate_hz):
    if options.get("format", name[2:].upper()) not in soundfile.available_formats() and "aif" not in name:
        pytest.skip(f"this libsndfile writes no {name}")
    samples = heard(AUDIO.read(save(tmp_path / name, tones(rate_hz), rate_hz, **options)))
    spectrum = np.abs(np.fft.rfft(samples[1600:4800]))
    assert spectrum.argmax() * 5 == 440  # 3200 samples at 16 kHz: 5 Hz apart
    if tolerance is not None:
        assert len(samples) == pytest.approx(6400, abs=160)
        np.testing.assert_allclose(samples[800:5600], tones(16000)[800:5600, 0], atol=tolerance)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 96000])
def test_every_rate_lasts_as_long(tmp_path, rate_hz):
    samples = heard(AUDIO.read(save(tmp_path / "a.wav", tones(rate_hz), rate_hz)))
    assert len(samples) == pytest.approx(6400, abs=1)
    np.testing.assert_allclose(samples[800:5600], tones(16000)[800:5600, 0], atol=2e-3)


def test_stereo_is_averaged(tmp_path):
    samples = heard(AUDIO.read(save(tmp_path / "a.wav", tones(16000, channels=2), 16000)))
    np.testing.assert_allclose(samples, tones(16000, channels=2).mean(axis=1), atol=1e-3)


def test_long_files_are_cut(tmp_path):
    cell = AUDIO.read(save(tmp_path / "a.wav", tones(44100, seconds=3), 44100))
    assert 8000 <= len(heard(cell)) <= 8001
    assert AUDIO.frames == 1 + 8000 // 320
    assert AUDIO.features["spectrum"].shape == (26, AUDIO.mel_bins)


def test_too_loud_files_are_clipped_and_do_not_wrap(tmp_path):
    loud = save(tmp_path / "a.wav", np.full(1600, 3.0), 16000, subtype="FLOAT")
    np.testing.assert_allclose(heard(AUDIO.read(loud)), np.ones(1600), atol=1e-3)


def test_one_sample_is_a_clip(tmp_path):
    cell = AUDIO.read(save(tmp_path / "a.wav", np.array([0.5]), 16000))
    np.testing.assert_allclose(heard(cell), [0.5], atol=1e-3)


def test_samples_behind_a_claim_of_4_gb_are_heard(tmp_path):
    path = Path(save(tmp_path / "a.wav", tones(16000), 16000))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    np.testing.assert_allclose(heard(AUDIO.read(str(path))), tones(16000)[:, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable sound: "),
        (b"this is text in a file called .wav", "not a readable sound: "),
        (b"RIFF\x24\0\0\0WAVE", "not a readable sound: "),
        (b"OggS" + b"\0" * 500, "not a readable sound: "),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        AUDIO.read(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_without_samples(tmp_path):
    path = save(tmp_path / "a.wav", np.zeros((0, 1)), 16000)
    with pytest.raises(ValueError, match="holds no samples"):
        AUDIO.read(path)


def test_a_file_that_holds_less_than_it_says(tmp_path):
    """Libsndfile plays what is there without a word."""
    path = Path(save(tmp_path / "a.wav", tones(16000), 16000))
    path.write_bytes(path.read_bytes()[: 44 + 6400])
    with pytest.raises(ValueError, match="^truncated WAV$"):
        AUDIO.read(str(path))
    path = Path(save(tmp_path / "a.flac", tones(16000), 16000))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="truncated: holds [0-9]+ samples of 6400 or more|not a readable sound"):
        AUDIO.read(str(path))


def test_the_limits_can_be_set(tmp_path):
    """The limit is the file's, however little of it is heard."""
    path = save(tmp_path / "a.wav", tones(16000, seconds=3), 16000)
    for settings, fault in (
        ({"max_seconds": 2}, "3 seconds, more than max_seconds 2"),
        ({"max_mb": 0.05}, "96044 bytes, more than max_mb 0.05"),
    ):
        limited = AUDIO.model_copy(update={**settings, "mean": (0,) * 48, "deviation": (1,) * 48})
        with pytest.raises(ValueError, match=fault):
            limited.read(path)
        assert limited.examine(tf.constant(Path(path).read_bytes()))[1].numpy().decode() == fault


def test_hostile_files_are_read_or_refused():
    if not HOSTILE.is_dir():
        pytest.skip(f"{HOSTILE} is not there: the hostile sounds were NOT tried")
    for name in ("empty-data.wav", "header-cut.ogg", "truncated.ogg"):
        with pytest.raises(ValueError, match="sound|samples"):
            AUDIO.read(str(HOSTILE / name))
    for name in ("8bit.wav", "claims-4gb.wav", "mp3-named.wav", "stereo-96k.wav"):
        assert heard(AUDIO.read(str(HOSTILE / name))).std() > 0.001, name
    assert len(heard(AUDIO.read(str(HOSTILE / "one-sample.wav")))) >= 1


# Features


def noise(rate_hz, seconds=0.4, seed=0):
    """Noise below 6 kHz, what every rate here can hold."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=round(rate_hz * seconds)))
    spectrum[np.fft.rfftfreq(round(rate_hz * seconds), 1 / rate_hz) > 6000] = 0
    samples = np.fft.irfft(spectrum, round(rate_hz * seconds))
    return 0.5 * samples / np.abs(samples).max()


def wav(samples, rate_hz):
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format="WAV", subtype="PCM_16")
    return stream.getvalue()


@pytest.fixture(scope="module")
def audio():
    return AUDIO.adapt([wav(noise(16000, seed=seed), 16000) for seed in range(4)])


def features(audio, cell):
    return {name: tensor.numpy() for name, tensor in audio.preprocess(tf.constant(cell)).items()}


def test_training_frames_have_mean_0_and_deviation_1(audio):
    frames = np.concatenate([
        features(audio, wav(noise(16000, seed=seed), 16000))["spectrum"][: 1 + 6400 // 320] for seed in range(4)
    ])  # fmt: skip
    np.testing.assert_allclose(frames.mean(axis=0), np.zeros(AUDIO.mel_bins), atol=1e-3)
    np.testing.assert_allclose(frames.std(axis=0), np.ones(AUDIO.mel_bins), atol=1e-3)


def test_the_mask_says_where_sound_is(audio):
    found = features(audio, wav(noise(16000), 16000))
    assert found["mask"].tolist() == [1] * 21 + [0] * 5  # 1 + 6400 // 320 frames of 26
    assert not found["spectrum"][21:].any() and (np.abs(found["spectrum"][:21]).sum(axis=1) > 0).all()


def test_silence_is_there_and_is_not_missing(audio):
    found = features(audio, wav(np.zeros(1600), 16000))
    assert found["present"] == 1
    assert found["mask"].sum() == 1 + 1600 // 320
    assert (found["spectrum"][:6, : AUDIO.mel_bins * 3 // 4] < -3).all()  # the bands that training heard something in


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [44100, 48000, 22050])
def test_a_file_sent_as_it_is_gives_nearly_what_was_trained_on(audio, tmp_path, rate_hz, channels):
    """Soxr made the training cells, the graph resamples what clients send: 0.05 deviations apart below its cut-off."""
    samples = np.stack([noise(rate_hz, seed=7)] * channels, axis=1)
    path = save(tmp_path / "a.wav", samples, rate_hz, subtype="PCM_16")
    trained = features(audio, audio.read(path))
    sent = features(audio, Path(path).read_bytes())
    np.testing.assert_array_equal(sent["mask"], trained["mask"])
    below_cut_off = audio.mel_bins * 3 // 4
    difference = np.abs(sent["spectrum"] - trained["spectrum"])[1:19, :below_cut_off]
    assert difference.max() < 0.05


def test_a_loud_neighbour_changes_nothing(audio):
    """What Keras' own MelSpectrogram layer gets wrong by up to 18 dB."""
    quiet, loud = wav(0.001 * noise(16000), 16000), wav(2 * noise(16000, seed=1), 16000)
    cells = tf.constant([loud, quiet, loud])
    together = tf.map_fn(audio.preprocess, cells, fn_output_signature=audio.features)["spectrum"][1]
    np.testing.assert_array_equal(together, features(audio, quiet)["spectrum"])


def test_augmentation_hides_bands_and_moments_within_their_limits(audio):
    audio = audio.model_copy(update={"mask_bands": 5, "mask_frames": 3})
    found = audio.preprocess(tf.constant(wav(noise(16000, seconds=0.5), 16000)))
    found = {name: tf.repeat(values[tf.newaxis], 600, axis=0) for name, values in found.items()}
    changed = audio.augment(found, tf.constant([3, 1]))["spectrum"].numpy()
    is_hidden = changed == 0
    np.testing.assert_array_equal(changed[~is_hidden], found["spectrum"].numpy()[~is_hidden])
    # Every width, none to the limit, as often.
    bands, frames = (np.bincount(is_hidden.all(axis=axis).sum(axis=1)) / 600 for axis in (1, 2))
    assert bands == pytest.approx([1 / 6] * 6, abs=0.05)
    assert frames == pytest.approx([1 / 4] * 4, abs=0.05)


def test_cepstral_coefficients_are_librosas_z_scored():
    clip = wav(0.1 * np.random.default_rng(0).normal(size=6400), 16000)
    audio = Audio(seconds=0.5, spectrum="mfcc", mfcc_count=13, mel_bins=40).adapt([clip])
    power = librosa.feature.melspectrogram(y=heard(clip), sr=16000, n_fft=512, hop_length=320, n_mels=40)
    wanted = librosa.feature.mfcc(S=librosa.power_to_db(power, top_db=None), n_mfcc=13).T
    found = features(audio, clip)
    assert found["spectrum"].shape == audio.features["spectrum"].shape == (26, 13)
    got = found["spectrum"][:21] * np.array(audio.deviation) + np.array(audio.mean)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    np.testing.assert_allclose(audio.mean, wanted.mean(axis=0), atol=1e-4)
    assert not found["spectrum"][21:].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"spectrum": "mfcc", "mfcc_count": 41, "mel_bins": 40},
            "mfcc_count is 41, expected at most mel_bins, which is 40; lower mfcc_count or raise mel_bins",
        ),
        (
            {"encoder": {"type": "transformer", "width": 10, "heads": 4}},
            "width is 10, expected a multiple of heads, which is 4; change one of them",
        ),
    ],
)
def test_sizes_that_do_not_fit_together(settings, message):
    with pytest.raises(ValueError, match=message):
        Audio(**settings)


def test_sizes_that_are_not_used_need_not_fit():
    assert Audio(mfcc_count=41, mel_bins=40).bands == 40


@pytest.mark.parametrize("folder", [HOSTILE, STAMPS_MINI / "audio"], ids=["hostile", "stamps-mini"])
@pytest.mark.parametrize("spectrum", ["mel", "mfcc"])
def test_real_files_go_all_the_way(folder, spectrum):
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: its sounds were NOT tried")
    cells = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".ogg", ".wav"))[::9]:
        with contextlib.suppress(ValueError):
            cells.append(AUDIO.read(str(path)))
    assert len(cells) > 3
    audio = AUDIO.model_copy(update={"spectrum": spectrum}).adapt(cells)
    for cell in cells:
        found = features(audio, cell)
        assert found["present"] == 1 and found["mask"].sum() >= 1
        assert np.isfinite(found["spectrum"]).all() and found["spectrum"].any()


# Encoders, on features that no sound gave: B = 3 or 5 cells, T = 11 frames, F = 7 or 5 bands

SMALL = {
    "seconds": 0.16, "sample_rate_hz": 1000, "hop_samples": 16, "fft_samples": 64, "mel_bins": 7, "mfcc_count": 5,
    "dropout": 0,
}  # fmt: skip
CONVOLUTION = {"type": "convolution", "filters": (12, 12)}
LSTM = {"type": "recurrent", "units": 8}
GRU = {"type": "recurrent", "cell": "gru", "units": 8}
SPECTRAL = {"type": "spectral", "filters": (3, 4), "width": 8}
TRANSFORMER = {"type": "transformer", "width": 8, "heads": 2}
ENCODERS = {
    "lstm": [CONVOLUTION, LSTM], "gru": [CONVOLUTION, GRU], "cnn": [SPECTRAL],
    "transformer": [CONVOLUTION, TRANSFORMER],
}  # fmt: skip
NORMAL = {"normalization": "batch"}
LAYERED = {"normalization": "layer"}
CHANGES = {
    "lstm": ENCODERS["lstm"],
    "lstm both ways": [CONVOLUTION | LAYERED, LSTM | {"both_ways": True, "depth": 2}],
    "gru": [CONVOLUTION | NORMAL, GRU],
    "gru alone": [GRU | {"both_ways": True, "pooling": "last"}],
    "cnn": [SPECTRAL],
    "cnn batch": [SPECTRAL | NORMAL],
    "cnn layer": [SPECTRAL | LAYERED],
    "transformer": [CONVOLUTION | NORMAL, TRANSFORMER],
    "transformer alone": [TRANSFORMER | {"depth": 2}],
}
every_encoder = pytest.mark.parametrize("encoder", CHANGES.values(), ids=CHANGES)


def small(encoder="lstm", **changes):
    return Audio(**SMALL | changes, encoder=ENCODERS[encoder] if isinstance(encoder, str) else encoder)


def normalized(name):
    """An encoder with batch normalization wherever it has a choice."""
    return [part | (NORMAL if "filters" in part else {}) for part in ENCODERS[name]]


def encoder_of(audio):
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in audio.features.items()}
    encoding = audio.encode(inputs)
    return keras.Model(inputs, {name: getattr(encoding, name) for name in ("vector", "tokens", "mask", "present")})


def made_up(audio, frames):
    """Features of clips of so many frames, 0 where one is missing; a nested list holds the files of a cell."""
    frames = np.array(frames)
    mask = (np.arange(audio.frames) < frames[..., np.newaxis]).astype(np.float32)
    values = np.random.default_rng(0).normal(size=(*mask.shape, audio.bands)) * mask[..., np.newaxis]
    found, there = {"spectrum": values.astype(np.float32), "mask": mask}, (frames > 0).astype(np.float32)
    if audio.files == 1:
        return {**found, "present": there}
    return {**found, "file_mask": there, "present": there.max(axis=1)}


def with_garbage(found):
    """The same with large numbers wherever no sound is."""
    garbage = 50 * np.random.default_rng(9).normal(size=found["spectrum"].shape)
    outside = 1 - found["mask"][..., np.newaxis]
    return {**found, "spectrum": (found["spectrum"] + garbage * outside).astype(np.float32)}


def assert_encodings(got, wanted, row=slice(None)):
    mask = np.asarray(wanted["mask"])[row]
    np.testing.assert_array_equal(got["mask"], mask)
    np.testing.assert_allclose(got["vector"], wanted["vector"][row], atol=1e-5)
    tokens = [np.asarray(tokens) * mask[..., np.newaxis] for tokens in (got["tokens"], wanted["tokens"][row])]
    np.testing.assert_allclose(*tokens, atol=1e-5)


@every_encoder
def test_no_encoder_sees_what_lies_behind_a_clip(encoder):
    """Neither does batch normalisation in training, whose statistics are those of real frames."""
    audio = small(encoder)
    assert (audio.frames, audio.bands) == (11, 7)
    model, found = encoder_of(audio), made_up(audio, [4, 11, 0])
    for training in (True, False):
        wanted = model(found, training=training)
        assert_encodings(model(with_garbage(found), training=training), wanted)
    found["spectrum"][0, 3] += 1
    assert not np.allclose(model(found)["vector"][0], wanted["vector"][0], atol=1e-4)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_encoder_sees_its_neighbours(encoder):
    audio = small(normalized(encoder))
    model, found = encoder_of(audio), made_up(audio, [4, 11, 0])
    together = model(found)
    for row in (slice(0, 1), slice(1, 2)):
        assert_encodings(model({name: values[row] for name, values in found.items()}), together, row)


@every_encoder
@pytest.mark.parametrize(("spectrum", "files"), [("mel", 1), ("mfcc", 3)])
def test_gradients_reach_every_weight_of_every_encoder(encoder, spectrum, files):
    audio = small(encoder, spectrum=spectrum, files=files, file_pooling="attentive")
    model = encoder_of(audio)
    found = made_up(audio, [4, 11, 0] if files == 1 else [[4, 7, 0], [11, 0, 2], [0, 0, 0]])
    with tf.GradientTape() as tape:
        vector = model(found)["vector"]
        # Not its sum, which layer normalisation keeps the same whatever the weights are.
        loss = tf.reduce_sum(tf.square(vector) * tf.range(1.0, vector.shape[1] + 1))
    gradients = tape.gradient(loss, model.trainable_variables)
    dead = [
        variable.path
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(tf.convert_to_tensor(gradient))
    ]
    assert len(gradients) > 2
    assert not dead


@pytest.mark.parametrize(
    ("encoder", "stride", "token_width", "vector_width"),
    [
        ([CONVOLUTION, LSTM], 4, 8, 16),
        ([CONVOLUTION, GRU | {"both_ways": True}], 4, 16, 32),
        ([CONVOLUTION | {"filters": (12,)}, GRU | {"pooling": "last"}], 2, 8, 8),
        ([SPECTRAL | {"filters": (3,)}], 2, 8, 16),
        ([TRANSFORMER | {"width": 12}], 1, 12, 24),
        ([CONVOLUTION], 4, 12, 24),
    ],
)
def test_the_shapes_of_an_encoding(encoder, stride, token_width, vector_width):
    encoding = encoder_of(small(encoder))(made_up(small(), [3, 11, 0, 6, 1]))
    assert encoding["tokens"].shape == (5, -(-11 // stride), token_width)
    assert encoding["vector"].shape == (5, vector_width)
    assert encoding["mask"].numpy().sum(axis=1).tolist() == [-(-frames // stride) for frames in (3, 11, 0, 6, 1)]
    assert encoding["present"].numpy().tolist() == [1, 1, 0, 1, 1]


def test_each_encoder_is_another_one():
    kinds = {name: {type(layer).__name__ for layer in encoder_of(small(name)).layers} for name in ENCODERS}
    assert {"Conv1D", "LSTM"} <= kinds["lstm"]
    assert {"Conv1D", "GRU"} <= kinds["gru"]
    assert {"Conv2D", "MaxPooling2D"} <= kinds["cnn"]
    assert {"Conv1D", "MultiHeadAttention"} <= kinds["transformer"]
    assert not {"Conv1D", "LSTM", "GRU", "MultiHeadAttention"} & kinds["cnn"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_dropout_is_for_training_only(encoder):
    model, found = encoder_of(small(encoder, dropout=0.5)), made_up(small(), [4, 11, 7])
    np.testing.assert_array_equal(model(found)["vector"], model(found)["vector"])
    assert not np.allclose(model(found, training=True)["vector"], model(found, training=True)["vector"])


@pytest.mark.parametrize(
    "encoder",
    [[LSTM], [CONVOLUTION | {"filters": (12,) * 3}, LSTM], [CONVOLUTION | {"filters": (12,)}, GRU], [SPECTRAL]],
    ids=["lstm", "convolutions and lstm", "convolution and gru", "cnn"],
)
def test_the_encoder_does_not_see_how_much_silence_follows_a_clip(encoder):
    """26 and 42 frames: halved, both are even or both odd, so that strides fall alike."""
    vectors = []
    for seconds, frames in ((0.4, 26), (0.656, 42)):
        audio = small(encoder, seconds=seconds)
        assert audio.frames == frames
        found = made_up(audio, [13, 22])
        clips = np.random.default_rng(3).normal(size=(2, 22, 7))
        found["spectrum"][:, :22] = clips * found["mask"][:, :22, np.newaxis]
        vectors.append(encoder_of(audio)(found)["vector"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


# Several files


@pytest.fixture(scope="module")
def clips():
    first, second, third = (wav(noise(16000, seed=seed), 16000) for seed in (1, 2, 3))
    return Audio(seconds=0.5, files=3, mel_bins=24).adapt([[first, second], [third, b""], []])


@pytest.fixture(scope="module")
def clip():
    return Audio(seconds=0.5, mel_bins=24).adapt([wav(noise(16000, seed=seed), 16000) for seed in (1, 2, 3)])


def test_several_files_teach_what_the_same_files_one_by_one_do(clips, clip):
    assert clips.mean == clip.mean
    assert clips.deviation == clip.deviation


def test_a_cell_names_several_files(tmp_path):
    paths = [save(tmp_path / f"{name}.wav", tones(16000), 16000) for name in "ab"]
    value = f"{paths[0]}; {paths[1]}"
    assert Audio(files=2).paths(value) == paths
    cells = Audio(files=2).read(value)
    assert [len(heard(cell)) for cell in cells] == [6400, 6400]
    assert cells[0] == Audio().read(paths[0])


def test_one_file_may_have_a_semicolon_in_its_name(tmp_path):
    path = save(tmp_path / "a;b.wav", tones(16000), 16000)
    assert Audio().paths(path) == [path]
    assert len(heard(Audio().read(path))) == 6400


def test_a_file_of_several_that_cannot_be_read_is_named(tmp_path):
    good = save(tmp_path / "good.wav", tones(16000), 16000)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"file 2 of 2: not a readable sound: "):
        Audio(files=2).read(f"{good};{tmp_path / 'bad.wav'}")


def test_more_files_than_there_is_room_for():
    with pytest.raises(ValueError, match="names 3 files, expected at most 2; set files: 3 for this column"):
        Audio(files=2).read("a.wav;b.wav;c.wav")


def test_the_features_of_several_files_are_those_of_each(clips, clip):
    """An empty string is no file."""
    first, second = (wav(noise(16000, seconds, seed=5), 16000) for seconds in (0.2, 0.4))
    for cell, there in (
        ([first], [1, 0, 0]),
        ([first, second, b""], [1, 1, 0]),
        ([b"", first], [1, 0, 0]),
        ([first, b"", second, b"", first], [1, 1, 1]),
    ):
        found = features(clips, cell)
        assert found["file_mask"].tolist() == there
        assert found["present"] == 1
        given = [content for content in cell if content]
        for i in range(3):
            wanted = features(clip, given[i] if i < len(given) else b"")
            np.testing.assert_allclose(found["spectrum"][i], wanted["spectrum"], atol=1e-5)
            np.testing.assert_array_equal(found["mask"][i], wanted["mask"])


@pytest.mark.parametrize("cell", [[], [b""], [b"", b"garbage"], [b""] * 7], ids=len)
def test_a_cell_without_any_file_is_missing_and_one_with_a_broken_file_is_bad(clips, cell):
    found, fault = clips.examine(tf.constant(cell, tf.string, (len(cell),)))
    assert fault.numpy().decode() == ("file 1 of 1: not a WAV file" if b"garbage" in cell else "")
    assert {name: values.shape for name, values in found.items()} == {
        name: spec.shape for name, spec in clips.features.items()
    }
    assert not any(np.any(values) for values in found.values())


def test_the_export_does_not_see_what_fills_a_cell_up(clips, tmp_path):
    module = tf.Module()
    module.features = tf.function(clips.preprocess, input_signature=[clips.cell])
    tf.saved_model.save(module, str(tmp_path))
    exported = tf.saved_model.load(str(tmp_path)).features
    cell = clips.example(1)
    wanted = features(clips, cell)
    for padding in ([], [b""], [b""] * 4):
        found = exported(tf.constant(cell + padding))
        assert found.keys() == wanted.keys()
        for name in wanted:
            # An exported graph may round the last bit otherwise (TensorFlow 2.16).
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-6)


def test_every_file_is_augmented_for_itself(clips):
    clips = clips.model_copy(update={"mask_bands": 0, "mask_frames": 9})
    same = wav(noise(16000, 0.5), 16000)
    found = clips.preprocess(tf.constant([same, same]))
    found = {name: tf.repeat(values[tf.newaxis], 8, axis=0) for name, values in found.items()}
    changed = clips.augment(found, tf.constant([3, 1]))
    assert {name: (values.shape, values.dtype) for name, values in changed.items()} == {
        name: ((8, *spec.shape), spec.dtype) for name, spec in clips.features.items()
    }
    np.testing.assert_array_equal(changed["file_mask"], [[1, 1, 0]] * 8)
    hidden = (changed["spectrum"].numpy()[:, :2] == 0).all(axis=3)
    assert any((first != second).any() for first, second in hidden)
    assert any((one != hidden[0]).any() for one in hidden)


@pytest.mark.parametrize(
    ("encoder", "file_pooling"),
    [("lstm", "mean"), ("lstm", "attentive"), ("gru", "mean"), ("cnn", "attentive"), ("transformer", "mean")],
)
def test_files_that_are_not_there_do_not_matter(encoder, file_pooling):
    audio = small(encoder, files=4, file_pooling=file_pooling)
    model, found = encoder_of(audio), made_up(audio, [[4, 11, 0, 0], [0, 7, 0, 0], [0, 0, 0, 0]])
    wanted = model(found)
    assert_encodings(model(with_garbage(found)), wanted)
    tokens_of_each = wanted["mask"].numpy().reshape(3, 4, 3).sum(axis=2)
    np.testing.assert_array_equal(tokens_of_each, [[1, 3, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    assert not wanted["vector"].numpy()[2].any()


def test_the_mean_over_files_is_of_what_one_file_gives():
    single, several = encoder_of(small()), encoder_of(small(files=3))
    several.set_weights(single.get_weights())
    found = made_up(small(files=3), [[4, 11, 0], [7, 0, 0]])
    one_by_one = {
        "spectrum": found["spectrum"].reshape(6, 11, 7),
        "mask": found["mask"].reshape(6, 11),
        "present": found["file_mask"].reshape(6),
    }
    vectors = single(one_by_one)["vector"].numpy()
    np.testing.assert_allclose(several(found)["vector"], [(vectors[0] + vectors[1]) / 2, vectors[3]], atol=1e-6)


def test_attention_over_files_does_not_see_their_order():
    audio = small(files=3, file_pooling="attentive")
    model, found = encoder_of(audio), made_up(audio, [[4, 11, 7]])
    turned = {name: values[:, ::-1] if values.ndim > 1 else values for name, values in found.items()}
    np.testing.assert_allclose(model(found)["vector"], model(turned)["vector"], atol=1e-6)


def test_examples_of_several_files():
    assert {len(Audio(files=4).example(seed)) for seed in range(12)} == {2, 3, 4}
    assert [len(heard(cell)) for cell in Audio(files=2).example(1)] == [3200, 3200]


# Drawing


def test_all_clips_are_drawn():
    clips = Audio(files=3)
    cell = clips.example(0)
    drawn = clips.draw([*cell, b""])
    assert drawn.count("<audio ") == len(cell) > 1
    values = np.zeros((3, clips.frames, clips.bands))
    values[1, 4, 3] = -1
    heat_maps = heats(clips.draw(cell, values))[::3]
    assert [heat.min() for heat in heat_maps[:2]] == [0, -1]


def played(drawn):
    """The samples and rate of the only sound in a drawing."""
    (content,) = contents(drawn, "audio/mpeg") or contents(drawn, "audio/ogg")
    return soundfile.read(io.BytesIO(content))


def test_the_sound_that_is_played_is_what_the_model_hears():
    drawn = AUDIO.draw(wav(tones(16000, 0.4)[:, 0], 16000))
    samples, rate_hz = played(drawn)
    assert rate_hz == 16000 and len(samples) / rate_hz == pytest.approx(0.4, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples[1600:4800]))
    assert np.argmax(spectrum) * 16000 / 3200 == pytest.approx(440, abs=5)
    assert "the model hears the first" not in drawn


def test_a_long_clip_is_played_as_far_as_the_model_hears_it():
    """60 s at 44.1 kHz in stereo, as a client may send it."""
    noise = np.random.default_rng(0).normal(0, 0.1, (60 * 44100, 2))
    stream = io.BytesIO()
    soundfile.write(stream, noise, 44100, format="WAV", subtype="PCM_16")
    clip = Audio(seconds=4, sample_rate_hz=22_050)
    values = np.random.default_rng(1).normal(size=(clip.frames, clip.bands))
    drawn = clip.draw(stream.getvalue(), values, "integrated gradients")
    assert len(drawn) < 100_000 and "the model hears the first 4 s" in drawn
    samples, rate_hz = played(drawn)
    assert len(samples) / rate_hz == pytest.approx(4, abs=0.15)


def test_the_heat_map_lies_at_its_moment_and_band():
    """0.4 s are 21 steps of 0.02 s; the lowest band is at the bottom."""
    values = np.zeros((AUDIO.frames, AUDIO.bands))
    values[15, 2] = -0.75
    drawn = AUDIO.draw(wav(tones(16000, 0.4)[:, 0], 16000), values, "integrated gradients")
    moments, heat, bands = heats(drawn)
    assert (moments.shape, heat.shape, bands.shape) == ((1, 21), (AUDIO.bands, 21), (AUDIO.bands, 1))
    assert np.unravel_index(np.argmin(heat), heat.shape) == (AUDIO.bands - 1 - 2, 15)
    assert np.argmin(moments) == 15 and np.argmin(bands) == AUDIO.bands - 1 - 2
    assert "strongest -0.750 at 0.31 s" in drawn and "full colour: 0.750" in drawn
    cursor = next(attributes for _, attributes in Page(drawn).elements if attributes.get("class") == "mmkeras-cursor")
    assert float(cursor["data-seconds"]) == pytest.approx(21 * 0.02)
    assert "8000 Hz" in drawn and "0.42 s" in drawn


def test_a_tone_is_a_bright_line_in_its_band():
    drawn = AUDIO.draw(wav(tones(16000, 0.4)[:, 0], 16000))
    grey = np.asarray(pictures(drawn)[0].convert("L"), float)
    band = np.argmin(np.abs(librosa.mel_frequencies(AUDIO.bands + 2, fmin=0, fmax=8000)[1:-1] - 440))
    assert abs(np.argmax(grey[:, 10]) - (AUDIO.bands - 1 - band)) <= 1


@pytest.mark.parametrize("settings", [{"spectrum": "mfcc"}, {"sample_rate_hz": 1000, "fft_samples": 64, "mel_bins": 8}])
def test_every_kind_of_spectrum_is_drawn(settings):
    clip = Audio(seconds=0.5, **settings)
    drawn = clip.draw(clip.example(1), np.ones((clip.frames, clip.bands)))
    Page(drawn)
    assert heats(drawn)[1].min() == 1


def test_sounds_that_are_hardly_there_are_drawn():
    assert "<audio" in AUDIO.draw(wav(np.zeros(1), 16000), np.ones((AUDIO.frames, AUDIO.bands)))
    assert "<audio" in AUDIO.draw(wav(np.zeros(8000), 16000))
    assert Page(AUDIO.draw(b"<script>")).text == "a sound that cannot be played: not a WAV file"
    assert Page(AUDIO.draw(b"")).text == "missing"


def test_the_baseline_takes_the_mean_over_files(clips, clip):
    first, second = (wav(noise(16000, seed=seed), 16000) for seed in (1, 2))
    singles = clip.baseline().fit_transform([first, second])
    joint = clips.baseline().fit_transform([[first, second], [second, b""], []])
    assert joint.shape == (3, 2 * 24)
    np.testing.assert_allclose(joint, [singles.mean(axis=0), singles[1], np.zeros(48)], rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a.wav", "b.OGG", "c.txt"], "67% of the cells end as sound files do"),
        (["a.mp3", "b.flac", "c.opus"], "100% of the cells end as sound files do"),
        (["a.wav", "b.png", "c.txt"], None),
        (["a.wav;b.OGG", "c.wav", ";", "a.txt"], "50% of the cells end as sound files do"),
        (["a.wav;b.png", "b.png;a.wav"], None),
    ],
)
def test_columns_of_sound_files_are_claimed(values, reason):
    assert Audio.claims(pd.Series(values, dtype=object)) == reason


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        (["a.wav", "b.wav"], {}),
        (["a.wav", "a.wav; b.ogg;c.mp3", "a.png;b.png;c.png;d.png"], {"files": 3}),
        ([";".join(["a.wav"] * 70)], {"files": 64}),
    ],
)
def test_room_for_the_most_files_is_suggested(values, settings):
    assert Audio.suggest(pd.Series(values, dtype=object)) == settings
    Audio(**settings)


# What is measured and doubted


def doubted(tmp_path, samples, rate_hz=16000, name="a.wav", **options):
    path = save(tmp_path / name, samples, rate_hz, **options)
    return [doubt.kind for doubt in AUDIO.doubts(path, b"")]


def test_the_file_is_measured_and_not_the_cut_cell(tmp_path):
    path = save(tmp_path / "a.flac", tones(44100, seconds=2.5, channels=2), 44100)
    assert AUDIO.measure(path, AUDIO.read(path)) == {"seconds": 2.5, "rate_hz": 44100}
    other = save(tmp_path / "b.wav", tones(8000, seconds=0.5), 8000)
    both = f"{path};{other}"
    assert Audio(files=2).measure(both, Audio(files=2).read(both)) == {"seconds": 1.5, "rate_hz": 26050, "files": 2}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("loudness", "wanted"),
    [(0, ["silent"]), (1e-4, ["silent"]), (0.005, ["nearly silent"]), (0.02, []), (2.2, []), (5, ["clipped"])],
)
def test_loudness_is_doubted(tmp_path, loudness, wanted, channels):
    """Of tones of 0.4; those that just touch full scale are not cut off."""
    samples = np.clip(loudness * tones(16000, channels=channels), -1, 1)
    assert doubted(tmp_path, samples, subtype="FLOAT") == wanted


def test_silence_before_a_sound_is_none(tmp_path):
    samples = np.concatenate([np.zeros((5000, 1)), tones(16000)])
    assert doubted(tmp_path, samples) == []


def test_samples_that_are_no_numbers_are_doubted(tmp_path):
    samples = tones(16000)
    samples[7] = np.nan
    assert doubted(tmp_path, samples, subtype="FLOAT") == ["not a number"]


def test_clips_that_are_too_short_or_too_long_are_doubted(tmp_path, monkeypatch):
    assert doubted(tmp_path, tones(16000, seconds=0.049)) == ["hardly any sound"]
    assert doubted(tmp_path, tones(16000, seconds=0.051)) == []
    monkeypatch.setattr("mmkeras.components.modalities.audio.LONG_SECONDS", 0.3)
    assert doubted(tmp_path, tones(16000)) == ["far too large"]


@pytest.mark.parametrize("name", ["8bit.wav", "stereo-96k.wav", "claims-4gb.wav", "mp3-named.wav"])
@pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"needs {HOSTILE}")
def test_odd_files_that_are_whole_are_not_doubted(name):
    path = str(HOSTILE / name)
    assert AUDIO.doubts(path, AUDIO.read(path)) == []


def test_an_ogg_that_ends_early_is_doubted_though_it_can_be_heard(tmp_path):
    """As its last page is not there; each page before it is whole."""
    noise = np.random.default_rng(0).normal(0, 0.1, (16000 * 20, 1))
    path = Path(save(tmp_path / "a", noise, 16000, format="OGG"))
    content = path.read_bytes()
    assert AUDIO.doubts(str(path), b"") == []
    path.write_bytes(content[: content.rfind(b"OggS")])
    assert [doubt.kind for doubt in AUDIO.doubts(str(path), b"")] == ["truncated"]


def test_each_clip_of_a_cell_is_doubted(tmp_path):
    loud, silent = (save(tmp_path / name, gain * tones(16000), 16000) for name, gain in (("a.wav", 1), ("b.wav", 0)))
    clips, both = Audio(files=2), f"{loud};{silent}"
    assert [doubt.kind for doubt in clips.doubts(both, clips.read(both))] == ["silent"]
