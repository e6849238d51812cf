"""The page of settings: every way to limit one is said in words, and the page in docs/ is what the command prints."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from mmkeras.contracts.component import PACKAGES
from mmkeras.contracts.config import Config, json_schema
from mmkeras.contracts.config_page import markdown, old_spellings_table
from mmkeras.contracts.registry import find, members

PAGE = Path(__file__).parents[2] / "docs/settings.md"


class Group(BaseModel):
    """What a group is for.

    More about it.
    """

    rate: float = Field(0.5, gt=0, lt=1, description="of one thing | or another")


class Settings(BaseModel):
    """What all of it is for."""

    number: int = Field(3, ge=1, le=7, description="a number")
    word: str | None = None
    sizes: tuple[int, ...] = Field((2, 5), min_length=1)
    few: tuple[str, ...] = Field((), max_length=4)
    group: Group = Group()


def page():
    schema = Settings.model_json_schema()
    member = {"properties": {"type": {"const": "x"}, "both": {"type": "boolean", "default": True}}}
    other = {"properties": {"type": {"const": "y"}, "both": {"type": "boolean", "default": True}, "own": {"const": 1}}}
    schema["$defs"] |= {"modality.x": {"description": "An x.", **member}, "modality.y": other}
    return markdown(schema)


@pytest.mark.parametrize(
    "line",
    [
        "| `number` | a whole number 1 to 7 | `3` | a number |",
        "| `word` | a text or null | `null` |  |",
        "| `sizes` | list of whole numbers, at least 1 | `[2, 5]` |  |",
        "| `few` | list of texts, 0 to 4 of them | `[]` |  |",
        "| `rate` | a number > 0, < 1 | `0.5` | of one thing \\| or another |",
        "| `own` | `1` |  |  |",
    ],
)
def test_a_setting_is_one_line(line):
    assert page().splitlines().count(line) == 1


def test_groups_and_members_have_chapters():
    assert "## `group`\n\nWhat a group is for.\n\n| setting" in page()
    assert "More about it" not in page()
    assert "## Columns\n\nAll of them have:\n\n" in page()
    assert "### `type: x`\n\nAn x.\n\n### `type: y`" in page()


def test_what_all_members_have_stands_once():
    assert page().count("| `both` | true or false | `true` |") == 1


def test_the_page_in_docs_is_what_the_command_prints():
    assert PAGE.read_text(encoding="utf-8") == markdown(json_schema()) + "\n", (
        "python -m mmkeras.config --markdown > docs/settings.md"
    )


def test_the_page_of_the_config_shows_old_spellings():
    assert old_spellings_table() in (PAGE.parent / "config.md").read_text(encoding="utf-8")


def test_an_encoder_is_a_name_settings_or_a_list():
    page = PAGE.read_text(encoding="utf-8")
    section = page[page.index("### `type: timeseries`") : page.index("### `type: video`")]
    (line,) = (line for line in section.splitlines() if line.startswith("| `encoder` |"))
    assert "`bag` or `convolution` or `recurrent` or `transformer` or a dotted name from outside or settings" in line
    assert '| `{"type": "convolution", "filters": [64, 96, 128], ' in line


def test_the_page_in_docs_has_every_setting():
    """Objectives are keyed by their name; all others say theirs as `type`."""
    names = {*Config.model_fields}
    for kind in PACKAGES:
        for name in members(kind):
            heading = f"### `{name}`" if kind == "objective" else f"### `type: {name}`"
            assert heading in PAGE.read_text(encoding="utf-8").split("\n")
            names |= find(kind, name).model_fields.keys() - find(kind, name).fitted_fields()
    assert [name for name in names if f"`{name}`" not in PAGE.read_text(encoding="utf-8")] == []
