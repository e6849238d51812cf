"""Speaks the voice clips with espeak-ng and stores them as small OGG Vorbis files."""

import io
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 16000
CLIP_SECONDS_MIN, CLIP_SECONDS_MAX = 1.0, 3.5
SPEAKERS = {"en": ("en-us+m3", "en-us+f2", "en-gb"), "zh": ("cmn+m3", "cmn+f2", "cmn")}
SPEED = {"en": 1.0, "zh": 1.3}  # espeak-ng counts a Chinese syllable as a word
VORBIS_COMPRESSION = 1.0  # 0 is the best sound, 1 the smallest file


class Prosody(NamedTuple):
    """How a phrase is spoken: espeak-ng's pitch (0 to 99), speed, and loudness after it."""

    pitch: int
    words_per_minute: int
    loudness_db: float


PROSODY = {
    "product_enquiry": Prosody(65, 175, -22.0),
    "order_status": Prosody(25, 130, -27.0),
    "after_sales": Prosody(45, 160, -35.0),
    "complaint": Prosody(95, 215, -12.0),
    "to_a_person": Prosody(80, 190, -17.0),
    "past_purchase": Prosody(30, 145, -31.0),
    "neutral": Prosody(50, 160, -24.0),
}


def require_espeak() -> None:
    """Checks that the speech program is there.

    Raises:
        FileNotFoundError: espeak-ng is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise FileNotFoundError(
            "data/customer_service: expected the program espeak-ng, found none. "
            "Install it with `apt-get install espeak-ng`."
        )


def speak(phrase: str, language: str, speaker: str, cue: str, rng: np.random.Generator) -> np.ndarray:
    """Speaks a phrase with the prosody of its cue, varied a little, some with background noise.

    Returns:
        Samples (T,) in -1 to 1 at `SAMPLE_RATE_HZ`, `CLIP_SECONDS_MIN` to `CLIP_SECONDS_MAX` long.
    """
    pitch, words_per_minute, loudness_db = PROSODY[cue]
    pitch = int(np.clip(pitch + rng.integers(-5, 6), 0, 99))
    words_per_minute = int(words_per_minute * SPEED[language] * rng.uniform(0.95, 1.05))
    samples = synthesize(phrase, speaker, pitch, words_per_minute)
    samples = fit_duration(trim_silence(samples))
    samples = set_loudness(samples, loudness_db + rng.uniform(-1.5, 1.5))
    if rng.random() < 0.4:
        samples = samples + rng.normal(0.0, 10 ** (rng.uniform(-60.0, -48.0) / 20), samples.shape)
    return np.clip(samples, -1.0, 1.0)


def synthesize(phrase: str, speaker: str, pitch: int, words_per_minute: int) -> np.ndarray:
    """Runs espeak-ng and resamples its samples to `SAMPLE_RATE_HZ`."""
    command = ["espeak-ng", "-v", speaker, "-p", str(pitch), "-s", str(words_per_minute), "--stdout"]
    wav = subprocess.run([*command, "--", phrase], capture_output=True, check=True).stdout
    samples, sample_rate_hz = soundfile.read(io.BytesIO(wav))
    return soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)


def trim_silence(samples: np.ndarray) -> np.ndarray:
    """Cuts off what lies before the first and after the last audible sample."""
    audible = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[audible[0] : audible[-1] + 1]


def fit_duration(samples: np.ndarray) -> np.ndarray:
    """Cuts a clip that is too long, and adds silence to one that is too short."""
    samples = samples[: int(CLIP_SECONDS_MAX * SAMPLE_RATE_HZ)]
    missing = int(CLIP_SECONDS_MIN * SAMPLE_RATE_HZ) - len(samples)
    return np.pad(samples, (0, max(0, missing)))


def set_loudness(samples: np.ndarray, loudness_db: float) -> np.ndarray:
    """Scales a clip to a root mean square, in dB of full scale."""
    return samples * 10 ** (loudness_db / 20) / np.sqrt(np.mean(samples**2))


def write_ogg(path: Path, samples: np.ndarray) -> None:
    """Writes OGG Vorbis that has the same bytes every time."""
    file = io.BytesIO()
    soundfile.write(
        file, samples, SAMPLE_RATE_HZ, format="OGG", subtype="VORBIS",
        compression_level=VORBIS_COMPRESSION,
    )  # fmt: skip
    path.write_bytes(fix_serial_number(file.getvalue()))


def fix_serial_number(ogg: bytes) -> bytes:
    """Sets the stream's serial number, which libsndfile draws by chance, to 1 on every page.

    References:
        S. Pfeiffer, The Ogg Encapsulation Format Version 0, RFC 3533, 2003, section 6.
    """
    pages = ogg.split(b"OggS")[1:]
    return b"".join(page_with_serial_number(b"OggS" + page, 1) for page in pages)


def page_with_serial_number(page: bytes, serial_number: int) -> bytes:
    """Replaces bytes 14 to 17 of a page, its serial number, and 22 to 25, its checksum."""
    head = page[:14] + struct.pack("<I", serial_number) + page[18:22]
    tail = page[26:]
    return head + struct.pack("<I", ogg_checksum(head + bytes(4) + tail)) + tail


def ogg_checksum(page: bytes) -> int:
    """Computes the CRC-32 of a page: polynomial 0x04c11db7, start 0, most significant bit first."""
    checksum = 0
    for byte in page:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ CRC_TABLE[checksum >> 24 ^ byte]
    return checksum


def crc_of_byte(byte: int) -> int:
    """Computes one entry of the checksum's table."""
    checksum = byte << 24
    for _ in range(8):
        checksum = checksum << 1 ^ (0x104C11DB7 if checksum >> 31 else 0)
    return checksum


CRC_TABLE = [crc_of_byte(byte) for byte in range(256)]
