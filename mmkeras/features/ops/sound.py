"""TensorFlow operations on sound: WAV bytes to samples, resampling, mel spectra, cepstral coefficients."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import struct
from types import ModuleType

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.features.ops.common import begins, first_fault, length_of, number_at

tf = lazy("tensorflow")


LOGARITHMS_AT_ONCE = 64  # four of the widest registers
WAV_PCM, WAV_EXTENSIBLE = 1, 0xFFFE
WAV_CHUNKS = 64  # more of them before the samples are an attack
WAV_RATES_HZ = (1000, 384_000)  # outside, resampling costs more memory than a clip is worth
WAV_CHANNELS = 64
WAV_NAMES = {name: int.from_bytes(name, "little") for name in (b"WAVE", b"fmt ", b"data")}
WAV_OPEN_END = 0x7FFF0000  # octets; files that were written to a pipe claim so many or more
CUT_OFF = 0.99  # of what a file promises; one that holds less was cut off


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
    length = length_of(content)
    octets = tf.io.decode_raw(content, tf.uint8)
    form, data = _wav_chunks(octets)
    encoding, channels, rate_hz, bits, extended = (
        number_at(octets, form + at, size) for at, size in ((0, 2), (2, 2), (4, 4), (14, 2), (24, 2))
    )
    claimed, held = number_at(octets, data - 4, 4), tf.maximum(length - data, 0)
    # A file that was written to a pipe claims 4 GB: what is there counts.
    is_cut = (claimed < WAV_OPEN_END) & (tf.cast(held, tf.float64) < CUT_OFF * tf.cast(claimed, tf.float64))
    is_pcm = (encoding == WAV_PCM) | ((encoding == WAV_EXTENSIBLE) & (extended == WAV_PCM))
    is_rate = (rate_hz >= WAV_RATES_HZ[0]) & (rate_hz <= WAV_RATES_HZ[1])
    is_channels = (channels > 0) & (channels <= WAV_CHANNELS)
    frames = tf.minimum(claimed, held) // tf.maximum(2 * channels, 1)
    is_long = tf.cast(frames, tf.float64) > max_seconds * tf.cast(rate_hz, tf.float64)
    shown = tf.strings.as_string
    fault = first_fault(
        (~begins(content, b"RIFF") | (number_at(octets, 8, 4) != WAV_NAMES[b"WAVE"]), "not a WAV file"),
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
        name, size, body = number_at(octets, position, 4), number_at(octets, position + 4, 4), position + 8
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
