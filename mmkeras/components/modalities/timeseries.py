"""Series of measurements: sensors, movements, curves.

Cell: (steps, channels) float32; NaN is a gap, trailing steps of NaN alone are padding, no number at all is
missing, infinite ones alone are bad.
Features: `values` (T, C) float32, z-scored by channel, gaps filled along straight lines, zeros after the end;
`observed` (T, C), 1 where there was a number (between 0 and 1 where steps were joined); `mask` (T,); `present` ().
Encoding: offered to an encoder are the steps, with what was a gap beside the values.

A table's cell names a file (.npy, .csv or .parquet) or holds the numbers themselves:

    1 2.5 nan 4             steps of one channel; commas alone do as well: 1, 2.5, nan, 4
    0.1,7 0.2,8 0.3,9       three steps of two channels; also 0.1,7; 0.2,8; 0.3,9
    [[0.1, 7], [null, 8]]   JSON: two steps of two channels

Semicolons or line breaks separate steps where there are any, blanks where there are none.
Attribution: (steps, channels), of each number as it is seen: after cutting or resampling.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mmkeras.base import html
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoder import Chain, Parts, PartsKind
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt, Modality
from mmkeras.features.cells import at_least_one, check_bytes

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

ENDINGS = (".npy", ".csv", ".parquet")
NPY, PARQUET = b"\x93NUMPY", b"PAR1"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|null|none|[+-]?inf(inity)?", re.IGNORECASE)
GAPS = {"", "nan", "null", "none"}
TIME_COLUMNS = {"", "nan", "time", "timestamp", "date", "datetime", "index"}  # a table's first column of such a name
CLAIMED_NUMBERS = 8  # so many in one cell are a series
HIGHEST = 20.0  # deviations; a broken sensor's value drowns nothing
DRAWN_STEPS, DRAWN_CHANNELS = 400, 12  # of a drawn series
DRAWN_WIDTH_PX, AXIS_PX, LANE_PX = 360, 56, 44
MOSTLY_GAPS = 0.5


class Timeseries(Modality):
    """A series of any length over one or several channels, with or without gaps."""

    content: ClassVar = "values"
    switches: ClassVar = frozenset({"mask", "observed", "present"})
    offers: ClassVar = ("steps",)
    standard_encoder: ClassVar = ("convolution",)

    steps: int = Field(128, ge=2, le=16_384, description="of a series as the network sees it")
    fit: Literal["resample", "cut"] = Field(
        "resample", description="resample: every series to `steps`; cut: keep the rate, drop what follows, pad"
    )
    channels_first: bool = Field(False, description="files hold (channels, steps)")
    max_mb: float = Field(200, gt=0, description="larger files are bad, and so are tables of more numbers in .parquet")
    encoder: Chain = tunable((), description="what reads the steps in order")
    dropout: float = tunable(0.3, ge=0, lt=1)
    noise: float = tunable(0.05, ge=0, description="training adds noise of so many deviations")
    scale: float = tunable(0.1, ge=0, lt=1, description="training scales each channel by up to this fraction")
    shift: float = tunable(0.1, ge=0, lt=1, description="training moves series in time by up to this fraction")
    mask_steps: int = tunable(12, ge=0, description="training hides at most so many neighbouring steps")
    mean: tuple[float, ...] | None = fitted()
    deviation: tuple[float, ...] | None = fitted()

    @classmethod
    def encoder_defaults(cls, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {"transformer": {"dropout": cls.number_of(settings, "dropout")}}

    def paths(self, value: str) -> list[str]:
        return [] if _is_written(value) else [value]

    def read(self, value: str) -> np.ndarray:
        series = _written(value) if _is_written(value) else _from_file(value, self.max_mb)
        series = _checked(series, self.channels_first)
        if self.mean is not None and series.shape[1] != len(self.mean):
            raise ValueError(
                f"got {series.shape[0]} steps of {series.shape[1]} channels, expected {len(self.mean)} channels as in "
                f"training; mend it, or change channels_first (now {str(self.channels_first).lower()}) if it is turned"
            )
        return series

    def measure(self, value: str, cell: np.ndarray) -> dict[str, float]:
        return {"steps": cell.shape[0], "channels": cell.shape[1], "gaps_percent": 100 * float(np.isnan(cell).mean())}

    def doubts(self, value: str, cell: np.ndarray) -> list[Doubt]:
        doubts, gaps = [], np.isnan(cell).mean()
        if gaps > MOSTLY_GAPS:
            what = f"{gaps:.0%} of {cell.shape[0]} steps x {cell.shape[1]} channels"
            doubts.append(Doubt("mostly gaps", what, "measure it again, or empty the cell"))
        if len(cell) == 1:
            doubts.append(Doubt("one step only", "no series", "take each channel as a column of numbers"))
        elif not (np.fmax.reduce(cell) > np.fmin.reduce(cell)).any():
            doubts.append(Doubt("nothing changes", "each channel has one value", "measure it again, or empty the cell"))
        return doubts

    def learn(self, cells: Iterable[np.ndarray]) -> Self:
        """Learns how many channels most cells have, and their means and deviations."""
        measured = [_moments(cell) for cell in at_least_one(cell for cell in cells if np.isfinite(cell).any())]
        channels = Counter(moments.shape[1] for moments in measured).most_common(1)[0][0]
        # (3, N, C): those of another width are refused when they are read again
        counts, means, variances = np.stack([moments for moments in measured if moments.shape[1] == channels], axis=1)
        count = np.maximum(counts.sum(axis=0), 1)
        mean = (counts * means).sum(axis=0) / count
        deviation = np.sqrt((counts * (variances + (means - mean) ** 2)).sum(axis=0) / count)
        deviation = np.where(deviation > 1e-6 * np.abs(mean), deviation, 1.0)  # a channel that never changes
        return self.model_copy(update={"mean": tuple(mean.tolist()), "deviation": tuple(deviation.tolist())})

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((None, self.mean and len(self.mean)), tf.float32)

    @property
    def cell_description(self) -> str:
        channels = f"{len(self.mean)} channels" if self.mean else "channels"
        kept = f"cut after {self.steps} steps" if self.fit == "cut" else f"resampled to {self.steps} steps"
        return f"series (steps, {channels}), {kept}; NaN: a gap, or padding at the end; no number: missing"

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        channels = self.mean and len(self.mean)
        return {
            "values": tf.TensorSpec((self.steps, channels), tf.float32),
            "observed": tf.TensorSpec((self.steps, channels), tf.float32),
            "mask": tf.TensorSpec((self.steps,), tf.float32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def examine(self, cell: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        kept = ops.common.without_padding(cell[: self.steps] if self.fit == "cut" else cell)
        is_there = tf.shape(kept)[0] > 0
        features = tf.cond(is_there, lambda: self._present(kept), lambda: ops.common.zeros(self.features))
        is_given = tf.reduce_any(tf.logical_not(tf.math.is_nan(cell)))
        return features, ops.common.first_fault((is_given & tf.logical_not(is_there), self._nothing_finite))

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = ops.common.split_seed(seed, 4)
        values, observed = features["values"], features["observed"]
        rows, _, channels = tf.unstack(tf.shape(values))
        count = tf.reduce_sum(features["mask"], axis=1, keepdims=True)
        move = tf.round(tf.random.stateless_uniform([rows, 1], seeds[0], -self.shift, self.shift) * count)
        place = tf.clip_by_value(tf.range(self.steps, dtype=tf.float32) + move, 0.0, tf.maximum(count - 1.0, 0.0))
        place = tf.cast(place, tf.int32)
        values, observed = (tf.gather(tensor, place, axis=1, batch_dims=1) for tensor in (values, observed))
        values *= 1.0 + tf.random.stateless_uniform([rows, 1, channels], seeds[1], -self.scale, self.scale)
        values += self.noise * tf.random.stateless_normal(tf.shape(values), seeds[2])
        real = features["mask"][..., tf.newaxis]
        hidden = {
            name: ops.common.drop_bands(tensor * real, seeds[3], steps=self.mask_steps, bands=0)
            for name, tensor in (("values", values), ("observed", observed))
        }
        return {**features, **hidden}

    def parts(self, inputs: dict[str, Any], kind: PartsKind) -> Parts:
        # Inputs (B, T, C) -> steps (B, T, 2 C): the values, and where they were made up
        gaps = layers.time.hide_padding(1.0 - inputs["observed"], inputs["mask"])
        return Parts(kind, layers.joining.concatenate([inputs["values"], gaps]), inputs["mask"])

    def parts_shape(self, kind: PartsKind) -> tuple[int | None, ...]:
        return (self.steps, self.mean and 2 * len(self.mean))

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs -> tokens (B, T', D), mask (B, T'), vector (B, D')
        encoded = layers.chain.encode(self.encoder, self.parts(inputs, self.kind_read))
        vector = keras.layers.Dropout(self.dropout)(encoded.vector)
        return Encoding(vector, encoded.tokens, encoded.mask, inputs["present"])

    def example(self, seed: int) -> np.ndarray:
        """A random walk of 30 to 36 steps in two channels."""
        generator = np.random.default_rng(seed)
        return generator.normal(size=(30 + seed % 7, 2)).cumsum(axis=0).astype(np.float32)

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        named = values.str.strip().str.lower().str.endswith(ENDINGS).mean()
        if named >= 0.5:
            return f"{named:.0%} of the cells end as files of series do"
        written = values.map(lambda value: _is_written(value) and len(_parts(value)) >= CLAIMED_NUMBERS).mean()
        return f"{written:.0%} of the cells hold {CLAIMED_NUMBERS} or more numbers" if written >= 0.5 else None

    @classmethod
    def suggest(cls, values: pd.Series) -> dict[str, Any]:
        """Files that hold more columns than rows hold a channel in each row, as far as one can tell."""
        shapes = [shape for value in values.head(10) if (shape := _shape(value))]
        turned = [len(shape) == 2 and shape[0] < shape[1] for shape in shapes]
        return {"channels_first": True} if sum(turned) > len(turned) / 2 else {}

    def draw(
        self, cell: np.ndarray, attribution: np.ndarray | None = None, method: str = "", scale: float | None = None
    ) -> str:
        series = _without_end(cell)
        if not len(series):
            return html.note("missing")
        read = series[: self.steps] if self.fit == "cut" else series
        remark = f"the model reads the first {self.steps} steps" if len(read) < len(series) else ""
        if attribution is None:
            shown = _few_channels(series)
            return html.figure(_plot(series, shown), html.remarks(remark, _left_out(series, shown)))
        values = html.checked(attribution, (self.steps, series.shape[1]))
        values = values[: len(read)] if self.fit == "cut" else values
        scale, shown = html.full_scale_of_many(values, scale), _few_channels(series, np.abs(values).sum(axis=0))
        plot = _plot(series, shown, values, scale, len(read) / len(series))
        return html.figure(plot, html.legend(attribution, scale, method, remark, _left_out(series, shown)))

    def baseline(self) -> Any:
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(_summaries)

    @property
    def _nothing_finite(self) -> str:
        return "holds no finite number" + (f" in its first {self.steps} steps" if self.fit == "cut" else "")

    def _present(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        given = tf.math.is_finite(cell)
        values = ops.common.standardize(tf.where(given, cell, 0.0), self.mean, self.deviation)
        values = ops.common.fill_gaps(tf.clip_by_value(values, -HIGHEST, HIGHEST), given)
        observed = tf.cast(given, tf.float32)
        steps = tf.shape(cell)[0]
        if self.fit == "resample":
            values, observed = (ops.common.resize_time(tensor, self.steps) for tensor in (values, observed))
            steps = self.steps
        return {
            "values": ops.common.pad_time(values, self.steps),
            "observed": ops.common.pad_time(observed, self.steps),
            "mask": ops.common.time_mask(steps, self.steps),
            "present": tf.constant(1.0),
        }


# Reading


def _parts(value: str) -> list[str]:
    return [part for part in re.split(r"[\s,;\[\]]+", value) if part]


def _is_written(value: str) -> bool:
    """Whether a table's cell holds numbers; a slip in one of them does not make it the name of a file."""
    value = value.strip()
    if value.lower().endswith(ENDINGS):
        return False
    parts = _parts(value)
    return value.startswith("[") or 2 * sum(bool(NUMBER.fullmatch(part)) for part in parts) > len(parts)


def _written(value: str) -> np.ndarray:
    if value.strip().startswith("["):
        try:
            return np.array(json.loads(re.sub(r"\bnan\b", "NaN", value)), np.float64)
        except (ValueError, TypeError) as error:
            raise ValueError(f"not a list of numbers, or of steps of equally many numbers: {error}") from None
    steps = [[_number(part) for part in step] for step in _split_steps(value)]
    if len({len(step) for step in steps}) > 1:
        shorter, longer = min(steps, key=len), max(steps, key=len)
        raise ValueError(f"steps hold {len(shorter)} to {len(longer)} numbers; expected as many in each, nan for a gap")
    return np.array(steps)


def _split_steps(value: str) -> list[list[str]]:
    value = re.sub(r"\s*,\s*", ",", value.strip())
    if re.search(r"[;\n]", value):
        return [re.split(r"[,\s]", step.strip()) for step in re.split(r"[;\n]", value.strip("; \n"))]
    steps = [step.split(",") for step in value.split()]
    return [[part] for part in steps[0]] if len(steps) == 1 else steps


def _number(part: str) -> float:
    if part.lower() in GAPS:
        return np.nan
    if not NUMBER.fullmatch(part):
        raise ValueError(f'"{part}" is not a number; expected numbers, nan for a gap')
    return float(part)


def _from_file(path: str, max_mb: float) -> np.ndarray:
    """What a file holds, told by its content, not its name."""
    check_bytes(path, max_mb)
    with open(path, "rb") as file:
        begin = file.read(len(NPY))
    if not begin:
        raise ValueError("is empty (0 bytes)")
    if begin == NPY:
        return _from_npy(path)
    return _from_table(_read_parquet(path, max_mb) if begin.startswith(PARQUET) else _read_csv(path))


def _from_npy(path: str) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a false size takes no memory
    except Exception as error:  # a damaged header raises anything, tokenize.TokenError among others
        raise ValueError(f"not a readable .npy file of numbers: {' '.join(str(error).split())}") from None


def _read_parquet(path: str, max_mb: float) -> pd.DataFrame:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            numbers = file.metadata.num_rows * file.metadata.num_columns  # a few bytes can stand for millions
            if 8 * numbers > max_mb * 1e6:
                raise ValueError(f"{numbers} numbers of 8 bytes, more than max_mb {max_mb:g}")
            return file.read().to_pandas()
    except Exception as error:  # not all of pyarrow's errors are ValueErrors
        raise ValueError(f"not a readable .parquet file: {(str(error).splitlines() or ['?'])[0]}") from None


def _read_csv(path: str) -> pd.DataFrame:
    """A table of texts; its first row is its header where that holds anything but numbers."""
    import pandas as pd

    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        first_line = text.lstrip().partition("\n")[0]
        separator = next((mark for mark in ";\t," if mark in first_line), r"\s+")
        table = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, skipinitialspace=True)
    except UnicodeDecodeError:
        raise ValueError("not a .npy, .csv or .parquet file of numbers: neither their formats nor text") from None
    except ValueError as error:
        raise ValueError(f"not a readable .csv file: {str(error).strip()}") from None
    header = table.iloc[0].map(lambda name: str(name).strip())
    if all(NUMBER.fullmatch(name) for name in header):
        return table
    return table.iloc[1:].set_axis(header.tolist(), axis=1)


def _from_table(table: pd.DataFrame) -> np.ndarray:
    import pandas as pd

    if table.shape[1] > 1 and str(table.columns[0]).strip().lower() in TIME_COLUMNS:
        table = table.iloc[:, 1:]
    try:
        return np.array([pd.to_numeric(table.iloc[:, i]) for i in range(table.shape[1])], np.float64).T
    except (ValueError, TypeError) as error:
        raise ValueError(f"not all columns are numbers: {error}; leave out any other column") from None


def _checked(values: np.ndarray, channels_first: bool) -> np.ndarray:
    """(steps,), (steps, channels) or, if so told, (channels, steps) -> (steps, channels) float32, gaps as NaN."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"holds values of type {values.dtype}, expected numbers")
    if values.ndim not in (1, 2):
        raise ValueError(f"holds an array of shape {values.shape}, expected (steps, channels), or (steps,) for one")
    if values.ndim == 1:
        values = values[:, np.newaxis]
    elif channels_first:
        values = values.T
    with np.errstate(over="ignore"):
        series = np.array(values, np.float32)
    series[~np.isfinite(series)] = np.nan
    if np.isnan(series).all():
        raise ValueError("holds no finite number")
    return series


def _shape(value: str) -> tuple[int, ...] | None:
    """Of the array in a .npy file, where one is there."""
    try:
        return _from_npy(value).shape if value.lower().endswith(".npy") else None
    except ValueError:
        return None


# Numbers and pictures of a series


def _moments(cell: np.ndarray) -> np.ndarray:
    """(steps, C) -> (3, C) float64: how many numbers each channel has, their mean and variance."""
    given = np.isfinite(cell)
    values = np.where(given, cell, 0.0).astype(np.float64)
    count = given.sum(axis=0)
    mean = values.sum(axis=0) / np.maximum(count, 1)
    variance = np.where(given, (values - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.stack([count, mean, variance])


def _summaries(cells: list[np.ndarray]) -> np.ndarray:
    """(N, 10 C + 1): each channel's spread, extremes, quartiles, trend and steepness, and the number of steps."""
    return np.stack([_summary(np.asarray(cell, np.float64)) for cell in cells]).astype(np.float32)


def _summary(cell: np.ndarray) -> np.ndarray:
    channels = [column[np.isfinite(column)] for column in cell.T]
    return np.concatenate([*map(_channel_summary, channels), [len(cell)]])


def _channel_summary(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(10)
    change = np.diff(values) if len(values) > 1 else np.zeros(1)
    crossings = np.diff(values > values.mean()).sum() / len(values)
    return np.array([
        values.mean(), values.std(), values.min(), values.max(), *np.quantile(values, (0.25, 0.5, 0.75)),
        values[-1] - values[0], np.abs(change).mean(), crossings,
    ])  # fmt: skip


def _without_end(cell: np.ndarray | None) -> np.ndarray:
    """(steps, C) without trailing steps of which none is a number."""
    series = np.zeros((0, 1)) if cell is None else np.asarray(cell, np.float64)
    steps = np.flatnonzero(np.isfinite(series).any(axis=1))
    return series[: steps[-1] + 1 if len(steps) else 0]


def _few_channels(series: np.ndarray, sizes: np.ndarray | None = None) -> np.ndarray:
    """Which channels are drawn: the first ones, or those of the largest sizes, in their order."""
    order = np.arange(series.shape[1]) if sizes is None else np.argsort(-sizes, kind="stable")
    return np.sort(order[:DRAWN_CHANNELS])


def _left_out(series: np.ndarray, shown: np.ndarray) -> str:
    channels = series.shape[1]
    return f"{len(shown)} of {channels} channels are shown" if channels > len(shown) else ""


def _plot(
    series: np.ndarray,
    channels: np.ndarray,
    values: np.ndarray | None = None,
    scale: float = 0.0,
    share: float = 1.0,
) -> str:
    """Channels of a series below each other, over the colours of their steps.

    Args:
        series: (steps, C).
        channels: Which of them are drawn.
        values: (T, C) attributions, evenly over the share of the series that is read.
        scale: What gets the full colour.
        share: How much of the series is read, from its start.
    """
    height, width = LANE_PX * len(channels), DRAWN_WIDTH_PX - AXIS_PX
    words = f"series of {len(series)} steps in {series.shape[1]} channel{'s' * (series.shape[1] > 1)}"
    back = ""
    if values is not None:
        words += f"; {_strongest(values, share * len(series))}"
        source = html.heat(values[:, channels].T, scale)
        back = (
            f'<image class="mmkeras-heat" href="{source}" x="{AXIS_PX}" y="0" width="{width * share:.1f}" '
            f'height="{height}" preserveAspectRatio="none" style="image-rendering:pixelated"/>'
        )
    lanes = "".join(_lane(series[:, channel], channel, LANE_PX * i) for i, channel in enumerate(channels))
    ends = ((0, "channel", "start"), (AXIS_PX, "step 1", "start"), (DRAWN_WIDTH_PX, str(len(series)), "end"))
    axis = "".join(_label(x_px, height + 12, label, anchor) for x_px, label, anchor in ends)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" width="{DRAWN_WIDTH_PX}" '
        f'viewBox="0 0 {DRAWN_WIDTH_PX} {height + 16}" style="max-width:100%;height:auto;font:10px sans-serif" '
        f'fill="none" stroke="currentColor" stroke-width="1.3">{back}{lanes}{axis}</svg>'
    )


def _strongest(values: np.ndarray, steps: float) -> str:
    """The step and channel of the largest of (T, C) attributions, in words."""
    step, channel = np.unravel_index(np.argmax(np.abs(values)), values.shape)
    place = int((step + 0.5) / len(values) * steps) + 1
    return f"strongest {html.signed(values[step, channel])} at step {place} of channel {channel + 1}"


def _lane(values: np.ndarray, channel: int, top_px: float) -> str:
    """One channel: a line for each stretch without a gap, its largest and smallest value on the left."""
    given = np.isfinite(values)
    parts = [
        f'<path d="M0 {top_px + LANE_PX}H{DRAWN_WIDTH_PX}" opacity=".25"/>',
        _label(0, top_px + LANE_PX / 2 + 3, f"{channel + 1}", "start", "font-weight:bold"),
    ]
    if given.any():
        low, high = values[given].min(), values[given].max()
        y = top_px + 4 + (LANE_PX - 8) * (1 - (values - low) / (high - low if high > low else 1.0))
        x = AXIS_PX + (DRAWN_WIDTH_PX - AXIS_PX) * (np.arange(len(values)) + 0.5) / len(values)
        parts += [_polyline(x[stretch], y[stretch]) for stretch in _stretches(given)]
        parts += [
            _label(AXIS_PX - 4, top_px + 11, f"{high:.3g}"),
            _label(AXIS_PX - 4, top_px + LANE_PX - 4, f"{low:.3g}"),
        ]
    return "".join(parts)


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    """Through every point, or through the lowest and highest of each of a few hundred parts; a dot for a single one."""
    if len(x) > DRAWN_STEPS:
        parts = np.array_split(np.arange(len(x)), DRAWN_STEPS // 2)
        kept = np.unique([part[pick(y[part])] for part in parts for pick in (np.argmin, np.argmax)])
        x, y = x[kept], y[kept]
    if len(x) == 1:
        return f'<circle cx="{x[0]:.1f}" cy="{y[0]:.1f}" r="1.5" fill="currentColor"/>'
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(x, y, strict=True))
    return f'<polyline points="{points}"/>'


def _label(x_px: float, y_px: float, words: str, anchor: str = "end", style: str = "") -> str:
    return (
        f'<text x="{x_px:g}" y="{y_px:g}" text-anchor="{anchor}" fill="currentColor" stroke="none" opacity=".8" '
        f'style="{style}">{words}</text>'
    )


def _stretches(given: np.ndarray) -> Iterator[np.ndarray]:
    """The numbers of the steps that follow each other without a gap."""
    places = np.flatnonzero(given)
    return iter(np.split(places, np.flatnonzero(np.diff(places) > 1) + 1))
