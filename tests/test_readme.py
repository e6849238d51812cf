"""The README's blocks do what it says: the config is the embedded example's, the commands and the code run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmkeras.contracts.config import read_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# Installing and testing are what CI does around this test; the stamps need a Debian package; the benchmarks have tests
# of their own; the articles' network takes long.
ELSEWHERE = ("pip install", "apt-get", "stamps", "benchmarks/", "article", "compare")


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_every_block_says_what_it_is():
    assert {kind for kind, _ in BLOCKS} == {"bash", "python", "yaml"}


def test_the_config_is_the_embedded_example_and_says_its_defaults():
    """It leaves out what few change; whatever it shows is what the example is trained with."""
    shown = yaml.safe_load(blocks("yaml")[0])
    used = {**read_config(ROOT / "data/customer_service/config.yaml").settings(), "manifest": "manifest.csv"}
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


def test_every_file_that_is_named_is_there():
    named = set(re.findall(r"(?<![\w/.-])(?:data|benchmarks|notebooks|tests|mmkeras)/[\w./-]*\w", README))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.slow
def test_the_commands_and_the_code_run_one_after_the_other(tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(folders)}
    ran = 0
    for kind, text in BLOCKS:
        if kind == "bash":
            command = ["bash", "-e", "-c", "\n".join(line for line in text.splitlines() if not _is_elsewhere(line))]
        elif kind == "python":
            command = [sys.executable, "-c", text]
        else:
            continue
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        ran += 1
    assert ran >= 6
    assert (tmp_path / "answers.csv").is_file()


def _is_elsewhere(line: str) -> bool:
    return any(word in line for word in ELSEWHERE)
