"""TensorFlow operations that several kinds of columns share: padding, gaps, faults, several files, seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mmkeras.base.lazy import lazy

tf = lazy("tensorflow")

T = TypeVar("T")


def graph_of_file(function: Callable[[tf.Tensor], T]) -> Callable[[bytes], T]:
    """A function of a file's bytes, () string, as a graph, traced when the first file comes."""
    graph = tf.function(function, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    return lambda content: graph(tf.constant(content))


def begins(content: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(content, 0, len(magic)), magic)


def holds(content: tf.Tensor, part: bytes) -> tf.Tensor:
    return tf.size(tf.strings.split(content, part)) > 1


def length_of(content: tf.Tensor) -> tf.Tensor:
    """() int64."""
    return tf.cast(tf.strings.length(content), tf.int64)


def first_octets(content: tf.Tensor, count: int) -> tf.Tensor:
    """(count,) uint8, or fewer where there are fewer."""
    return tf.io.decode_raw(tf.strings.substr(content, 0, count), tf.uint8)


def number_at(octets: tf.Tensor, start: tf.Tensor | int, count: int, big: bool = False) -> tf.Tensor:
    """() int64: the number without sign in so many octets; what lies beyond the end counts as zeros.

    The first octet weighs least, or most if `big`.
    """
    start = tf.minimum(tf.cast(start, tf.int64), tf.size(octets, tf.int64))
    piece = tf.cast(octets[start : start + count], tf.int64)
    weights = [256**i for i in (reversed(range(count)) if big else range(count))]
    return tf.reduce_sum(piece * tf.constant(weights, tf.int64)[: tf.size(piece)])


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


def first_fault(*faults: tuple[tf.Tensor | bool, tf.Tensor | str]) -> tf.Tensor:
    """() string: the words of the first condition that holds, "" where none does."""
    fault = tf.constant("")
    for is_so, words in reversed(faults):
        fault = tf.where(is_so, words, fault)
    return fault


def bytes_fault(content: tf.Tensor, max_mb: float) -> tf.Tensor:
    """() string: what `cells.check_bytes` says of a file that is too large; "" of any other."""
    length = length_of(content)
    words = tf.strings.join([tf.strings.as_string(length), f" bytes, more than max_mb {max_mb:g}"])
    return first_fault((tf.cast(length, tf.float64) > max_mb * 1e6, words))


def pad_time(values: tf.Tensor, steps: int) -> tf.Tensor:
    """(t, ...) -> (steps, ...): cut or filled with zeros at the end."""
    kept = values[:steps]
    padding = [[0, steps - tf.shape(kept)[0]], *([[0, 0]] * (len(values.shape) - 1))]
    return tf.ensure_shape(tf.pad(kept, padding), (steps, *values.shape[1:]))


def pad_times(values: tf.Tensor, lengths: tf.Tensor, steps: int) -> tf.Tensor:
    """(sum of lengths, F) -> (B, steps, F): `pad_time` of each of B pieces, (B,) long."""
    ragged = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
    return ragged.to_tensor(shape=(None, steps, *values.shape[1:]))


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
    one: Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]],
    features: dict[str, tf.TensorSpec],
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """A cell's files, each examined for itself, as `files_spec` says, and what is wrong with the first bad one.

    One bad file makes the cell bad, as it does where a table is read: all zeros.

    Args:
        cell: (N,) strings, N >= 0; an empty one is no file.
        files: How many the features hold; more are a fault.
        one: Examines one file, () string: its features, whose "present" says whether it can be used, and its fault.
        features: What `one` returns.
    """
    given = tf.boolean_mask(cell, tf.strings.length(cell) > 0)
    count = tf.size(given)
    kept = given[:files]
    filled = tf.ensure_shape(tf.concat([kept, tf.fill([files - tf.size(kept)], "")], axis=0), (files,))
    examined, faults = tf.map_fn(one, filled, fn_output_signature=(features, tf.TensorSpec((), tf.string)))
    number = tf.strings.as_string(count)
    fault = first_fault(
        (count > files, tf.strings.join(["names ", number, f" files, expected at most {files}; set files: ", number,
                                         " for this column"])),
        (True, numbered_fault("file", tf.range(1, files + 1), count, faults)),
    )  # fmt: skip
    is_good = tf.cast(fault == "", tf.float32)
    stacked = {name: tf.ensure_shape(examined[name], (files, *features[name].shape)) * is_good for name in features}
    return _with_file_mask(stacked), fault


def numbered_fault(part: str, numbers: tf.Tensor, count: tf.Tensor, faults: tf.Tensor) -> tf.Tensor:
    """() string: the first of (N,) faults with its number, as in `file 2 of 3: truncated PNG`; "" without any."""
    shown = [tf.strings.as_string(number) for number in (numbers, count)]
    words = tf.strings.join([f"{part} ", shown[0], " of ", shown[1], ": ", faults])
    bad = tf.boolean_mask(words, faults != "")
    return tf.concat([bad, [""]], axis=0)[0]


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
