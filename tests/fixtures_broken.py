"""Cells as people have them, broken and odd, of every modality, each with what has to become of it."""

import io
import json
import pickle
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image as Pillow


@dataclass(frozen=True)
class Broken:
    """One cell of a table.

    Attributes:
        modality: The column's type.
        cell: The cell's text, or the bytes of the file that it names (a list: of several files).
        outcome: ok, missing or bad.
        reason: What a bad cell's fault begins with.
        ending: Of the file's name.
        settings: Of the column, beside its defaults.
    """

    modality: str
    cell: str | bytes | list[bytes]
    outcome: str
    reason: str = ""
    ending: str = ""
    settings: tuple[tuple[str, object], ...] = ()

    def written(self, folder: Path) -> str:
        """The cell's text; the file that it names stands in the folder."""
        if isinstance(self.cell, str):
            return self.cell
        contents = self.cell if isinstance(self.cell, list) else [self.cell]
        paths = [folder / f"{i}{self.ending}" for i in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return ";".join(map(str, paths))


# Pictures


def pixels(height_px: int = 23, width_px: int = 31) -> np.ndarray:
    down, right = np.mgrid[0:height_px, 0:width_px]
    return np.stack([down * 10, right * 8, 250 - down * 4 - right * 4], axis=-1).astype(np.uint8)


def picture(file_format: str, mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels()).convert(mode).save(stream, file_format, **options)
    return stream.getvalue()


def deep_picture() -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels()[..., 0].astype(np.uint16) * 200).save(stream, "PNG")
    return stream.getvalue()


def animation() -> bytes:
    frames = [Pillow.fromarray(np.roll(pixels(), 5 * i, axis=1)) for i in range(4)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def turned() -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return picture("JPEG", exif=exif)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bomb(width_px: int, height_px: int) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def patched(content: bytes, at: int, part: bytes) -> bytes:
    return content[:at] + part + content[at + len(part) :]


def flipped(content: bytes, at: int) -> bytes:
    return patched(content, at, bytes([content[at] ^ 0xFF]))


PNG, JPEG, GIF, BMP = (picture(file_format) for file_format in ("PNG", "JPEG", "GIF", "BMP"))
PROGRESSIVE = picture("JPEG", progressive=True)
SCAN, DATA = JPEG.index(b"\xff\xda"), PNG.index(b"IDAT")
FRAME = GIF.index(b",\0\0\0\0") + 5
SEVERAL = (("files", 3),)

PICTURES = {
    "png": Broken("image", PNG, "ok"),
    "zero bytes": Broken("image", b"", "bad", "not a picture"),
    "one byte": Broken("image", b"\x89", "bad", "not a picture"),
    "text named png": Broken("image", b"this is a text, not a picture\n", "bad", "not a picture", ".png"),
    "html named jpg": Broken("image", b"<html><body>404 Not Found</body></html>", "bad", "not a picture", ".jpg"),
    "png header alone": Broken("image", PNG[:8], "bad", "truncated PNG"),
    "png cut in its header": Broken("image", PNG[:20], "bad", "truncated PNG"),
    "png cut in its pixels": Broken("image", PNG[: DATA + 30], "bad", "truncated PNG"),
    "png without its end": Broken("image", PNG[:-12], "bad", "truncated PNG"),
    "png with a flipped pixel byte": Broken("image", flipped(PNG, DATA + 20), "bad", "damaged PNG"),
    "png with a wrong checksum": Broken("image", flipped(PNG, PNG.index(b"IEND") - 5), "bad", "damaged PNG"),
    "png with a wrong header checksum": Broken("image", flipped(PNG, 29), "bad", "damaged PNG"),
    "png of no width": Broken("image", patched(PNG, 16, bytes(4)), "bad", "damaged PNG"),
    "png bomb": Broken("image", png_bomb(20_000, 20_000), "bad", "20000 x 20000 pixels, more than max_megapixels"),
    "png bomb of 2 ** 31 a side": Broken("image", png_bomb(2**31 - 1, 2**31 - 1), "bad", "2147483647 x 2147483647"),
    "png with bytes behind its end": Broken("image", PNG + b"garbage" * 20, "ok"),
    "png palette": Broken("image", picture("PNG", "P"), "ok"),
    "png palette with a transparent colour": Broken("image", picture("PNG", "P", transparency=2), "ok"),
    "png of 16 bits": Broken("image", deep_picture(), "ok"),
    "png of 1 bit": Broken("image", picture("PNG", "1"), "ok"),
    "png named jpg": Broken("image", PNG, "ok", ending=".jpg"),
    "jpeg": Broken("image", JPEG, "ok"),
    "jpeg progressive": Broken("image", PROGRESSIVE, "ok"),
    "jpeg cmyk": Broken("image", picture("JPEG", "CMYK"), "ok"),
    "jpeg turned by exif": Broken("image", turned(), "ok"),
    "jpeg marker alone": Broken("image", JPEG[:3], "bad", "truncated JPEG"),
    "jpeg cut between segments": Broken("image", JPEG[:20], "bad", "truncated JPEG"),
    "jpeg cut in its scan": Broken("image", JPEG[: SCAN + 60], "bad", "truncated JPEG"),
    "jpeg progressive cut in its second scan": Broken(
        "image", PROGRESSIVE[: PROGRESSIVE.index(b"\xff\xda", PROGRESSIVE.index(b"\xff\xda") + 2) + 20], "bad",
        "truncated JPEG",
    ),
    "jpeg without its end": Broken("image", JPEG[:-2], "bad", "truncated JPEG"),
    "jpeg without tables": Broken("image", JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :], "bad", "damaged JPEG"),
    "jpeg bomb": Broken(
        "image", patched(JPEG, JPEG.index(b"\xff\xc0") + 5, struct.pack(">HH", 60_000, 60_001)), "bad",
        "60001 x 60000 pixels, more than max_megapixels",
    ),
    "gif": Broken("image", GIF, "ok"),
    "gif animated": Broken("image", animation(), "ok"),
    "gif bomb": Broken(
        "image", patched(GIF, 6, b"\xff\xff\xff\xff"), "bad", "4294836225 pixels, more than max_megapixels"
    ),
    "gif cut": Broken("image", GIF[: 9 * len(GIF) // 10], "bad", "not a readable picture"),
    "bmp": Broken("image", BMP, "ok"),
    "bmp palette": Broken("image", picture("BMP", "P"), "ok"),
    "bmp bomb": Broken("image", patched(BMP, 18, struct.pack("<ii", 50_000, 50_000)), "bad", ""),
    "bmp cut": Broken("image", BMP[:500], "bad", "not a readable picture"),
    "webp": Broken("image", picture("WEBP"), "ok"),
    "webp cut": Broken("image", picture("WEBP")[:40], "bad", "not a"),
    "tiff": Broken("image", picture("TIFF"), "ok"),
    "eps": Broken("image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\n", "bad", "EPS"),
    "second of three files damaged": Broken(
        "image", [PNG, flipped(PNG, DATA + 20), PNG], "bad", "file 2 of 3: damaged PNG", settings=SEVERAL
    ),
    "third of three files a text": Broken(
        "image", [PNG, JPEG, b"a text"], "bad", "file 3 of 3: not a picture", settings=SEVERAL
    ),
    "three files": Broken("image", [PNG, JPEG, PNG], "ok", settings=SEVERAL),
    "four files of three": Broken("image", [PNG] * 4, "bad", "names 4 files, expected at most 3", settings=SEVERAL),
}  # fmt: skip


# Sound


def tone(samples: int = 1600, channels: int = 1) -> np.ndarray:
    return 0.4 * np.sin(np.outer(np.arange(samples) * 2 * np.pi * 440 / 8000, np.arange(1, channels + 1)))


def sound(file_format: str = "WAV", subtype: str | None = "PCM_16", samples: int = 1600, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, tone(samples, options.get("channels", 1)), 8000, format=file_format, subtype=subtype)
    return stream.getvalue()


WAV = sound()
OGG = sound("OGG", "VORBIS", 16_000)


def wav_with(at: int, layout: str, value: int) -> bytes:
    return patched(WAV, at, struct.pack(layout, value))


SOUNDS = {
    "wav": Broken("audio", WAV, "ok"),
    "wav of zero bytes": Broken("audio", b"", "bad", "not a readable sound"),
    "wav without samples": Broken("audio", sound(samples=0), "bad", "holds no samples"),
    "wav that claims 4 gb": Broken(
        "audio", patched(patched(WAV, 4, b"\xff" * 4), 40, b"\xff" * 4), "ok"
    ),
    "wav cut in its samples": Broken("audio", WAV[:1000], "bad", "truncated WAV"),
    "wav cut in its header": Broken("audio", WAV[:30], "bad", "not a readable sound"),
    "wav of 8 bits": Broken("audio", sound(subtype="PCM_U8"), "ok"),
    "wav of 24 bits": Broken("audio", sound(subtype="PCM_24"), "ok"),
    "wav of floats": Broken("audio", sound(subtype="FLOAT"), "ok"),
    "wav of nan": Broken("audio", patched(sound(subtype="FLOAT"), 100, b"\xff" * 40), "bad", "holds samples that"),
    "wav extensible": Broken("audio", sound("WAVEX"), "ok"),
    "wav of one sample": Broken("audio", sound(samples=1), "ok"),
    "wav with an odd chunk": Broken("audio", WAV[:36] + b"LIST\3\0\0\0abc\0" + WAV[36:], "ok"),
    "wav in stereo": Broken("audio", sound(channels=2), "ok"),
    "wav at 0 hz": Broken("audio", wav_with(24, "<I", 0), "bad", ""),
    "wav at 2 ghz": Broken("audio", wav_with(24, "<I", 2**31 - 1), "bad", "WAV at 2147483647 Hz, expected 1000 to"),
    "wav at 10 hz": Broken("audio", wav_with(24, "<I", 10), "bad", "WAV at 10 Hz, expected 1000 to"),
    "wav of no channels": Broken("audio", wav_with(22, "<H", 0), "bad", "not a readable sound"),
    "wav of 65535 channels": Broken("audio", wav_with(22, "<H", 65535), "bad", ""),
    "text named wav": Broken("audio", b"this is a text, not a sound", "bad", "not a readable sound", ".wav"),
    "flac named wav": Broken("audio", sound("FLAC"), "ok", ending=".wav"),
    "flac cut": Broken("audio", sound("FLAC", samples=16_000)[:1000], "bad", ""),
    "ogg": Broken("audio", OGG, "ok"),
    "ogg cut in its header": Broken("audio", OGG[:100], "bad", ""),
    "ogg cut behind its header": Broken("audio", OGG[:3900], "bad", ""),
    "too long": Broken(
        "audio", sound(samples=24_000), "bad", "3 seconds, more than max_seconds 2", settings=(("max_seconds", 2),)
    ),
    "second of two clips cut": Broken(
        "audio", [WAV, WAV[:1000]], "bad", "file 2 of 2: truncated WAV", settings=(("files", 3),)
    ),
}  # fmt: skip
if "MP3" in soundfile.available_formats():
    SOUNDS["mp3 named wav"] = Broken("audio", sound("MP3", None, 16_000), "ok", ending=".wav")


# Clips


def clip(frames: int = 6, container_format: str = "mp4") -> bytes:
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format=container_format) as container:
        track = container.add_stream("mpeg4", rate=6)
        track.width, track.height, track.pix_fmt = 32, 24, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels(24, 32), i, axis=1), format="rgb24")
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return stream.getvalue()


def clips() -> dict[str, Broken]:
    mp4 = clip()
    return {
        "mp4": Broken("video", mp4, "ok"),
        "mp4 cut": Broken("video", mp4[: len(mp4) // 2], "bad", ""),
        "mp4 of an unknown codec": Broken(
            "video", mp4.replace(b"mp4v", b"zzzz").replace(b"esds", b"zzzz"), "bad", "holds a video of a kind"
        ),
        "mp4 of no frames": Broken("video", clip(frames=0), "bad", ""),
        "video of zero bytes": Broken("video", b"", "bad", "not a readable video"),
        "text named mp4": Broken("video", b"this is a text, not a clip", "bad", "not a readable video", ".mp4"),
        "playlist named mp4": Broken("video", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "bad", "", ".mp4"),
        "larger than allowed": Broken(
            "video", mp4, "bad", "32 x 24 pixels, more than max_megapixels", settings=(("max_megapixels", 0.0005),)
        ),
        "longer than allowed": Broken(
            "video", clip(30), "bad", "5 seconds, more than max_seconds 3", settings=(("max_seconds", 3),)
        ),
        "avi of zero frames": Broken("video", clip(frames=0, container_format="avi"), "bad", ""),
        "three pictures": Broken("video", [PNG, JPEG, PNG], "ok"),
        "three pictures, one cut": Broken("video", [PNG, PNG, JPEG[:-40]], "bad", ""),
    }


# Series


def npy(values: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


class Opened:
    """Says so where it is unpickled."""

    was_unpickled = False

    def __reduce__(self):
        return _unpickle, ()


def _unpickle():
    Opened.was_unpickled = True


def pickled_npy() -> bytes:
    header = npy(np.array([None], dtype=object))
    return header[: header.index(b"\n") + 1] + pickle.dumps(Opened())


NUMBERS = np.arange(12, dtype=np.float32).reshape(6, 2)
SERIES = {
    "npy": Broken("timeseries", npy(NUMBERS), "ok", ending=".npy"),
    "npy of objects": Broken("timeseries", pickled_npy(), "bad", "not a readable .npy", ".npy"),
    "npy of texts": Broken("timeseries", npy(np.array(["a", "b"])), "bad", "holds values of type", ".npy"),
    "npy of complex numbers": Broken("timeseries", npy(NUMBERS * 1j), "bad", "holds values of type", ".npy"),
    "npy of four axes": Broken("timeseries", npy(np.zeros((2, 2, 2, 2))), "bad", "holds an array of shape", ".npy"),
    "npy of other channels": Broken("timeseries", npy(np.zeros((6, 3))), "bad", "got 6 steps of 3 channels", ".npy"),
    "npy cut": Broken("timeseries", npy(NUMBERS)[:-5], "bad", "not a readable .npy", ".npy"),
    "npy with a damaged header": Broken(
        "timeseries", npy(NUMBERS).replace(b"2), ", b"\0\0, "), "bad", "not a readable .npy", ".npy"
    ),
    "npy that claims more": Broken(
        "timeseries", npy(NUMBERS).replace(b"(6, 2)", b"(6000000000, 2)").replace(b" " * 10, b"", 1), "bad",
        "not a readable .npy", ".npy",
    ),
    "npy of no steps": Broken("timeseries", npy(np.zeros((0, 2))), "bad", "", ".npy"),
    "npy of gaps alone": Broken("timeseries", npy(np.full((6, 2), np.nan)), "bad", "holds no finite number", ".npy"),
    "npy of infinite numbers alone": Broken(
        "timeseries", npy(np.full((6, 2), -np.inf)), "bad", "holds no finite number", ".npy"
    ),
    "npy with an infinite number": Broken("timeseries", npy(np.where(NUMBERS == 3, np.inf, NUMBERS)), "ok"),
    "series of zero bytes": Broken("timeseries", b"", "bad", "is empty", ".npy"),
    "csv with text": Broken("timeseries", b"1,2\n3,oops\n5,6\n", "bad", "not all columns are numbers", ".csv"),
    "csv of its header": Broken("timeseries", b"x,y\n", "bad", "holds no finite number", ".csv"),
    "csv in bytes": Broken("timeseries", b"\xff\xfe\x00\xd8" * 20, "bad", "not a .npy, .csv or .parquet", ".csv"),
    "csv": Broken("timeseries", b"x,y\n1,2\n3,inf\n5,\n", "ok", ending=".csv"),
    "parquet cut": Broken("timeseries", b"PAR1" + bytes(50), "bad", "not a readable .parquet", ".parquet"),
    "written": Broken("timeseries", "1,2 3,4 5,nan", "ok"),
    "written with a slip": Broken("timeseries", "1,2 3,x 5,6", "bad", '"x" is not a number'),
    "written with unequal steps": Broken("timeseries", "1,2 3 5,6", "bad", "steps hold 1 to 2 numbers"),
    "written json of texts": Broken("timeseries", json.dumps([["a", 1], [2, 3]]), "bad", ""),
    "written infinite": Broken("timeseries", "inf,inf inf,inf", "bad", "holds no finite number"),
}  # fmt: skip


# Values

VALUES = {
    "number": Broken("number", "3.5", "ok"),
    "number nan": Broken("number", "nan", "missing"),
    "number n/a": Broken("number", "N/A", "missing"),
    "number inf": Broken("number", "inf", "bad", 'got "inf", expected a number'),
    "number text": Broken("number", "twelve", "bad", 'got "twelve", expected a number'),
    "number with a unit": Broken("number", "12 cm", "bad", 'got "12 cm", expected a number'),
    "number beyond float32": Broken("number", "1e39", "bad", 'got "1e39", expected a number between'),
    "number beyond float64": Broken("number", "1e999", "bad", 'got "1e999", expected a number'),
    "text": Broken("text", "Where is it?", "ok"),
    "text of blanks": Broken("text", " \t\u3000", "missing"),
    "text of a megabyte": Broken("text", "word " * 200_000, "ok"),
    "text of odd characters": Broken("text", "\ufffd\u202e\x07\x1b[31m\U0001f600", "ok"),
    "category": Broken("category", "red", "ok"),
    "category that training did not know": Broken("category", "\u96ea", "ok"),
    "category of blanks": Broken("category", "  ", "missing"),
}

KINDS = {**PICTURES, **SOUNDS, **clips(), **SERIES, **VALUES}
