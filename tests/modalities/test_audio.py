"""Sound: every kind of file that people have, and the same clip sent as it is."""

import io
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from mmkeras import ops
from mmkeras.modalities.audio import Audio

HOSTILE = Path(__file__).parents[3] / "shared/data/hostile/audio"
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
    assert ops.is_wav(tf.constant(cell)) == (len(samples) > 0)
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
    hidden_bands, hidden_frames = set(), set()
    for seed in range(40):
        changed = audio.augment(found, tf.constant([seed, 1]))["spectrum"].numpy()
        is_hidden = changed == 0
        hidden_bands.add(int(is_hidden.all(axis=0).sum()))
        hidden_frames.add(int(is_hidden.all(axis=1).sum()))
        np.testing.assert_array_equal(changed[~is_hidden], found["spectrum"].numpy()[~is_hidden])
    assert hidden_bands == {0, 1, 2, 3, 4, 5}
    assert hidden_frames == {0, 1, 2, 3}


@pytest.mark.parametrize("convolutions", [0, 1, 3])
def test_the_encoder_does_not_see_the_silence_behind_a_clip(convolutions):
    cells = [wav(noise(16000, seconds=0.2, seed=seed), 16000) for seed in range(3)]
    vectors = []
    for seconds in (0.5, 0.82):  # 26 and 42 frames: halved, both are even or both odd, so that strides fall alike
        keras.utils.set_random_seed(1)
        audio = Audio(seconds=seconds, convolutions=convolutions).adapt(cells)
        inputs = {
            name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in audio.features.items()
        }
        model = keras.Model(inputs, audio.encode(inputs).vector)
        vectors.append(model({name: values[None] for name, values in features(audio, cells[0]).items()}).numpy())
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a.wav", "b.OGG", "c.txt"], "67% of the cells end as sound files do"),
        (["a.mp3", "b.flac", "c.opus"], "100% of the cells end as sound files do"),
        (["a.wav", "b.png", "c.txt"], None),
    ],
)
def test_columns_of_sound_files_are_claimed(values, reason):
    assert Audio.claims(pd.Series(values, dtype=object)) == reason
