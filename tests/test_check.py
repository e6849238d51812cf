"""A table and its files are looked at: each kind of finding beside a clean twin, the hostile tables, the command."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fixtures_tables import command, python
from PIL import Image as Pillow

from mmkeras.check import check
from mmkeras.table import file_checks
from mmkeras.table.audit import BAD_COLUMNS, Checked

HOSTILE = Path(__file__).parents[2] / "shared/data/hostile"
STAMPS_MINI = Path(__file__).parents[2] / "shared/data/stamps-mini"
ROWS, RATE_HZ = 24, 8000
# A config so explicit that nothing depends on the guess; `fault` and `expect` are no inputs.
HOSTILE_COLUMNS = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "effect": "audio",
    "width": "number",
    "height": "number",
}
TWICE = {"duplicate_id"}  # `id` is no input: it is only to be looked at


@pytest.fixture
def out(tmp_path):
    return tmp_path / "bad_rows.csv"


@pytest.fixture
def table(tmp_path):
    """24 rows with a picture, a clip and a label each, in which there is nothing to find."""
    rng = np.random.default_rng(5)
    for i in range(ROWS):
        Pillow.fromarray(rng.integers(0, 256, (11, 13, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        soundfile.write(tmp_path / f"{i}.wav", tone(rng.uniform(200, 900)), RATE_HZ)
    rows = {
        "photo": [f"{i}.png" for i in range(ROWS)],
        "voice": [f"{i}.wav" for i in range(ROWS)],
        "label": ["yes", "no"] * (ROWS // 2),
        "split": ["train"] * 12 + ["valid"] * 6 + ["test"] * 6,
    }
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def tone(pitch_hz, seconds=0.3, loudness=0.5):
    return loudness * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def checked(table, out, *overrides, target="label", **options):
    return check(table, list(overrides), target=target, out=out, **options)


def found(result):
    return {(finding.kind, finding.column): finding.rows for finding in result.findings}


def png(path, pixels):
    Pillow.fromarray(np.asarray(pixels, np.uint8)).save(path, "PNG")


def jpeg_bytes():
    stream = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def ogg_bytes(seconds=9):
    stream = io.BytesIO()
    noise = np.random.default_rng(2).normal(0, 0.1, seconds * RATE_HZ)
    soundfile.write(stream, noise, RATE_HZ, format="OGG", subtype="VORBIS")
    return stream.getvalue()


# Clean tables


def test_a_clean_table_yields_nothing(table, out, capsys):
    result = checked(table, out)
    assert isinstance(result, Checked)
    assert (result.findings, result.exit_status) == ((), 0)
    assert pd.read_csv(out).columns.tolist() == BAD_COLUMNS
    assert capsys.readouterr().out.splitlines()[-1] == "table.csv: nothing to object to"


def test_each_column_is_summed_up(table, out, capsys):
    photo, voice, label = checked(table, out).columns
    assert (photo.name, photo.type, photo.cells, photo.distinct, photo.missing) == ("photo", "image", 24, 24, 0)
    assert photo.sizes == {"height_px": (11, 11, 11), "width_px": (13, 13, 13)}
    assert voice.sizes == {"seconds": (0.3, 0.3, 0.3), "rate_hz": (8000, 8000, 8000)}
    assert (label.type, label.shares) == ("target: classification", {"yes": 0.5, "no": 0.5})
    assert {column.verdict for column in (photo, voice, label)} == {"ok"}
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "voice audio 24 24 0 seconds 0.3, rate hz 8,000 ok" in shown
    assert "yes 12 6 3 3" in shown


def test_missing_cells_are_counted_by_what_is_missing_together(table, out):
    rows = pd.read_csv(table)
    rows.loc[[2, 3, 4], "photo"] = ""
    rows.loc[[4], "voice"] = ""
    rows.to_csv(table, index=False)
    assert checked(table, out).missing == {(): 21, ("photo",): 2, ("photo", "voice"): 1}


@pytest.mark.skipif(not STAMPS_MINI.is_dir(), reason=f"needs {STAMPS_MINI}")
def test_real_tables_that_are_clean_yield_nothing(out):
    assert checked(STAMPS_MINI / "manifest.csv", out, "split.group=group", target="category").findings == ()


@pytest.mark.slow
def test_the_embedded_example_is_clean(out):
    assert check(out=out).findings == ()


# Files


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("3.png", lambda path: path.unlink(), "no such file"),
        ("3.png", lambda path: path.write_bytes(b""), "empty"),
        ("3.png", lambda path: path.write_text("no picture at all"), "unreadable"),
        ("3.png", lambda path: path.write_bytes(path.read_bytes()[:300]), "truncated"),
        ("3.wav", lambda path: path.write_bytes(path.read_bytes()[:40] + bytes(4)), "empty"),
        ("3.wav", lambda path: path.write_bytes(path.read_bytes()[:-2000]), "truncated"),
        ("3.wav", lambda path: path.write_bytes(b"RIFF" + bytes(99)), "unreadable"),
    ],
)
def test_what_cannot_be_read_is_an_error(table, out, name, write, kind):
    write(table.with_name(name))
    result = checked(table, out)
    column = "photo" if name.endswith(".png") else "voice"
    assert (found(result), result.exit_status) == ({(kind, column): [4]}, 1)
    (bad,) = pd.read_csv(out).to_dict("records")
    assert (bad["row"], bad["column"], bad["path"], bad["level"]) == (4, column, str(table.with_name(name)), "error")
    assert next(item for item in result.columns if item.name == column).verdict == "errors"


def test_a_text_file_that_is_called_a_picture_says_so(table, out, capsys):
    table.with_name("3.png").write_text("<!DOCTYPE html> not found")
    checked(table, out)
    assert (
        'row 4: 3.png: not a picture that Pillow knows (holds text: "<!DOCTYPE html> not found")'
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("3.png", lambda path: path.write_bytes(jpeg_bytes()), "wrong ending"),
        ("3.png", lambda path: png(path, np.full((9, 9, 3), 77)), "all of one colour"),
        ("3.png", lambda path: png(path, np.zeros((9, 9, 4)) + [[[9, 9, 9, 0]]]), "all of one colour"),
        ("3.wav", lambda path: path.write_bytes(ogg_bytes()), "wrong ending"),
        ("3.wav", lambda path: soundfile.write(path, np.zeros(900), RATE_HZ), "silent"),
        ("3.wav", lambda path: soundfile.write(path, tone(440, loudness=0.002), RATE_HZ), "nearly silent"),
        ("3.wav", lambda path: soundfile.write(path, np.clip(tone(440) * 4, -1, 1), RATE_HZ), "clipped"),
        ("3.wav", lambda path: soundfile.write(path, tone(440, 0.01), RATE_HZ), "hardly any sound"),
        ("3.png", lambda path: shutil.copy(path.with_name("5.png"), path), "the same file under two names"),
        ("3.png", lambda path: shutil.copy(path.with_name("20.png"), path), "the same file in two splits"),
    ],
)  # fmt: skip
def test_what_should_be_looked_at_is_a_warning(table, out, name, write, kind):
    write(table.with_name(name))
    result = checked(table, out)
    column = "photo" if name.endswith(".png") else "voice"
    ((key, rows),) = found(result).items()
    assert (key, rows) == ((kind, column), [6] if "two names" in kind else [4])
    assert result.exit_status == 0
    assert next(item for item in result.columns if item.name == column).verdict == "look"
    assert pd.read_csv(out)["level"].tolist() == ["look"]


def test_an_ogg_that_ends_early_is_found_though_it_plays(table, out):
    content = ogg_bytes(30)
    whole, cut = table.with_name("3.wav"), table.with_name("4.wav")
    whole.write_bytes(content)
    cut.write_bytes(content[: len(content) * 2 // 3])
    result = found(checked(table, out))
    assert result["wrong ending", "voice"] in ([4], [4, 5])  # libsndfile may refuse the second
    assert 5 in [
        row for (kind, _), rows in result.items() if "truncated" in kind or kind == "unreadable" for row in rows
    ]


def test_a_file_of_many_rows_is_read_once_and_named_in_each(table, out, monkeypatch):
    rows = pd.read_csv(table)
    rows.loc[[6, 7, 8, 9], "photo"] = "6.png"
    rows.to_csv(table, index=False)
    table.with_name("6.png").write_text("no picture")
    reads = []
    look = file_checks._look
    monkeypatch.setattr(file_checks, "_look", lambda modality, value: reads.append(value) or look(modality, value))
    assert found(checked(table, out))["unreadable", "photo"] == [7, 8, 9, 10]
    assert len(reads) == len(set(reads)) == 21 + 24


def test_a_flood_is_one_line(table, out, capsys):
    for i in range(ROWS):
        table.with_name(f"{i}.png").unlink()
    checked(table, out)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    assert lines == [
        'error: column "photo": no such file in 24 rows (1, 2, 3, 4, 5, …): 0.png; '
        "correct the path, fetch the file, or empty the cell"
    ]
    assert len(pd.read_csv(out)) == ROWS


def test_a_decoder_that_fails_as_none_should_is_reported_and_the_rest_is_read(table, out, monkeypatch):
    from mmkeras.components.modalities.image import Image

    read = Image.read
    monkeypatch.setattr(Image, "read", lambda self, value: 1 / 0 if value.endswith("/3.png") else read(self, value))
    result = checked(table, out)
    assert found(result) == {("unreadable", "photo"): [4]}
    assert result.findings[0].notes[0].what == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("begin", "is_one"), [(b"\x89PNG\r\n", True), (b"RIFF\0\0\0\0WAVE", True), (b"BM", False), (b"hello", False)]
)
def test_formats_are_told_by_their_first_bytes(begin, is_one):
    assert bool(file_checks._format(begin)) == is_one


# Splits and targets


def test_rows_of_an_unknown_split_are_errors(table, out):
    rows = pd.read_csv(table)
    rows.loc[[3, 8], "split"] = ["tset", ""]
    rows.to_csv(table, index=False)
    result = checked(table, out, "split.column=split")
    assert found(result) == {("no split", "split"): [4, 9]}
    assert result.errors[0].notes[0].what == 'got "tset"; did you mean "test"?'


def test_splits_that_cannot_be_dealt_are_an_error(table, out):
    pd.read_csv(table).assign(split="test").to_csv(table, index=False)
    result = checked(table, out, "split.column=split")
    assert [finding.kind for finding in result.errors] == ["no splits"]
    assert 'the split "train" has no rows' in result.errors[0].message


def test_a_group_in_two_splits_is_looked_at(table, out):
    pd.read_csv(table).assign(who=[f"C{i % 20}" for i in range(ROWS)]).to_csv(table, index=False)
    result = checked(table, out, "split.group=who", "columns.who=null")
    assert found(result) == {("a group in two splits", "who"): [1, 2, 3, 4]}


def test_without_a_target_columns_and_files_are_looked_at(table, out):
    table.with_name("3.png").write_bytes(b"")
    table.with_name("20.png").write_bytes(table.with_name("2.png").read_bytes())
    result = checked(table, out, "columns.label=null", target=None)
    assert [column.name for column in result.columns] == ["photo", "voice"]
    assert found(result) == {("empty", "photo"): [4], ("the same file in two splits", "photo"): [3]}


def test_settings_win(table, out):
    (photo,) = checked(table, out, "columns={photo: {type: image, files: 3}}", target=None).columns
    assert photo.sizes["files"] == (1, 1, 1)


def test_a_config_is_checked_with_its_table(table, out):
    table.with_name("config.yaml").write_text(
        "manifest: table.csv\ncolumns: {photo: {type: image}}\n"
        "targets: {label: {type: classification}}\nsplit: {column: split}"
    )
    table.with_name("3.png").unlink()
    assert found(checked(table.with_name("config.yaml"), out, target=None)) == {("no such file", "photo"): [4]}


def test_a_data_frame_is_checked(table, out, monkeypatch):
    monkeypatch.chdir(table.parent)
    table.with_name("3.png").unlink()
    assert found(checked(pd.read_csv(table), out)) == {("no such file", "photo"): [4]}
    assert found(checked(pd.read_csv(table), out, target=None))["no such file", "photo"] == [4]


def test_a_column_that_is_not_there_is_named(table, out):
    with pytest.raises(ValueError, match='table.csv: no column "lable"; did you mean "label"?'):
        checked(table, out, target="lable")


# Where the list is written


def test_a_file_of_another_kind_is_not_written_over(table, out):
    out.write_text("name,price\nx,1\n")
    with pytest.raises(ValueError, match="is there and is no list of bad rows; choose another file"):
        checked(table, out)
    assert out.read_text() == "name,price\nx,1\n"


def test_an_older_list_is_written_over(table, out):
    table.with_name("3.png").unlink()
    checked(table, out)
    png(table.with_name("3.png"), np.arange(99).reshape(3, 33))
    checked(table, out)
    assert len(pd.read_csv(out)) == 0


def test_a_folder_that_is_not_there_is_named(table, tmp_path):
    with pytest.raises(ValueError, match="--out: there is no folder .*nowhere; make it"):
        checked(table, tmp_path / "nowhere" / "bad_rows.csv")


# The command


def test_the_command_ends_with_1_where_there_are_errors(table):
    table.with_name("3.png").unlink()
    done = command("mmkeras", "check", "table.csv", "--target", "label", cwd=table.parent)
    assert (done.returncode, done.stderr) == (1, "")
    assert 'error: column "photo": no such file in row 4: 3.png' in done.stdout
    assert pd.read_csv(table.with_name("bad_rows.csv"))["row"].tolist() == [4]


def test_the_command_ends_with_0_where_there_are_warnings(table):
    png(table.with_name("3.png"), np.full((9, 9, 3), 77))
    done = command("mmkeras.check", "table.csv", "--target", "label", "-o", "list.csv", cwd=table.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'look: column "photo": all of one colour in row 4: 3.png: every pixel is (77, 77, 77)' in done.stdout


def test_no_file_needs_tensorflow(tmp_path):
    """Every kind of file is read, and measured, and doubted."""
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.height = stream.width = 32
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * i, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.save(tmp_path / "a.npy", np.arange(12).reshape(6, 2))
    png(tmp_path / "a.png", np.arange(99).reshape(3, 33))
    soundfile.write(tmp_path / "a.wav", tone(440), RATE_HZ)
    pd.DataFrame([["a.mp4", "a.npy", "a.png", "a.wav"]] * 2, columns=list("abcd")).to_csv(
        tmp_path / "t.csv", index=False
    )
    types = "columns={a: {type: video}, b: {type: timeseries}, c: {type: image}, d: {type: audio}}"
    code = (
        "import sys; from mmkeras.check import check; found = check('t.csv', [sys.argv[1]]);"
        "print([column.sizes for column in found.columns]); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = python(code, types, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *_, sizes, told = done.stdout.splitlines()
    assert told == "False False"
    assert all(name in sizes for name in ("seconds", "steps", "height_px", "rate_hz"))


# The hostile tables


@pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"needs {HOSTILE}")
@pytest.mark.parametrize("name", ["manifest.csv", "manifest_odd.csv"])
def test_every_broken_row_of_the_hostile_tables_is_named(name, out):
    columns = "columns={" + ", ".join(f"{column}: {{type: {kind}}}" for column, kind in HOSTILE_COLUMNS.items()) + "}"
    result = checked(HOSTILE / name, out, columns, target="category")
    rows = pd.read_csv(HOSTILE / name, keep_default_na=False, dtype=str)
    bad = pd.read_csv(out, dtype={"row": "Int64"})
    errors = set(map(tuple, bad.loc[bad["level"] == "error", ["row", "column"]].dropna().to_numpy().tolist()))
    expected = {
        (row, faulty_column(fault))
        for row, fault, expect in zip(range(1, len(rows) + 1), rows["fault"], rows["expect"], strict=True)
        if expect == "error" and fault not in TWICE
    }
    assert expected <= errors
    assert result.exit_status == 1
    may_fail = {row for row, expect in enumerate(rows["expect"], start=1) if expect != "ok"}
    assert {row for row, _ in errors} <= may_fail
    assert bad["remedy"].notna().all() and bad["what"].notna().all()


def faulty_column(fault):
    """Of the hostile tables' faults."""
    words = {"ogg": "audio", "number": "width", "label": "category", "id": "id"}
    return next((column for word, column in words.items() if word in fault), "image")


@pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"needs {HOSTILE}")
@pytest.mark.parametrize("name", ["manifest_clean.csv", "manifest_bom_crlf.csv"])
def test_the_clean_rows_of_the_hostile_tables_are_clean(name, out):
    result = checked(HOSTILE / name, out, "columns.fault=null", "columns.expect=null", target="category")
    assert (result.findings, result.exit_status) == ((), 0)
