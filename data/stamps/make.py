"""Turns the drawings of Debian's tuxpaint-stamps-default into a table of text, pictures and sound.

One row is one stamp in one language: its description, its picture, the spoken description, and
as target the top-level folder that it lies in.
"""

import argparse
import csv
import hashlib
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

LANGUAGES = ("en", "fr", "es", "ro", "ca", "bg", "ru", "el", "be", "zh_CN")
COLUMNS = ("id", "stamp", "group", "language", "text", "image", "audio", "category", "split")
MIRRORED_SUFFIXES = ("_mirror", "_flip")  # a second drawing of the same stamp, without its own text
DEFAULT_SOURCE = Path("/usr/share/tuxpaint/stamps")


def main() -> None:
    """Writes manifest.csv with the pictures and recordings that it names, and prints the counts."""
    arguments = parse_arguments()
    stamp_paths = find_stamps(arguments.source)
    rows = [row for stamp in stamp_paths for row in stamp_rows(arguments.source, stamp)]
    add_groups(rows, arguments.source)
    copy_media(rows, arguments.source, arguments.output)
    write_manifest(rows, arguments.output / "manifest.csv")
    print_counts(rows)


def parse_arguments() -> argparse.Namespace:
    """Reads the two folders from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=DEFAULT_SOURCE, help="folder of the stamps")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent)
    return parser.parse_args()


def find_stamps(source: Path) -> list[str]:
    """Lists the stamps that have a PNG picture.

    Returns:
        Sorted paths relative to `source`, without extension, such as `animals/amphibians/frog`.

    Raises:
        FileNotFoundError: there is no such picture below `source`.
    """
    pictures = (path.relative_to(source).with_suffix("") for path in source.rglob("*.png"))
    stamps = sorted(p.as_posix() for p in pictures if not p.name.endswith(MIRRORED_SUFFIXES))
    if not stamps:
        raise FileNotFoundError(
            f"data/stamps: expected PNG stamps below {source}, found none. Install them with "
            "`apt-get install tuxpaint-stamps-default`, or name their folder with --source."
        )
    return stamps


def stamp_rows(source: Path, stamp: str) -> list[dict[str, str]]:
    """Makes one row for every language that describes the stamp in writing or in speech."""
    text_by_language = read_descriptions(source / f"{stamp}.txt")
    rows = []
    for language in LANGUAGES:
        text = text_by_language.get(language, "")
        recording = recording_path(source, stamp, language)
        if text or recording:
            rows.append(
                {
                    "id": f"{stamp}/{language}",
                    "stamp": stamp,
                    "language": language,
                    "text": text,
                    "image": f"{stamp}.png",
                    "audio": recording,
                    "category": stamp.split("/")[0],
                }
            )
    return rows


def read_descriptions(path: Path) -> dict[str, str]:
    """Reads a description file: an English line, then lines such as `fr.utf8=Une grenouille.`."""
    if not path.exists():
        return {}
    english, *others = path.read_text("utf-8").splitlines()
    pairs = (line.partition(".utf8=") for line in others if ".utf8=" in line)
    return {"en": english.strip()} | {language: text.strip() for language, _, text in pairs}


def recording_path(source: Path, stamp: str, language: str) -> str:
    """Names the spoken description relative to `source`, or gives "" where nobody recorded one."""
    suffix = "" if language == "en" else f"_{language}"
    relative_path = f"{stamp}_desc{suffix}.ogg"
    return relative_path if (source / relative_path).exists() else ""


def add_groups(rows: list[dict[str, str]], source: Path) -> None:
    """Adds `group` and `split`, so that no picture, recording or English text is in two splits."""
    group_by_stamp = join_stamps(rows, source)
    for row in rows:
        row["group"] = group_by_stamp[row["stamp"]]
        row["split"] = split_of(row["group"])


def join_stamps(rows: list[dict[str, str]], source: Path) -> dict[str, str]:
    """Joins the stamps that share content, directly or through others.

    Returns:
        For every stamp the smallest stamp path of its group.
    """
    group_by_stamp = {row["stamp"]: row["stamp"] for row in rows}
    for stamps in shared_contents(rows, source).values():
        joined = {group_by_stamp[stamp] for stamp in stamps}
        if len(joined) > 1:
            for stamp, group in group_by_stamp.items():
                if group in joined:
                    group_by_stamp[stamp] = min(joined)
    return group_by_stamp


def shared_contents(rows: list[dict[str, str]], source: Path) -> dict[str, set[str]]:
    """Maps each picture, recording and English text (letter case ignored) to its stamps."""
    stamps_by_content = defaultdict(set)
    for row in rows:
        contents = [file_digest(source / row[column]) for column in ("image", "audio") if row[column]]
        if row["language"] == "en" and row["text"]:
            contents.append(row["text"].casefold())
        for content in contents:
            stamps_by_content[content].add(row["stamp"])
    return stamps_by_content


def file_digest(path: Path) -> str:
    """Gives the MD5 of a file's bytes in hexadecimal."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def split_of(group: str) -> str:
    """Assigns a group to about 70 % train, 15 % valid, 15 % test, the same on every machine."""
    percent = int(hashlib.md5(group.encode()).hexdigest(), 16) % 100
    return "train" if percent < 70 else "valid" if percent < 85 else "test"


def copy_media(rows: list[dict[str, str]], source: Path, output: Path) -> None:
    """Copies the files that the rows name to image/ and audio/, and makes the rows name the copies."""
    for row in rows:
        for column in ("image", "audio"):
            if row[column]:
                copy = Path(column, row[column])
                copy_once(source / row[column], output / copy)
                row[column] = copy.as_posix()


def copy_once(original: Path, copy: Path) -> None:
    """Copies a file unless the same copy is there already."""
    if not copy.exists() or copy.read_bytes() != original.read_bytes():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, copy)


def write_manifest(rows: list[dict[str, str]], path: Path) -> None:
    """Writes the rows as UTF-8 CSV with paths relative to the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def print_counts(rows: list[dict[str, str]]) -> None:
    """Prints the size of the table, its empty cells, and its rows per split and category."""
    for column in ("stamp", "group"):
        print(f"{len({row[column] for row in rows})} {column}s")
    print(f"{len(rows)} rows")
    for column in ("text", "image", "audio"):
        print(f"{sum(not row[column] for row in rows)} rows without {column}")
    for column in ("split", "language", "category"):
        counts = Counter(row[column] for row in rows)
        print(f"{column}:", ", ".join(f"{name} {count}" for name, count in counts.most_common()))


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
