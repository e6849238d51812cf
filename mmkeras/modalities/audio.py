"""Sound.

Cell: WAV bytes, 16-bit PCM, any rate, mono or stereo; empty means missing.
Features: `mel` (T, F) float32, decibels z-scored by band, zeros after the clip's end; `mask` (T,), 1 where there is
sound; `present` ().
Encoding: strided convolutions, an LSTM over the real steps; the vector is its outputs' mean and maximum over time.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from mmkeras.component import Encoding, Modality, at_least_one, fitted, tunable
from mmkeras.lazy import lazy

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.layers")
ops = lazy("mmkeras.ops")

ENDINGS = (".wav", ".ogg", ".flac", ".mp3", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf")


class Audio(Modality):
    """A clip of sound, as decibels over mel bands and time."""

    seconds: float = Field(3.0, gt=0, le=60, description="longer clips are cut at the end")
    sample_rate_hz: int = Field(16_000, ge=1000, le=192_000)
    fft_samples: int = Field(512, ge=64, le=8192)
    hop_samples: int = Field(320, ge=16, le=8192)
    mel_bins: int = Field(48, ge=4, le=512)
    convolutions: int = tunable(3, ge=0, le=8, description="before the LSTM; each halves the number of steps")
    filters: int = tunable(64, ge=1, description="of each convolution")
    units: int = tunable(48, ge=1, description="of the LSTM, per direction")
    bidirectional: bool = tunable(False)
    pooling: bool = tunable(True, description="the mean and maximum over time in place of the LSTM's last state")
    dropout: float = tunable(0.5, ge=0, lt=1)
    mask_bands: int = tunable(12, ge=0, description="training hides at most so many neighbouring mel bands")
    mask_frames: int = tunable(24, ge=0, description="training hides at most so many neighbouring frames")
    mean: tuple[float, ...] | None = fitted()
    deviation: tuple[float, ...] | None = fitted()

    @property
    def frames(self) -> int:
        """T of the features."""
        return 1 + round(self.seconds * self.sample_rate_hz) // self.hop_samples

    def read(self, value: str) -> bytes:
        import soundfile
        import soxr

        try:
            with soundfile.SoundFile(value) as clip:
                rate_hz = clip.samplerate
                samples = clip.read(frames=int(rate_hz * self.seconds) + 1, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise ValueError(f"not a readable sound: {getattr(error, 'error_string', error)}") from None
        if not len(samples):
            raise ValueError("holds no samples (a truncated or empty file)")
        mono = soxr.resample(samples.mean(axis=1), rate_hz, self.sample_rate_hz)
        return _as_wav(mono, self.sample_rate_hz)

    def adapt(self, cells: Iterable[bytes]) -> Audio:
        """Learns the mean and deviation of each mel band over all frames."""
        from sklearn.preprocessing import StandardScaler

        bands = StandardScaler()
        measure = tf.function(self._log_mel, input_signature=[self.cell])
        for cell in at_least_one(cells):
            bands.partial_fit(measure(tf.constant(cell)).numpy())
        return self.model_copy(update={"mean": tuple(bands.mean_), "deviation": tuple(bands.scale_)})

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((), tf.string)

    @property
    def cell_description(self) -> str:
        return (
            f"bytes of a WAV file, 16-bit PCM, 1 to 384 kHz (best {self.sample_rate_hz} Hz), mono or stereo, "
            f"cut after {self.seconds:g} s; empty: missing"
        )

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {
            "mel": tf.TensorSpec((self.frames, self.mel_bins), tf.float32),
            "mask": tf.TensorSpec((self.frames,), tf.float32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.cond(ops.is_wav(cell), lambda: self._present(cell), lambda: ops.zeros(self.features))

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = ops.split_seed(seed, 2)
        mel = ops.drop_band(features["mel"], seeds[0], axis=1, most=self.mask_bands)
        return {**features, "mel": ops.drop_band(mel, seeds[1], axis=0, most=self.mask_frames)}

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs (B, T, F) -> steps (B, T', D), each convolution over the real steps only
        steps, mask = inputs["mel"], inputs["mask"]
        for _ in range(self.convolutions):
            steps = keras.layers.Conv1D(self.filters, 5, strides=2, padding="same", activation="relu")(steps)
            mask = mask[:, ::2]
            steps = keras.layers.Dropout(self.dropout / 2)(steps * keras.ops.expand_dims(mask, -1))
        # steps -> tokens (B, T', D), vector (B, D')
        tokens, vector = layers.recur(steps, mask, self.units, self.bidirectional, self.pooling)
        return Encoding(keras.layers.Dropout(self.dropout)(vector), tokens, mask, inputs["present"])

    def example(self, seed: int) -> bytes:
        """A tone of 200 to 2000 Hz, a fifth of a second."""
        frequency_hz = np.random.default_rng(seed).uniform(200, 2000)
        time_s = np.arange(self.sample_rate_hz // 5) / self.sample_rate_hz
        return _as_wav(0.5 * np.sin(2 * np.pi * frequency_hz * time_s), self.sample_rate_hz)

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        named = values.str.lower().str.endswith(ENDINGS).mean()
        return f"{named:.0%} of the cells end as sound files do" if named >= 0.5 else None

    def draw(self, cell: bytes, attribution: np.ndarray | None = None) -> str:
        return f'<audio controls src="data:audio/wav;base64,{base64.b64encode(cell).decode()}"></audio>'

    def baseline(self) -> Any:
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(self._mean_bands)

    def _log_mel(self, content: tf.Tensor) -> tf.Tensor:
        samples = ops.decode_wav(content, self.sample_rate_hz, self.seconds)
        return ops.log_mel(samples, self.sample_rate_hz, self.fft_samples, self.hop_samples, self.mel_bins)

    def _present(self, content: tf.Tensor) -> dict[str, tf.Tensor]:
        mel = ops.standardize(self._log_mel(content), self.mean, self.deviation)
        return {
            "mel": ops.pad_time(mel, self.frames),
            "mask": ops.time_mask(tf.shape(mel)[0], self.frames),
            "present": tf.constant(1.0),
        }

    def _mean_bands(self, cells: list[bytes]) -> np.ndarray:
        """(N, 2 * mel_bins): each band's mean and deviation over time."""
        measure = tf.function(self._log_mel, input_signature=[self.cell])
        clips = [measure(tf.constant(cell)).numpy() for cell in cells]
        return np.stack([np.concatenate([clip.mean(axis=0), clip.std(axis=0)]) for clip in clips])


def _as_wav(samples: np.ndarray, sample_rate_hz: int) -> bytes:
    """(T,) in [-1, 1] as 16-bit PCM WAV bytes."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    return stream.getvalue()
