"""README and docs do what they say: commands and code run, configs are read, links lead somewhere, pages are short.

A block of Python or YAML that begins with a comment that names a file (`# mypackage/thermal.py`) is that file.
"""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmkeras.contracts.config import parse_config, read_config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
EVERY = [README, *PAGES]
EXAMPLE = ROOT / "data/customer_service/config.yaml"
LANGUAGES = {"bash", "python", "yaml", "text", ""}  # text and none: what is printed, and drawings
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_OF_BLOCK = re.compile(r"# ([\w/]+\.\w+)\n")
# Lines of commands that are not run here, by a part of them, each with its reason.
ELSEWHERE = {
    "pip install": "installing and testing are what CI does around this test",
    "apt-get": "a Debian package",
    "stamps": "a data set that needs a Debian package",
    "benchmarks/": "tests/test_benchmarks.py runs a short form of each",
    "article": "the articles' networks take long to train; their configs are read by tests/test_config.py",
    "compare": "trains dozens of models; tests/test_compare.py trains small ones",
}
# settings.md is printed, to look things up in; thermal.md is a whole file of code
MOST_LINES = {README: 180, ROOT / "docs/settings.md": 600, ROOT / "docs/thermal.md": 210}
MOST_LINES_OF_A_PAGE = 200

every_page = pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", text_of(page))


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCED.findall(text_of(page)) if kind == language]


# Pages


@every_page
def test_every_block_says_what_it_is(page):
    assert {kind for kind, _ in FENCED.findall(text_of(page))} <= LANGUAGES


@every_page
def test_a_page_is_read_in_minutes(page):
    """What is looked up, the rows of tables, is not read through; in the README they count."""
    lines = [line for line in text_of(page).splitlines() if page == README or not line.startswith("| ")]
    assert len(lines) <= MOST_LINES.get(page, MOST_LINES_OF_A_PAGE)


def test_the_index_names_every_page():
    assert set(re.findall(r"^\| \[(\w+\.md)\]\(\1\)", text_of(ROOT / "docs/README.md"), re.MULTILINE)) == {
        page.name for page in PAGES if page.name != "README.md"
    }


def test_the_readme_leads_to_every_page():
    for page in PAGES:
        assert page.name == "README.md" or f"(docs/{page.name})" in text_of(README), page.name


def anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose_of(page))
    for link in links:
        if re.match(r"\w+://", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_every_file_that_is_named_is_there(page):
    named = set(re.findall(r"(?<![\w/.-])(?:data|benchmarks|notebooks|tests|mmkeras|docs)/[\w./-]*\w", text_of(page)))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_commands_are_those_that_there_are():
    from mmkeras.__main__ import COMMANDS

    table = text_of(README).partition("## Commands")[2].partition("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {*COMMANDS, "config"}
    for page in EVERY:
        for name in re.findall(r"python -m mmkeras\.(\w+)", text_of(page)):
            assert name in {*COMMANDS, "config"}, page.name


def test_reasons_to_run_a_line_elsewhere_are_used():
    lines = [line for page in EVERY for text in blocks(page, "bash") for line in text.splitlines()]
    assert [word for word in ELSEWHERE if not any(word in line for line in lines)] == []


# Configs


def test_the_config_is_the_embedded_example_and_says_its_defaults():
    """It leaves out what few change; whatever it shows is what the example is trained with."""
    shown = yaml.safe_load(blocks(ROOT / "docs/config.md", "yaml")[-1])
    used = {**read_config(EXAMPLE).settings(), "manifest": "manifest.csv"}
    assert shown.keys() == used.keys()
    for part in ("columns", "targets"):
        assert shown[part].keys() == used[part].keys()
    assert differing(shown, used) == {}


def differing(shown: dict, used: dict) -> dict:
    """{setting: (shown, used)} where they are not the same."""
    found = {}
    for key, value in shown.items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": pair for name, pair in differing(value, used.get(key, {})).items()}
        elif key not in used or used[key] != value:
            found[key] = value, used.get(key)
    return found


@every_page
def test_configs_are_read(page, tmp_path, monkeypatch):
    """A part of a config is read as a change of the embedded example's."""
    write_files(page, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text in blocks(page, "yaml"):
        shown = yaml.safe_load(text)
        is_whole = "columns" in shown and ("targets" in shown or "objectives" in shown)
        whole = shown if is_whole else merged(yaml.safe_load(text_of(EXAMPLE)), shown)
        parse_config(whole, page.name)


def merged(whole: dict, part: dict) -> dict:
    """A part's settings in place of the whole's; what names a type is taken as it is."""
    found = copy.deepcopy(whole)
    for key, value in part.items():
        is_group = isinstance(value, dict) and "type" not in value and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if is_group else value
    return found


def test_merged():
    whole = {"a": {"x": {"type": "t", "n": 1}, "y": 2}, "b": 3}
    assert merged(whole, {"a": {"x": {"type": "u"}}, "b": 4}) == {"a": {"x": {"type": "u"}, "y": 2}, "b": 4}


# Commands and code


def write_files(page: Path, folder: Path) -> None:
    """The blocks of a page that are files."""
    for text in (*blocks(page, "python"), *blocks(page, "yaml")):
        if name := FILE_OF_BLOCK.match(text):
            file = folder / name[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the README's commands have been run; the pages go on from there."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "data").symlink_to(ROOT / "data")
    assert run_all(commands(README), folder) >= 4
    return folder


@pytest.mark.slow
def test_the_readme_runs(folder):
    assert (folder / "answers.csv").is_file()
    assert (folder / "runs/first/report.html").is_file()
    assert (folder / "my_model/assets.extra/signature.json").is_file()


def commands(page: Path) -> list[list[str]]:
    """A page's commands and code in their order, but for lines that are run elsewhere."""
    found = []
    for kind, text in FENCED.findall(text_of(page)):
        if kind == "python" and not FILE_OF_BLOCK.match(text):
            found.append([sys.executable, "-c", text])
        elif kind == "bash":
            lines = [line for line in text.splitlines() if not any(word in line for word in ELSEWHERE)]
            found += [["bash", "-c", line] for line in lines]
    return found


IN_README = commands(README)
RUN = {page: [command for command in commands(page) if command not in IN_README] for page in PAGES}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if RUN[page]], ids=lambda page: page.stem)
def test_a_page_runs(page, folder, tmp_path):
    """Beside what the README's commands left, in a folder of its own: no page needs another."""
    for made in (*folder.iterdir(), *(folder / "runs").iterdir()):
        if made.name != "runs":
            place = tmp_path / made.relative_to(folder)
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(made)
    (tmp_path / "docs").mkdir()
    write_files(page, tmp_path)
    run_all(RUN[page], tmp_path)


def run_all(asked: list[list[str]], folder: Path) -> int:
    """Runs commands one after the other; returns how many."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for command in asked:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return len(asked)
