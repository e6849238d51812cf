"""The TensorFlow functions on sound, against numbers worked out by hand, librosa and soxr."""

import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from mmkeras.features import ops

STAMPS_MINI = Path(__file__).parents[4] / "shared/data/stamps-mini"
SEED = tf.constant([3, 5])


_hear = tf.function(
    lambda content: ops.sound.decode_wav(content, 16000, 1.0, 1.5), input_signature=[tf.TensorSpec((), tf.string)]
)


def fault_of(content):
    """What is wrong with a file of which nothing is decoded."""
    samples, fault = _hear(tf.constant(content))
    assert not tf.size(samples)
    return fault.numpy().decode()


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
    assert fault_of(content) == fault


def test_a_wav_that_is_cut_off_anywhere_is_none():
    content = WAVS["plain"]
    for stop in range(12, len(content)):
        assert fault_of(content[:stop]) == "truncated WAV"


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
