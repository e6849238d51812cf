"""Sound.

Cell: WAV bytes, 16-bit PCM, any rate, mono or stereo; empty means missing. With `files` above 1 a list of them.
Features: `spectrum` (T, F) float32, decibels of mel bands or their cepstral coefficients, z-scored by band, zeros after
the clip's end; `mask` (T,), 1 where there is sound; `present` (). Several files have an axis in front, `file_mask`
(files,) and `present` ().
Encoding: offered to an encoder are the frames, as steps or as bands; the vector of several files is the mean of theirs
or what attention makes of them.
Attribution: (T, F), of each frame's bands or coefficients; of several files (N, T, F).
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import struct
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mmkeras.base import html
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoder import Chain, Parts, PartsKind
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt
from mmkeras.features.cells import check_bytes
from mmkeras.network.files import FileModality

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

SILENT, NEARLY_SILENT, LOUDEST = 1e-4, 3e-3, 0.999  # of full scale: -80 dB, -50 dB, the end
CLIPPED = 0.01  # of the samples stand at full scale beside each other; a peak touches it now and then
SHORT_SECONDS, LONG_SECONDS = 0.05, 3600
BLOCK_SAMPLES = 1 << 20
OGG, OGG_FLAGS, OGG_LAST = b"OggS", 5, 4  # a page's first bytes, the place of its flags, that of a stream's last page
CUT_OFF = 0.9  # of the samples that a file promises; fewer are a file that was cut off
PLAYED_HZ = (8000, 11_025, 12_000, 16_000)  # of the rates that MP3 knows
PLAYED = {"MP3": ("MPEG_LAYER_III", "audio/mpeg"), "OGG": ("VORBIS", "audio/ogg")}
BLOCK_DRAWN = 1 << 16
DRAWN_STEPS, DRAWN_BANDS, DRAWN_DB = 480, 128, 80.0  # the most that a drawn spectrum shows
FILLING = "display:block;width:100%;height:100%;max-width:none;margin:0"
CURSOR = "position:absolute;left:0;top:0;width:2px;height:100%;background:#f33;opacity:0"
ADAPT_CLIPS = 32  # whose spectra scikit-learn takes at a time


class Audio(FileModality):
    """A clip of sound or several, as decibels over mel bands and time, or as cepstral coefficients."""

    noun: ClassVar = "sound"
    endings: ClassVar = (".wav", ".ogg", ".flac", ".mp3", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf")
    content: ClassVar = "spectrum"
    switches: ClassVar = frozenset({"file_mask", "mask", "present"})
    offers: ClassVar = ("steps", "bands")
    standard_encoder: ClassVar = ("convolution", "recurrent")

    seconds: float = Field(3.0, gt=0, le=60, description="longer clips are cut at the end")
    sample_rate_hz: int = Field(16_000, ge=1000, le=192_000, description="clips are resampled to it")
    fft_samples: int = Field(512, ge=64, le=8192, description="of each frame that is transformed")
    hop_samples: int = Field(320, ge=16, le=8192, description="from one frame to the next")
    mel_bins: int = Field(48, ge=4, le=512, description="bands of pitch in each frame")
    max_seconds: float = Field(3600, gt=0, description="files that last longer are bad, though only `seconds` are read")
    max_mb: float = Field(1000, gt=0, description="larger files are bad")
    spectrum: Literal["mel", "mfcc"] = Field(
        "mel", description="mel: decibels of each mel band; mfcc: their first cepstral coefficients"
    )
    mfcc_count: int = Field(20, ge=1, le=512, description="cepstral coefficients, at most mel_bins; mfcc only")
    encoder: Chain = tunable((), description="what reads the frames in order, or their bands as a picture")
    dropout: float = tunable(0.5, ge=0, lt=1, description="of the vector; encoders drop half as much by default")
    mask_bands: int = tunable(12, ge=0, description="training hides at most so many neighbouring bands")
    mask_frames: int = tunable(24, ge=0, description="training hides at most so many neighbouring frames")
    mean: tuple[float, ...] | None = fitted()
    deviation: tuple[float, ...] | None = fitted()

    @classmethod
    def encoder_defaults(cls, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        dropout = {"dropout": cls.number_of(settings, "dropout") / 2}
        return {
            "convolution": {"filters": (64, 64, 64), "halving": "stride", "normalization": "none", **dropout},
            "recurrent": {"units": 48, **dropout},
            "transformer": {"width": 48, **dropout},
            "spectral": {"width": 48, **dropout},
        }

    @model_validator(mode="after")
    def _coefficients_are_of_bands(self) -> Self:
        if self.spectrum == "mfcc" and self.mfcc_count > self.mel_bins:
            raise ValueError(
                f"mfcc_count is {self.mfcc_count}, expected at most mel_bins, which is {self.mel_bins}; "
                "lower mfcc_count or raise mel_bins"
            )
        return self

    @property
    def frames(self) -> int:
        """T of the features."""
        return 1 + round(self.seconds * self.sample_rate_hz) // self.hop_samples

    @property
    def bands(self) -> int:
        """F of the features."""
        return self.mel_bins if self.spectrum == "mel" else self.mfcc_count

    def read_file(self, path: str) -> bytes:
        import soundfile
        import soxr

        check_bytes(path, self.max_mb)
        if _is_cut_wav(path):
            raise ValueError("truncated WAV")
        try:
            with _sound_stream()(path) as clip:
                self._check_clip(clip)
                rate_hz = clip.samplerate
                wanted = min(clip.frames, int(rate_hz * self.seconds) + 1)
                samples = clip.read(frames=wanted, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError, TypeError) as error:
            raise ValueError(f"not a readable sound: {getattr(error, 'error_string', error)}") from None
        if not len(samples):
            raise ValueError("holds no samples")
        if len(samples) < CUT_OFF * wanted:
            raise ValueError(f"truncated: holds {len(samples)} samples of {wanted} or more")
        if not np.isfinite(samples).all():
            raise ValueError("holds samples that are no finite numbers")
        # Column by column: a mean along an axis of two takes NumPy ten times as long.
        mono = sum(samples[:, channel] for channel in range(samples.shape[1])) / np.float32(samples.shape[1])
        mono = soxr.resample(mono, rate_hz, self.sample_rate_hz)
        return _as_wav(mono, self.sample_rate_hz)

    def measure_file(self, path: str, content: bytes) -> dict[str, float]:
        """Of the file as it is: the cell is resampled, and cut."""
        import soundfile

        clip = soundfile.info(path)
        return {"seconds": clip.duration, "rate_hz": clip.samplerate}

    def file_doubts(self, path: str, content: bytes) -> list[Doubt]:
        return _doubts(path)

    def learn(self, cells: Iterable[bytes | list[bytes]]) -> Self:
        """Learns the mean and deviation of each band or coefficient over all frames."""
        from sklearn.preprocessing import StandardScaler

        bands = StandardScaler()
        for clips in self.measured_files(cells, ops.common.graph_of_file(self._spectrum_and_fault), ADAPT_CLIPS):
            bands.partial_fit(np.concatenate([spectrum for (spectrum,) in clips]))
        return self.model_copy(update={"mean": tuple(bands.mean_), "deviation": tuple(bands.scale_)})

    @property
    def file_description(self) -> str:
        return (
            f"bytes of a WAV file, 16-bit PCM, 1 to 384 kHz (best {self.sample_rate_hz} Hz), mono or stereo, "
            f"cut after {self.seconds:g} s"
        )

    @property
    def file_features(self) -> dict[str, tf.TensorSpec]:
        return {
            "spectrum": tf.TensorSpec((self.frames, self.bands), tf.float32),
            "mask": tf.TensorSpec((self.frames,), tf.float32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def examine_file(self, content: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        samples, fault = self._decode(content)
        features = tf.cond(fault == "", lambda: self._present(samples), lambda: ops.common.zeros(self.file_features))
        return features, ops.common.first_fault((tf.strings.length(content) > 0, fault))

    def sort_of_file(self, content: bytes) -> str | None:
        """What `read_file` gives; None of another WAV file."""
        most = min(self.max_mb * 1e6, 2 * self.sample_rate_hz * self.max_seconds)
        is_plain = len(content) <= most and ops.sound.is_plain_wav(content, self.sample_rate_hz)
        return "plain" if is_plain else None

    def examine_many(self, cells: tf.Tensor, sort: str) -> dict[str, tf.Tensor]:
        sizes = self.sample_rate_hz, self.fft_samples, self.hop_samples, self.mel_bins
        mel, steps = ops.sound.log_mels(cells, self.seconds, *sizes)
        spectra = ops.common.standardize(self._spectrum(mel), self.mean, self.deviation)
        return {
            "spectrum": ops.common.pad_times(spectra, steps, self.frames),
            "mask": ops.common.time_mask(steps, self.frames),
            "present": tf.cast(steps > 0, tf.float32),
        }

    def augment_files(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        spectrum = ops.common.drop_bands(features["spectrum"], seed, steps=self.mask_frames, bands=self.mask_bands)
        return {**features, "spectrum": spectrum}

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        encoding = super().encode(inputs)
        return dataclasses.replace(encoding, vector=keras.layers.Dropout(self.dropout)(encoding.vector))

    def encode_files(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs (B, T, F) -> tokens (B, T', D), vector (B, D')
        encoded = layers.chain.encode(self.encoder, self.parts(inputs, self.kind_read))
        return Encoding(encoded.vector, encoded.tokens, encoded.mask, inputs["present"])

    def parts(self, inputs: dict[str, Any], kind: PartsKind) -> Parts:
        return Parts(kind, layers.time.hide_padding(inputs["spectrum"], inputs["mask"]), inputs["mask"])

    def parts_shape(self, kind: PartsKind) -> tuple[int | None, ...]:
        return (self.frames, self.bands)

    def example_file(self, generator: np.random.Generator) -> bytes:
        """A tone of 200 to 2000 Hz, a fifth of a second long."""
        time_s = np.arange(self.sample_rate_hz // 5) / self.sample_rate_hz
        return _as_wav(0.5 * np.sin(2 * np.pi * generator.uniform(200, 2000) * time_s), self.sample_rate_hz)

    @property
    def attribution_shape(self) -> tuple[int, int]:
        return self.frames, self.bands

    def draw_file(self, content: bytes, values: np.ndarray | None = None, scale: float = 0.0) -> str:
        """A player over what the model makes of the sound, with (T, F) attributions on it where there are some."""
        samples, fault = self._decode(tf.constant(content))
        if fault.numpy():
            return html.note(f"a sound that cannot be played: {fault.numpy().decode()}")
        spectrum = self._measure(samples).numpy()[: self.frames]
        seconds = len(samples) / self.sample_rate_hz
        is_cut = len(samples) >= round(self.seconds * self.sample_rate_hz)
        player = (
            f'<audio controls preload="metadata" src="{_compressed(samples.numpy(), self.sample_rate_hz)}" '
            f'aria-label="sound of {seconds:.1f} seconds" style="display:block;width:100%;height:36px"></audio>'
        )
        said = html.remarks(f"the model hears the first {self.seconds:g} s") if is_cut else ""
        picture = self._draw_spectrum(spectrum, None if values is None else values[: len(spectrum)], scale)
        return f'<div class="mmkeras-sound" style="width:360px;max-width:100%">{player}{picture}{said}</div>'

    def baseline(self) -> Any:
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(self._mean_bands)

    def _check_clip(self, clip: Any) -> None:
        lowest_hz, highest_hz = ops.sound.WAV_RATES_HZ
        if not lowest_hz <= clip.samplerate <= highest_hz:
            raise ValueError(f"{clip.format} at {clip.samplerate} Hz, expected {lowest_hz} to {highest_hz}")
        if clip.channels > ops.sound.WAV_CHANNELS:
            raise ValueError(f"{clip.format} of {clip.channels} channels, expected 1 to {ops.sound.WAV_CHANNELS}")
        if clip.frames > self.max_seconds * clip.samplerate:
            seconds = clip.frames // clip.samplerate
            raise ValueError(f"{seconds} seconds, more than max_seconds {self.max_seconds:g}")

    def _spectrum_and_fault(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(t, F) of a clip, not yet z-scored, and what is wrong with its file."""
        samples, fault = self._decode(content)
        return self._measure(samples), fault

    def _decode(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(t,) samples and what is wrong with a file."""
        too_large = ops.common.bytes_fault(content, self.max_mb)
        samples, fault = ops.sound.decode_wav(content, self.sample_rate_hz, self.seconds, self.max_seconds)
        return samples, ops.common.first_fault((too_large != "", too_large), (True, fault))

    def _measure(self, samples: tf.Tensor) -> tf.Tensor:
        """(t, F): decibels or cepstral coefficients of a clip, not yet z-scored."""
        mel = ops.sound.log_mel(samples, self.sample_rate_hz, self.fft_samples, self.hop_samples, self.mel_bins)
        return self._spectrum(mel)

    def _spectrum(self, mel: tf.Tensor) -> tf.Tensor:
        return mel if self.spectrum == "mel" else ops.sound.mfcc(mel, self.mfcc_count)

    def _present(self, samples: tf.Tensor) -> dict[str, tf.Tensor]:
        spectrum = ops.common.standardize(self._measure(samples), self.mean, self.deviation)
        return {
            "spectrum": ops.common.pad_time(spectrum, self.frames),
            "mask": ops.common.time_mask(tf.shape(spectrum)[0], self.frames),
            "present": tf.constant(1.0),
        }

    def _draw_spectrum(self, spectrum: np.ndarray, values: np.ndarray | None, scale: float) -> str:
        """(T, F) as a picture with axes, the heat map of (T, F) values over it and their sums beside it."""
        seconds = len(spectrum) * self.hop_samples / self.sample_rate_hz
        heat, above, beside = ("", "", "") if values is None else _heat_and_sums(values, scale, seconds)
        words = "loudness of each frequency" if self.spectrum == "mel" else "cepstral coefficients"
        image = f'<img src="{html.jpeg(_grey(self._as_shares(spectrum)))}" alt="{words} over time" style="{FILLING}">'
        cursor = f'<span class="mmkeras-cursor" data-seconds="{seconds:.3f}" style="{CURSOR}"></span>'
        times = "0 s", f"{seconds / 2:.3g} s", f"{seconds:.3g} s"
        return html.with_axes(image + heat + cursor, self._band_labels, times, above, beside)

    @property
    def _band_labels(self) -> tuple[str, str, str]:
        """Of the top, the middle and the bottom of a drawn spectrum."""
        if self.spectrum == "mfcc":
            return f"{self.mfcc_count}", "coefficient", "1"
        import librosa

        half_hz = self.sample_rate_hz / 2
        middle_hz = librosa.mel_to_hz(librosa.hz_to_mel(half_hz) / 2)
        return f"{half_hz:.0f} Hz", f"{middle_hz:.0f}", "0"

    def _as_shares(self, spectrum: np.ndarray) -> np.ndarray:
        """(T, F) in [0, 1]: decibels below the loudest, or each coefficient about its mean."""
        if self.spectrum == "mel":
            return np.clip((spectrum - spectrum.max()) / DRAWN_DB + 1, 0, 1)
        spread = np.maximum(spectrum.std(axis=0), 1e-6)
        return np.clip((spectrum - spectrum.mean(axis=0)) / (5 * spread) + 0.5, 0, 1)

    def _mean_bands(self, cells: list[bytes | list[bytes]]) -> np.ndarray:
        """(N, 2 * F): each band's mean and deviation over time, the mean over a cell's clips; zeros without any."""
        spectra = self.measuring(ops.common.graph_of_file(self._spectrum_and_fault))
        rows = []
        for cell in cells:
            means = [np.concatenate([clip.mean(axis=0), clip.std(axis=0)]) for (clip,) in spectra(cell)]
            rows.append(np.mean(means, axis=0) if means else np.zeros(2 * self.bands))
        return np.stack(rows).astype(np.float32)


# Drawing


def _compressed(samples: np.ndarray, rate_hz: int) -> str:
    """(T,) samples as a data URI that browsers play: some 4 kB a second."""
    import soundfile
    import soxr

    played_hz = next((known for known in PLAYED_HZ if known >= rate_hz), PLAYED_HZ[-1])
    samples = np.clip(soxr.resample(samples, rate_hz, played_hz), -1, 1)
    # libsndfile before 1.1 writes no MP3.
    form = "MP3" if "MP3" in soundfile.available_formats() else "OGG"
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", played_hz, 1, PLAYED[form][0], format=form) as file:
        for start in range(0, len(samples), BLOCK_DRAWN):  # Vorbis' encoder fails on long ones
            file.write(samples[start : start + BLOCK_DRAWN])
    return html.data_uri(stream.getvalue(), PLAYED[form][1])


def _grey(spectrum: np.ndarray) -> Any:
    """(T, F) in [0, 1] as a Pillow picture, time from left to right and the lowest band at the bottom."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(np.rint(255 * spectrum.T[::-1]).astype(np.uint8))
    size_px = (min(picture.width, DRAWN_STEPS), min(picture.height, DRAWN_BANDS))
    return picture.resize(size_px, Pillow.Resampling.BOX)


def _heat_and_sums(values: np.ndarray, scale: float, seconds: float) -> tuple[str, str, str]:
    """Of (T, F) attributions the heat map, a line of each moment's sum and one of each band's."""
    moments, bands = values.sum(axis=1), values.sum(axis=0)
    best = int(np.argmax(np.abs(moments)))
    place = f"strongest {html.signed(moments[best])} at {(best + 0.5) * seconds / len(moments):.2f} s"
    above = html.strip(moments[np.newaxis], f"sum of each moment, {place}", "width:100%;height:8px")
    beside = html.strip(bands[::-1, np.newaxis], "sum of each band", f"width:8px;height:{html.AXES_PX}px")
    return html.overlay(values.T[::-1], scale), above, beside


def _doubts(path: str) -> list[Doubt]:
    """What a file tells that is heard to its end."""
    seconds, peak, clipped = _heard(path)
    doubts = []
    if cut_off := _cut_off(path):
        doubts.append(Doubt("truncated", cut_off, "fetch or record the file again"))
    if not np.isfinite(peak):
        doubts.append(Doubt("not a number", "holds samples that are no numbers", "record or convert it again"))
    elif peak < NEARLY_SILENT and seconds >= SHORT_SECONDS:
        kind = "silent" if peak < SILENT else "nearly silent"
        what = f"no sample is louder than {20 * np.log10(max(peak, 1e-6)):.0f} dB"
        doubts.append(Doubt(kind, what, "record it again, or empty the cell"))
    if clipped > CLIPPED:
        what = f"{clipped:.0%} of the samples are cut off at full scale"
        doubts.append(Doubt("clipped", what, "record it again, not as loud"))
    if seconds < SHORT_SECONDS:
        doubts.append(Doubt("hardly any sound", f"{1000 * seconds:.1f} ms long", "record it again, or empty the cell"))
    if seconds > LONG_SECONDS:
        what = f"{seconds / 3600:.1f} hours, of which training hears the first seconds"
        doubts.append(Doubt("far too large", what, "cut out the part that matters"))
    return doubts


def _heard(path: str) -> tuple[float, float, float]:
    """(seconds, the loudest sample, the share of samples cut off at full scale); NaN samples make the second NaN."""
    import soundfile

    samples, peak, clipped = 0, 0.0, 0
    try:
        with soundfile.SoundFile(path) as clip:
            for block in clip.blocks(BLOCK_SAMPLES, dtype="float32", always_2d=True):
                loudest = max(block.max(), -block.min())  # NaN where one is
                peak = float(np.maximum(peak, loudest))
                if loudest >= LOUDEST:
                    full = np.abs(block) >= LOUDEST
                    clipped += int((full[1:] & full[:-1]).any(axis=1).sum())
                samples += len(block)
            return samples / clip.samplerate, peak, clipped / max(1, samples)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = getattr(error, "error_string", error)
        raise ValueError(f"not a readable sound after {samples} samples: {reason}") from None


def _cut_off(path: str) -> str:
    """How a file shows that it ends too early, though decoders give what is there; "" where it does not."""
    with open(path, "rb") as file:
        if file.read(len(OGG)) != OGG:
            return ""  # of others `read` sees it
        file.seek(-min(os.path.getsize(path), 1 << 17), os.SEEK_END)  # a page has 65 307 bytes at most
        end = file.read()
    page = end.rfind(OGG)
    flags = end[page + OGG_FLAGS] if 0 <= page < len(end) - OGG_FLAGS else OGG_LAST
    return "" if flags & OGG_LAST else "the stream's last page is not there"


@functools.cache
def _sound_stream() -> type:
    """A sound file that is read once from its start."""
    import soundfile

    class Stream(soundfile.SoundFile):
        def seekable(self) -> bool:
            """False: soundfile seeks to where each read has ended, which takes a tenth of the time of decoding."""
            return False

    return Stream


def _is_cut_wav(path: str) -> bool:
    """Whether a WAV file holds fewer samples than it says, as the graph judges it; libsndfile does not tell."""
    end = os.stat(path).st_size
    with open(path, "rb") as file:
        name, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        for _ in range(ops.sound.WAV_CHUNKS if (name, kind) == (b"RIFF", b"WAVE") else 0):
            header = file.read(8)
            if len(header) < 8:
                break
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                return size < ops.sound.WAV_OPEN_END and end - file.tell() < ops.sound.CUT_OFF * size
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def _as_wav(samples: np.ndarray, sample_rate_hz: int) -> bytes:
    """(T,) in [-1, 1] as 16-bit PCM WAV bytes."""
    whole = np.minimum(np.rint(np.clip(samples, -1.0, 1.0) * 32768.0), 32767).astype("<i2").tobytes()
    return ops.sound.plain_wav_header(sample_rate_hz, len(whole)) + whole
