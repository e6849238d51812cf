"""What is wrong with a table's files, or looks so: each is read once, in parallel. No TensorFlow."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.threads import in_order
from mmkeras.contracts.modality import Doubt, Modality
from mmkeras.table import remote
from mmkeras.table.manifest import BadCell, media_cells, missing_files
from mmkeras.table.paths import PATHS_BETWEEN
from mmkeras.table.splits import digest, file_bytes, leaks
from mmkeras.table.table_checks import Note, Subject

if TYPE_CHECKING:
    from mmkeras.contracts.modality import Cell

pd = lazy("pandas")

T, R = TypeVar("T"), TypeVar("R")

CHUNK_CELLS = 8
BEGIN_BYTES = 512
# How files begin, whatever they are called: what they are, the bytes and where these stand, the endings that say so.
FORMATS = (
    ("a PNG", ((0, b"\x89PNG"),), (".png", ".apng")),
    ("a JPEG", ((0, b"\xff\xd8\xff"),), (".jpg", ".jpeg", ".jpe", ".jfif")),
    ("a GIF", ((0, b"GIF8"),), (".gif",)),
    ("a BMP", ((0, b"BM"), (6, b"\0\0\0\0")), (".bmp", ".dib")),
    ("a TIFF", ((0, b"II*\0"),), (".tif", ".tiff")),
    ("a TIFF", ((0, b"MM\0*"),), (".tif", ".tiff")),
    ("a WebP", ((0, b"RIFF"), (8, b"WEBP")), (".webp",)),
    ("a WAV", ((0, b"RIFF"), (8, b"WAVE")), (".wav", ".wave")),
    ("an AVI", ((0, b"RIFF"), (8, b"AVI ")), (".avi",)),
    ("an Ogg", ((0, b"OggS"),), (".ogg", ".oga", ".ogv", ".opus", ".spx")),
    ("a FLAC", ((0, b"fLaC"),), (".flac",)),
    ("an MP3", ((0, b"ID3"),), (".mp3",)),
    ("an MP3", ((0, b"\xff\xfb"),), (".mp3",)),
    ("an MP3", ((0, b"\xff\xf3"),), (".mp3",)),
    ("an AIFF", ((0, b"FORM"), (8, b"AIF")), (".aif", ".aiff", ".aifc")),
    ("an AU", ((0, b".snd"),), (".au", ".snd")),
    ("an MP4", ((4, b"ftyp"),), (".mp4", ".m4v", ".m4a", ".mov", ".3gp", ".heic", ".heif", ".avif")),
    ("a Matroska or WebM", ((0, b"\x1a\x45\xdf\xa3"),), (".mkv", ".webm", ".mka")),
    ("an ASF", ((0, b"\x30\x26\xb2\x75"),), (".wmv", ".wma", ".asf")),
    ("an FLV", ((0, b"FLV\x01"),), (".flv",)),
    ("a NumPy array", ((0, b"\x93NUMPY"),), (".npy",)),
    ("a Parquet table", ((0, b"PAR1"),), (".parquet",)),
    ("a PDF", ((0, b"%PDF"),), (".pdf",)),
    ("a ZIP", ((0, b"PK\x03\x04"),), (".zip", ".npz", ".docx", ".xlsx")),
)  # fmt: skip
ENDINGS = {ending for _, _, endings in FORMATS for ending in endings}
# What the words of a reader's message say of the kind of its fault; the first that is found counts.
KINDS = {
    "no samples": "empty",
    "0 bytes": "empty",
    "pixels": "far too large",
    "truncated": "truncated",
    "cut off": "truncated",
    "bomb": "far too large",
    "too large": "far too large",
}
REMEDIES = {
    "no such file": "correct the path, fetch the file, or empty the cell",
    "is a folder": "name a file in it, or empty the cell",
    "far too large": "scale it down, or empty the cell",
    "truncated": "fetch or write the file again, or empty the cell",
}
REMEDY = "replace the file, or empty the cell"


@dataclass(frozen=True)
class Look:
    """What reading one cell gave.

    Attributes:
        measures: As `Modality.measure` gives them.
        doubts: As `Modality.doubts` gives them, and those about the files' names.
        fault: Why the cell cannot be used; "" if it can.
    """

    measures: dict[str, float] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    fault: str = ""


def unreachable(subject: Subject) -> list[BadCell]:
    """The cells whose files are not there, or not to be opened."""
    return missing_files(subject.manifest, _media(subject))


def unreachable_notes(bad: Iterable[BadCell]) -> list[Note]:
    """What is told of cells whose files are not there."""
    notes = []
    for cell in bad:
        what, _, remedy = cell.reason.partition("; ")
        kind = next((kind for words, kind in KINDS.items() if words in what), what)
        remedy = remedy or REMEDIES.get(what, REMEDY)
        notes.append(Note(kind, cell.column, cell.row, what, remedy, is_error=True, path=cell.path))
    return notes


def readable_cells(subject: Subject, column: str, bad: Iterable[BadCell]) -> pd.Series:
    """A column's cells by row number from 0, paths absolute, without those that are empty or unreachable."""
    cells = media_cells(subject.manifest, column, subject.columns[column])
    return cells[cells != ""].drop([cell.row - 1 for cell in bad if cell.column == column], errors="ignore")


def looks(modality: Modality, values: Sequence[str], progress: Callable[[int], None]) -> list[Look]:
    """Reads each of the cells' texts once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's warning is no finding: it does not say of which file it is
        return list(in_parallel(functools.partial(_look, modality), values, progress))


def look_notes(
    subject: Subject, column: str, cells: pd.Series, distinct: Sequence[str], seen: Sequence[Look]
) -> Iterator[Note]:
    """What is told of each of the rows' cells: `seen` is about each of the distinct ones."""
    places = pd.Series(np.arange(len(distinct)), pd.Index(distinct, dtype=object))[cells].to_numpy()
    is_noted = np.array([bool(look.fault or look.doubts) for look in seen], bool)
    for i in np.flatnonzero(is_noted[places]):
        row, look = int(cells.index[i]) + 1, seen[places[i]]
        path = cells.iloc[i] if subject.columns[column].paths(cells.iloc[i]) else ""
        if look.fault:
            kind = _kind(look.fault)
            yield Note(kind, column, row, look.fault, REMEDIES.get(kind, REMEDY), is_error=True, path=path)
        for doubt in look.doubts:
            yield Note(doubt.kind, column, row, doubt.what, doubt.remedy, path=path)


def same_file_notes(subject: Subject, column: str, cells: pd.Series) -> Iterator[Note]:
    """Files that stand in two splits, and files of the same bytes under different names."""
    modality, leaked = subject.columns[column], set()
    if subject.split is not None:
        for leak in leaks(subject.manifest, subject.split, group=None, media={column: modality}):
            remedy = "put their rows into one split, or let split.group keep them together"
            yield Note("the same file in two splits", column, leak.rows[0], leak.message, remedy)
            leaked.update(leak.rows)
    paths = cells.map({cell: modality.paths(cell) for cell in cells.unique()}).explode().dropna()
    first_rows = paths[~paths.duplicated()]
    rows = dict(zip(first_rows, first_rows.index + 1, strict=True))
    for same in _same_files(list(rows)):
        first, *others = sorted(same, key=rows.__getitem__)
        for path in others if not leaked.intersection(rows[path] for path in same) else ():
            what = f"the same bytes as {os.path.relpath(first, subject.manifest.folder)} (row {rows[first]})"
            yield Note("the same file under two names", column, rows[path], what, "name it once", path=path)


def group_leak_notes(subject: Subject) -> Iterator[Note]:
    """Groups that stand in two splits."""
    if subject.group is None or subject.split is None:
        return
    for leak in leaks(subject.manifest, subject.split, group=subject.group, media={}):
        yield Note("a group in two splits", subject.group, leak.rows[0], leak.message, "put its rows into one split")


def in_parallel(
    function: Callable[[T], R], values: Sequence[T], progress: Callable[[int], None] = lambda done: None
) -> Iterator[R]:
    """The function of each value, in order, on as many threads as there are cores."""
    chunks = (values[i : i + CHUNK_CELLS] for i in range(0, len(values), CHUNK_CELLS))
    for results in in_order(lambda chunk: [function(value) for value in chunk], chunks):
        yield from results
        progress(len(results))


def _media(subject: Subject) -> dict[str, Modality]:
    return {column: modality for column, modality in subject.columns.items() if modality.from_file}


def _kind(fault: str) -> str:
    return next((kind for words, kind in KINDS.items() if words in fault), "unreadable")


# One cell


def _look(modality: Modality, value: str) -> Look:
    paths = modality.paths(value)
    if not any(map(remote.scheme_of, paths)):
        return _look_here(modality, value)
    try:
        with remote.copies(paths) as local:
            return _look_here(modality, PATHS_BETWEEN.join(local))
    except (OSError, ValueError) as error:
        return Look(fault=_words(error))


def _look_here(modality: Modality, value: str) -> Look:
    try:
        cell: Cell = modality.read(value)
        doubts = modality.doubts(value, cell)
        measures = modality.measure(value, cell)
    except Exception as error:  # decoders raise all sorts, and a report goes on with the next file
        return Look(fault=f"{_words(error)}{_what_instead(modality.paths(value))}")
    return Look(measures, (*doubts, *_names(modality.paths(value))))


def _words(error: Exception) -> str:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return reason if isinstance(error, ValueError | OSError) and reason else f"{type(error).__name__}: {reason}"


def _names(paths: Iterable[str]) -> Iterator[Doubt]:
    """Names that end as another format's do."""
    for path in paths:
        ending = os.path.splitext(path)[1].lower()
        if ending in ENDINGS and (known := _format(_begin(path))) and ending not in known[1]:
            yield Doubt("wrong ending", f"is {known[0]}, called {ending}", f"rename it to end in {known[1][0]}")


def _what_instead(paths: Sequence[str]) -> str:
    """What a file that cannot be used seems to be, as the end of a message."""
    if len(paths) != 1 or not (begin := _begin(paths[0])):
        return ""
    ending = os.path.splitext(paths[0])[1].lower()
    if (known := _format(begin)) and ending not in known[1]:
        return f" (begins as {known[0]} does)"
    text = begin.decode("utf-8", errors="replace")
    is_text = (
        ending in ENDINGS
        and "\ufffd" not in text[:-4]
        and all(sign.isprintable() or sign in "\r\n\t" for sign in text[:-4])
    )
    return f' (holds text: "{" ".join(text.split())[:40]}")' if is_text else ""


def _begin(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(BEGIN_BYTES)
    except OSError:
        return b""


def _format(begin: bytes) -> tuple[str, tuple[str, ...]] | None:
    """What a file is by its first bytes, and how such files end."""
    for name, signs, endings in FORMATS:
        if all(begin[place : place + len(sign)] == sign for place, sign in signs):
            return name, endings
    return None


# Files of the same bytes


def _same_files(paths: Sequence[str]) -> list[list[str]]:
    """Groups of different paths with the same bytes; only files of one size are hashed."""
    sizes = pd.Series({path: size for path, size in zip(paths, in_parallel(file_bytes, paths), strict=True) if size})
    suspects = sizes.index[sizes.duplicated(keep=False)].tolist()
    digests = pd.Series(dict(zip(suspects, in_parallel(digest, suspects), strict=True)), dtype=object)
    repeated = digests[digests.duplicated(keep=False)]
    return [same.index.tolist() for _, same in repeated.groupby(repeated, sort=False)]
