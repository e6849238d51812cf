"""Pure TensorFlow functions on one example: decode, resize, resample, log-mel, pad; on a batch: augment.

Training maps them over tf.data and the export runs the same functions, so nothing here reads Python state or draws
random numbers that a `seed` does not fix.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Callable
from types import ModuleType
from typing import Literal

import numpy as np

from mmkeras.lazy import lazy

tf = lazy("tensorflow")

PNG, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM"
PNG_END, JPEG_SCAN, JPEG_END, GIF_END = b"IEND\xaeB`\x82", b"\xff\xda", b"\xff\xd9", b"\x00;"
JPEG_PROGRESSIVE = b"\xff\xc2"
PNG_DEPTH_AT = 24  # the byte that holds the bits per channel
WHITE = 255.0
WAV_PCM, WAV_EXTENSIBLE = 1, 0xFFFE
WAV_CHUNKS = 64  # more of them before the samples are an attack
WAV_RATES_HZ = (1000, 384_000)  # outside, resampling costs more memory than a clip is worth


# Pictures


def is_image(content: tf.Tensor) -> tf.Tensor:
    """() bool: whether bytes are a PNG, JPEG, GIF or 24/32-bit BMP file that is not cut off.

    TensorFlow cannot catch a decoder's error, so a file that is damaged inside still fails the batch that it is in.
    """
    return tf.reduce_any(
        [
            _begins(content, PNG) & _holds(content, PNG_END),
            _begins(content, JPEG) & _holds(content, JPEG_SCAN) & _can_be_decoded(content),
            _begins(content, GIF) & _holds(content, GIF_END),
            _begins(content, BMP) & (_bmp_octets(content) > 0),
        ]
    )


def decode_image(content: tf.Tensor) -> tf.Tensor:
    """Bytes of a PNG, JPEG, GIF (first frame) or BMP file -> (H, W, 3) float32 in [0, 255], transparency over white."""
    return tf.case(
        [
            (_begins(content, PNG), lambda: _over_white(_decode_png(content))),
            (_begins(content, GIF), lambda: _three_channels(tf.io.decode_gif(content)[0])),
            (_begins(content, BMP), lambda: _three_channels(_decode_bmp(content))),
        ],
        # An end of our own lets a cut file decode as far as it goes. `try_recover_truncated=True` would do so too, but
        # never returns where a file ends between two of its segments (TensorFlow 2.21).
        default=lambda: _three_channels(
            tf.io.decode_jpeg(content + JPEG_END, channels=3, dct_method="INTEGER_ACCURATE")
        ),
    )


def resize_image(image: tf.Tensor, height_px: int, width_px: int, aspect: Literal["keep", "stretch"]) -> tf.Tensor:
    """(H, W, 3) -> at most (height_px, width_px, 3), bilinear, antialiased; `keep` leaves the proportions alone."""
    if aspect == "stretch":
        return tf.image.resize(image, (height_px, width_px), antialias=True)
    size_px = tf.cast(tf.shape(image)[:2], tf.float32)
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


def _begins(content: tf.Tensor, magic: bytes) -> tf.Tensor:
    # tf.strings.substr refuses a position past the end, so the length is looked at first by padding.
    return tf.equal(tf.strings.substr(content + b"\0" * len(magic), 0, len(magic)), magic)


def _holds(content: tf.Tensor, part: bytes) -> tf.Tensor:
    return tf.size(tf.strings.split(content, part)) > 1


def _can_be_decoded(content: tf.Tensor) -> tf.Tensor:
    """() bool: whether a JPEG file holds the whole header of its last scan, which begins with its own length.

    A progressive file has several scans with tables between them, and one that is cut off inside these is refused by
    the decoder: it has to be whole.
    """
    scan = tf.strings.split(content, JPEG_SCAN)[-1]
    octets = 256 * _number(scan, 0, 1) + _number(scan, 1, 1)
    begins = (octets > 0) & (tf.cast(tf.strings.length(scan), tf.int64) > octets)
    return begins & (tf.logical_not(_holds(content, JPEG_PROGRESSIVE)) | _holds(scan, JPEG_END))


def _bmp_octets(content: tf.Tensor) -> tf.Tensor:
    """Where the picture in a BMP file ends; 0 where it has not 24 or 32 bits a pixel, or is cut off."""
    pixels_start, width_px, height_px, bits = (
        _number(content, at, size) for at, size in ((10, 4), (18, 4), (22, 4), (28, 2))
    )
    height_px = tf.minimum(height_px, 2**32 - height_px)  # negative where the rows go downwards
    octets = pixels_start + (width_px * bits + 31) // 32 * 4 * height_px
    usable = ((bits == 24) | (bits == 32)) & (width_px > 0) & (height_px > 0) & (width_px * height_px < 2**30)
    return tf.where(usable & (octets <= tf.cast(tf.strings.length(content), tf.int64)), octets, 0)


def _decode_bmp(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_bmp(tf.strings.substr(content, 0, tf.cast(_bmp_octets(content), tf.int32)))


def _number(content: tf.Tensor, start: tf.Tensor | int, octets: int) -> tf.Tensor:
    """() int64: the little-endian number without sign in so many bytes; what lies beyond the end counts as zeros."""
    start = tf.minimum(tf.cast(start, tf.int64), tf.cast(tf.strings.length(content), tf.int64))
    piece = tf.strings.substr(content + b"\0" * octets, start, tf.constant(octets, tf.int64))
    return tf.io.decode_raw(piece + b"\0" * (8 - octets), tf.int64)[0]


def _decode_png(content: tf.Tensor) -> tf.Tensor:
    """PNG bytes -> (H, W, 4) uint8."""
    rgba = tf.io.decode_png(content, channels=4)
    # A picture of 1, 2 or 4 bits and no alpha of its own gets one of 1, 3 or 15 in place of 255 (TensorFlow 2.21).
    is_opaque = (_number(content, PNG_DEPTH_AT, 1) < 8) & tf.logical_not(_holds(content, b"tRNS"))
    alpha = tf.where(is_opaque, tf.constant(255, tf.uint8), rgba[..., 3:])
    return tf.concat([rgba[..., :3], alpha], axis=-1)


def _over_white(rgba: tf.Tensor) -> tf.Tensor:
    rgba = tf.cast(rgba, tf.float32)
    alpha = rgba[..., 3:] / 255.0
    return rgba[..., :3] * alpha + WHITE * (1.0 - alpha)


def _three_channels(image: tf.Tensor) -> tf.Tensor:
    """Grey (1 channel) is repeated, a fourth channel (BMP's unused byte) is dropped."""
    image = tf.cast(image, tf.float32)
    return tf.cond(tf.shape(image)[-1] == 1, lambda: tf.repeat(image, 3, axis=-1), lambda: image[..., :3])


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


# Sound


def is_wav(content: tf.Tensor) -> tf.Tensor:
    """() bool: whether bytes are a WAV file of 16-bit PCM samples, 1 to 384 kHz, with at least one sample."""
    return _wav_layout(content)[3] > 0


def decode_wav(content: tf.Tensor, sample_rate_hz: int, seconds: float) -> tf.Tensor:
    """16-bit PCM WAV bytes of any rate and number of channels -> (T,) float32 mono in [-1, 1] at `sample_rate_hz`.

    T is at most seconds * sample_rate_hz. (`tf.audio.decode_wav` refuses the extensible header, which stereo files
    often have, and sizes that are not exact, and a refusal fails the whole batch.)
    """
    channels, rate_hz, start, frames = _wav_layout(content)
    kept = tf.minimum(frames, tf.cast(tf.math.ceil(tf.cast(rate_hz, tf.float32) * seconds), tf.int64))
    samples = tf.io.decode_raw(tf.strings.substr(content, start, 2 * channels * kept), tf.int16)
    mono = tf.reduce_mean(tf.reshape(tf.cast(samples, tf.float32) / 32768.0, (-1, channels)), axis=-1)
    same = tf.equal(rate_hz, sample_rate_hz)
    mono = tf.cond(same, lambda: mono, lambda: resample(mono, rate_hz, sample_rate_hz))
    return mono[: round(seconds * sample_rate_hz)]


def _wav_layout(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """() int64 each: channels, rate in Hz, where the samples start, frames (0 where the file cannot be used).

    References:
        IBM and Microsoft, Multimedia Programming Interface and Data Specifications 1.0, 1991, pages 56 to 60.
    """
    length = tf.cast(tf.strings.length(content), tf.int64)
    names = {name: int.from_bytes(name, "little") for name in (b"RIFF", b"WAVE", b"fmt ", b"data")}
    zero = tf.constant(0, tf.int64)

    def look_at_chunk(position: tf.Tensor, form: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, ...]:
        name, octets, body = _number(content, position, 4), _number(content, position + 4, 4), position + 8
        form = tf.where(name == names[b"fmt "], body, form)
        data = tf.where(name == names[b"data"], body, data)
        return body + octets + octets % 2, form, data

    _, form, data = tf.while_loop(
        lambda position, form, data: (position + 8 < length) & (data == 0),
        look_at_chunk,
        (tf.constant(12, tf.int64), zero, zero),
        maximum_iterations=WAV_CHUNKS,
    )
    encoding, channels, rate_hz, bits, extended = (
        _number(content, form + at, size) for at, size in ((0, 2), (2, 2), (4, 4), (14, 2), (24, 2))
    )
    usable = tf.reduce_all(
        [
            _number(content, 0, 4) == names[b"RIFF"],
            _number(content, 8, 4) == names[b"WAVE"],
            (form > 0) & (data > 0),
            (encoding == WAV_PCM) | ((encoding == WAV_EXTENSIBLE) & (extended == WAV_PCM)),
            (bits == 16) & (channels > 0),
            (rate_hz >= WAV_RATES_HZ[0]) & (rate_hz <= WAV_RATES_HZ[1]),
        ]
    )
    # A file that was written to a pipe claims 4 GB: what is there counts.
    octets = tf.minimum(_number(content, data - 4, 4), length - data)
    channels = tf.maximum(channels, 1)
    return channels, rate_hz, data, tf.where(usable, octets // (2 * channels), 0)


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
    power = tf.matmul(squared, mel_filter_bank(sample_rate_hz, fft_samples, mel_bins))
    return 10.0 / math.log(10.0) * tf.math.log(tf.maximum(power, 1e-10))


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


# Series


def without_padding(series: tf.Tensor) -> tf.Tensor:
    """(T, C) -> (t, C): up to the last step that holds a number."""
    steps = tf.range(1, tf.shape(series)[0] + 1)
    is_real = tf.reduce_any(tf.math.is_finite(series), axis=1)
    return series[: tf.maximum(tf.reduce_max(tf.where(is_real, steps, 0)), 0)]


def fill_gaps(values: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    """(T, C), (T, C) bool -> (T, C): straight lines over gaps, the nearest value at the ends, 0 without any."""
    values, given = tf.transpose(values), tf.transpose(given)
    steps = tf.range(tf.shape(values)[1])
    # The places of each channel's values, in order, and how many of them lie before or at each step.
    places = tf.sort(tf.where(given, steps, tf.reduce_max(steps)), axis=1)
    seen = tf.cumsum(tf.cast(given, tf.int32), axis=1)
    count = seen[:, -1:]
    before = tf.gather(places, tf.maximum(seen - 1, 0), batch_dims=1)
    after = tf.gather(places, tf.clip_by_value(seen - tf.cast(given, tf.int32), 0, count - 1), batch_dims=1)
    low, high = tf.gather(values, before, batch_dims=1), tf.gather(values, after, batch_dims=1)
    share = tf.math.divide_no_nan(tf.cast(steps - before, tf.float32), tf.cast(after - before, tf.float32))
    return tf.transpose(tf.where(count > 0, low + (high - low) * share, 0.0))


def resize_time(values: tf.Tensor, steps: int) -> tf.Tensor:
    """(T, C) -> (steps, C) along straight lines; where steps are joined, their weighted mean."""
    return tf.image.resize(values[:, tf.newaxis], (steps, 1), antialias=True)[:, 0]


# Text


# What str.strip takes away too.
BLANKS_AROUND = r"^[\s\pZ\x{1c}-\x{1f}\x{85}]+|[\s\pZ\x{1c}-\x{1f}\x{85}]+$"


def strip_blanks(text: tf.Tensor) -> tf.Tensor:
    """() string without the blanks around it, of any script."""
    return tf.strings.regex_replace(text, BLANKS_AROUND, "")


# Any features


def standardize(values: tf.Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> tf.Tensor:
    """Z-scores along the last axis: (x - mean) / deviation."""
    return (values - tf.constant(mean, tf.float32)) / tf.constant(deviation, tf.float32)


def zeros(features: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """What a missing cell's features are."""
    return {name: tf.zeros(spec.shape, spec.dtype) for name, spec in features.items()}


def pad_time(values: tf.Tensor, steps: int) -> tf.Tensor:
    """(t, ...) -> (steps, ...): cut or filled with zeros at the end."""
    kept = values[:steps]
    padding = [[0, steps - tf.shape(kept)[0]], *([[0, 0]] * (len(values.shape) - 1))]
    return tf.ensure_shape(tf.pad(kept, padding), (steps, *values.shape[1:]))


def time_mask(valid_steps: tf.Tensor, steps: int) -> tf.Tensor:
    """(steps,) float32: 1 for the first `valid_steps`, then 0."""
    return tf.sequence_mask(valid_steps, steps, dtype=tf.float32)


# Several files in one cell


def files_spec(features: dict[str, tf.TensorSpec], files: int) -> dict[str, tf.TensorSpec]:
    """One file's features -> a cell's: each with an axis of files in front, `file_mask` (files,) and `present` ()."""
    stacked = {
        name: tf.TensorSpec((files, *spec.shape), spec.dtype) for name, spec in features.items() if name != "present"
    }
    return {**stacked, "file_mask": tf.TensorSpec((files,), tf.float32), "present": tf.TensorSpec((), tf.float32)}


def map_files(
    cell: tf.Tensor,
    files: int,
    one: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    features: dict[str, tf.TensorSpec],
) -> dict[str, tf.Tensor]:
    """The first files of a cell, each preprocessed for itself, as `files_spec` says.

    Args:
        cell: (N,) strings, N >= 0; an empty one is no file.
        files: How many the features hold.
        one: Preprocesses one file, () string; its "present" says whether it can be used.
        features: What `one` returns.
    """
    kept = cell[:files]
    filled = tf.ensure_shape(tf.concat([kept, tf.fill([files - tf.shape(kept)[0]], "")], axis=0), (files,))
    found = tf.map_fn(one, filled, fn_output_signature=features)
    return _with_file_mask({name: tf.ensure_shape(found[name], (files, *features[name].shape)) for name in features})


def augment_files(
    features: dict[str, tf.Tensor],
    seed: tf.Tensor,
    augment: Callable[[dict[str, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]],
) -> dict[str, tf.Tensor]:
    """Cells' features with every file changed for itself.

    Args:
        features: As `files_spec` says, with a batch axis in front.
        seed: (2,) integers.
        augment: Changes a batch of files' features, which hold `present` in place of `file_mask`, by a seed.
    """
    stacked = {name: values for name, values in features.items() if name not in ("file_mask", "present")}
    stacked["present"] = features["file_mask"]
    changed = augment({name: tf.reshape(values, (-1, *values.shape[2:])) for name, values in stacked.items()}, seed)
    return _with_file_mask({name: tf.reshape(changed[name], tf.shape(values)) for name, values in stacked.items()})


def _with_file_mask(stacked: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    mask = stacked.pop("present")
    return {**stacked, "file_mask": mask, "present": tf.reduce_max(mask, axis=-1)}


# Random changes, each fixed by its seed


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """One seed of two integers -> `count` independent ones."""
    return tf.unstack(tf.random.split(tf.cast(seed, tf.int32), count))


def drop_bands(values: tf.Tensor, seed: tf.Tensor, steps: int, bands: int) -> tf.Tensor:
    """Zeroes in each row of (B, T, F) some neighbouring steps, 0 to `steps`, and bands, 0 to `bands`, anywhere.

    References:
        Park et al., SpecAugment, 2019, arXiv:1904.08779. (`tfio.audio.freq_mask` and `time_mask` do the same but
        draw from TensorFlow's global generator, so that no seed of an example could fix what they did.)
    """
    seeds = split_seed(seed, 2)
    kept_steps, kept_bands = (
        _outside_a_run(tf.shape(values)[0], length, most, own_seed)
        for length, most, own_seed in zip(values.shape[1:], (steps, bands), seeds, strict=True)
    )
    return values * (kept_steps[..., tf.newaxis] @ kept_bands[:, tf.newaxis])


def _outside_a_run(rows: tf.Tensor, length: int, most: int, seed: tf.Tensor) -> tf.Tensor:
    """(B, length) float32: 0 on a run of random place and width (0 to `most`), 1 elsewhere."""
    seeds = split_seed(seed, 2)
    # TensorFlow draws integers below one limit only; here each row has its own.
    width = tf.floor(tf.random.stateless_uniform([rows, 1], seeds[0]) * (min(most, length) + 1))
    start = tf.floor(tf.random.stateless_uniform([rows, 1], seeds[1]) * (length - width + 1))
    place = tf.range(length, dtype=tf.float32)
    return tf.cast((place < start) | (place >= start + width), tf.float32)
