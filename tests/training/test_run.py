"""A run folder: what is refused, what is continued, how it shows itself."""

import fcntl
import json
import platform
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

import mmkeras
from mmkeras.base.files import run_name, write_atomically
from mmkeras.contracts.config import read_config
from mmkeras.table.manifest import read_table, table_hash
from mmkeras.table.plan import Plan, planned
from mmkeras.training import run as module
from mmkeras.training.run import FORMAT, Run, default_folder, resumable

pytest_plugins = "fixtures_tables"


@pytest.fixture
def asked(config, table):
    """A config, its table and its split."""
    return planned(read_config(config), read_table(table))


def finish(run: Run) -> Run:
    run.write_json("metrics.json", {"test": {"mood": {"accuracy": 0.75}}})
    return run


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such run folder; expected one that `mmkeras train` wrote"):
        Run(tmp_path / "nowhere")


def test_other_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not a run folder: it holds no config\.yaml"):
        Run(tmp_path)


def test_config_is_read_back(asked, tmp_path):
    assert Run.create(tmp_path / "run", asked).config == asked.config


def test_run_of_a_run_is_the_same(asked, tmp_path):
    run = Run.create(tmp_path / "run", asked)
    assert Run(run).folder == Run(str(run.folder)).folder == run.folder
    assert run.name == "run"


def test_date_command_and_versions_are_written_down(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/mmkeras", "train", "a table.csv"])
    run = Run.create(tmp_path / "run", asked)
    origin = json.loads((run.folder / "origin.json").read_text())
    assert origin["command"] == "mmkeras train 'a table.csv'"
    assert pd.Timestamp(origin["date"])
    assert origin["versions"]["python"] == platform.python_version()
    assert origin["versions"]["mmkeras"] == mmkeras.__version__
    assert origin["versions"]["tensorflow"] and origin["versions"]["keras"]


def test_empty_folder_may_be_there_already(asked, tmp_path):
    (tmp_path / "run").mkdir()
    assert Run.create(tmp_path / "run", asked).folder == tmp_path / "run"


def test_unfinished_run_has_no_model(asked, tmp_path):
    run = Run.create(tmp_path / "run", asked)
    with pytest.raises(ValueError, match="training is not finished; give the train command again to go on"):
        run.network()
    with pytest.raises(ValueError, match="training stopped before its first epoch"):
        _ = run.schema


def test_unfinished_run_is_continued_by_default(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    older = Run.create(tmp_path / "runs" / "demo-20260101-000000", asked)
    newer = Run.create(tmp_path / "runs" / "demo-20260102-000000", asked)
    assert resumable(asked, None, "demo").folder.name == newer.name
    finish(newer)
    assert resumable(asked, None, "demo").folder.name == older.name
    finish(older)
    assert resumable(asked, None, "demo") is None


def test_finished_run_is_found_where_its_folder_is_asked_for(asked, tmp_path):
    run = finish(Run.create(tmp_path / "run", asked))
    assert resumable(asked, run.folder, "demo").folder == run.folder


def test_other_config_or_table_is_not_continued(asked, tmp_path):
    run = Run.create(tmp_path / "run", asked)
    assert resumable(asked, run.folder, "demo")
    other_config = asked.config.model_copy(update={"on_bad_file": "missing"})
    assert resumable(asked.of_config(other_config), run.folder, "demo") is None
    rows = asked.manifest.rows.assign(question="other")
    other_table = read_table(rows, asked.manifest.folder)
    assert resumable(replace(asked, manifest=other_table), run.folder, "demo") is None


def test_run_that_another_process_trains_is_not_continued_by_default(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run.create(tmp_path / "runs" / "demo-1", asked)
    with open(run.folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert resumable(asked, None, "demo") is None
        with pytest.raises(ValueError, match="another process is training here; choose another --run"), run.locked():
            pass
    assert resumable(asked, None, "demo").folder.name == "demo-1"


def test_default_folder_is_not_there_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "mmkeras.training.run.datetime", SimpleNamespace(now=lambda: pd.Timestamp("2026-03-04 05:06:07"))
    )
    first = default_folder("demo")
    assert str(first) == "runs/demo-20260304-050607"
    first.mkdir(parents=True)
    assert default_folder("demo").name == "demo-20260304-050607-2"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/stamps/config.yaml", "stamps"),
        ("data/article_attention.yaml", "article_attention"),
        ("data/my shop/table.csv", "my-shop"),
        ("вопросы.csv", "вопросы"),
    ],
)
def test_runs_are_called_after_the_config_or_its_folder(path, name, tmp_path):
    assert run_name(tmp_path / path) == name


def test_table_hash_follows_cells_names_and_order():
    rows = pd.DataFrame({"a": ["1", "2"], "b": ["x", "y"]})
    others = [
        rows.iloc[::-1],
        rows.rename(columns={"b": "c"}),
        rows[["b", "a"]],
        rows.replace("x", "z"),
        rows.iloc[:1],
    ]
    hashes = {table_hash(read_table(table)) for table in [rows, *others]}
    assert len(hashes) == 6
    assert table_hash(read_table(rows.copy())) == table_hash(read_table(rows))


def test_table_that_changed_is_refused(asked, own_table, tmp_path):
    run = Run.create(tmp_path / "run", replace(asked, manifest=read_table(own_table)))
    assert len(run.table().rows) == 60
    own_table.write_text(own_table.read_text().replace("red", "blue"))
    with pytest.raises(ValueError, match=r"table\.csv: changed since .*/run was trained on it; name the table to use"):
        Run(run).table()


@pytest.fixture
def parses(monkeypatch) -> list[str]:
    """Which files runs have parsed."""
    files = []
    parse, read = module.parse_config, module.read_table
    monkeypatch.setattr(module, "parse_config", lambda raw, name: files.append(name) or parse(raw, name))
    monkeypatch.setattr(module, "read_table", lambda path, *a, **k: files.append(str(path)) or read(path, *a, **k))
    return files


def test_a_run_parses_each_file_once(asked, table, tmp_path, parses):
    run = Run.create(tmp_path / "run", asked)
    run.write_schema(asked.config)
    for _ in range(3):
        assert run.config == run.schema == asked.config
        assert len(run.table().rows) == 60
        assert run.read(table).access == run.table().access
    assert sorted(set(parses)) == sorted(["config.yaml", "schema.json", str(table)])
    assert parses.count("config.yaml") == parses.count("schema.json") == 1
    assert parses.count(str(table)) == 1 + 3  # `read` is for any table, which may change
    assert Run(run).config == asked.config
    assert parses.count("config.yaml") == 2


def test_a_schema_that_is_written_is_the_one_that_is_seen(asked, tmp_path, parses):
    run = Run.create(tmp_path / "run", asked)
    with pytest.raises(ValueError, match="training stopped before its first epoch"):
        run.schema  # noqa: B018
    run.write_schema(asked.config)
    assert run.schema == asked.config
    newer = asked.config.model_copy(update={"on_bad_file": "drop"})
    run.write_schema(newer)
    assert run.schema == run.schema == newer
    assert parses.count("schema.json") == 2


def test_table_without_a_file_is_kept_in_the_folder(asked, tmp_path):
    frame = pd.DataFrame({"question": ["a", "NA", ""]})
    config = asked.config.model_copy(update={"manifest": None})
    run = Run.create(tmp_path / "run", Plan(config, read_table(frame), asked.split))
    assert run.table().rows["question"].tolist() == ["a", "NA", ""]


def test_what_is_written_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_atomically(path, "old")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_log_lines_go_to_the_run_while_it_trains(asked, tmp_path, capsys):
    from mmkeras.base.terminal import say

    run = Run.create(tmp_path / "run", asked)
    say("before")
    with run.logged():
        say("during [brackets] ужасно")
    say("after")
    (line,) = (run.folder / "run.log").read_text(encoding="utf-8").splitlines()
    assert line.endswith("INFO during [brackets] ужасно")


def test_notebook_shows_figures_and_escapes_names(asked, tmp_path):
    run = Run.create(tmp_path / "a<b", asked)
    assert "a&lt;b</b> (not finished)" in run._repr_html_()
    shown = finish(run)._repr_html_()
    assert "<td>mood</td><td>accuracy</td><td>0.750</td>" in shown
    assert "not finished" not in shown


def test_json_is_readable_text(asked, tmp_path):
    run = finish(Run.create(tmp_path / "run", asked))
    assert json.loads((run.folder / "metrics.json").read_text()) == run.metrics
    assert (run.folder / "metrics.json").read_text().count("\n") > 3


def test_a_folder_of_an_older_version_is_refused_in_one_line(tmp_path, asked):
    run = Run.create(tmp_path / "old", asked)
    origin = json.loads((run.folder / "origin.json").read_text())
    assert origin["format"] == FORMAT
    del origin["format"]
    origin["versions"]["mmkeras"] = "0.1.0"
    (run.folder / "origin.json").write_text(json.dumps(origin))
    for read in ("config", "schema"):
        with pytest.raises(
            ValueError, match="old: a run folder of mmkeras 0.1.0, which mmkeras .* does not read; for an"
        ):
            getattr(Run(run.folder), read)
