"""The data sets: the embedded example is what its script makes, and stamps that share anything stay together.

And the articles' configurations: each fits its table and builds its model.
"""

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_slow import few_of
from PIL import Image

from mmkeras.contracts.config import read_config
from mmkeras.contracts.registry import walk
from mmkeras.network.build import build_network

DATA = Path(__file__).parents[1] / "data"
DAY = "A sunny day.\nfr.utf8=Une journée.\n"
ARTICLES = sorted(DATA.rglob("article*.yaml"))


def make(name: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, DATA / name / "make.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def add_stamp(folder: Path, name: str, texts: str, color: str) -> None:
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), color).save(path)
    path.with_suffix(".txt").write_text(texts, encoding="utf-8")


def test_the_embedded_example_is_small_and_complete():
    table = pd.read_csv(DATA / "customer_service/manifest.csv", dtype=str, keep_default_na=False)
    named = [DATA / "customer_service" / cell for column in ("photo", "voice") for cell in table[column] if cell]
    assert [path for path in named if not path.is_file()] == []
    assert sum(path.stat().st_size for path in set(named)) < 6_000_000
    assert table.groupby("customer")["split"].nunique().max() == 1
    assert np.sort(table["split"].unique()).tolist() == ["test", "train", "valid"]


@pytest.mark.slow
def test_the_embedded_example_is_what_its_script_makes(tmp_path):
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (apt-get install espeak-ng)")
    done = make("customer_service", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert filecmp.cmp(tmp_path / "manifest.csv", DATA / "customer_service/manifest.csv", shallow=False)


def test_stamps_that_share_a_picture_or_an_english_text_are_one_group(tmp_path):
    source = tmp_path / "stamps"
    add_stamp(source, "animals/cat", "A cat.\nfr.utf8=Un chat.\n", "red")
    add_stamp(source, "food/cat_again", "Another.\n", "red")  # the cat's picture
    add_stamp(source, "town/other", "ANOTHER.\n", "blue")  # the text of cat_again
    add_stamp(source, "town/alone", DAY, "green")
    done = make("stamps", "--source", source, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out/manifest.csv", dtype=str, keep_default_na=False)
    assert dict(zip(table["stamp"], table["group"], strict=True)) == {
        "animals/cat": "animals/cat",
        "food/cat_again": "animals/cat",
        "town/other": "animals/cat",
        "town/alone": "town/alone",
    }
    rows = table[table["stamp"] == "town/alone"].set_index("language")
    assert rows["text"].to_dict() == {"en": "A sunny day.", "fr": "Une journée."}
    assert set(table["category"]) == {"animals", "food", "town"}
    assert all((tmp_path / "out" / image).is_file() for image in table["image"])


def test_stamps_without_the_package_say_what_to_install(tmp_path):
    done = make("stamps", "--source", tmp_path / "none", "--output", tmp_path / "out")
    assert done.returncode != 0
    assert "apt-get install tuxpaint-stamps-default" in done.stderr
    assert "Traceback" not in done.stderr


# The articles' configurations


def test_there_is_a_configuration_for_each_of_the_articles_models():
    names = {path.stem for path in ARTICLES if path.parent == DATA}
    assert names == {"article_attention", "article_image_text", "article_three_branches", "article_transformer"}


@pytest.mark.parametrize(
    "path", few_of(ARTICLES, "article_attention.yaml", ids=lambda path: path.relative_to(DATA).as_posix())
)
def test_an_articles_configuration_fits_its_table_and_builds_its_model(path, adapted, adapted_head):
    config = read_config(path)
    if Path(config.manifest).is_file():  # the stamps come from a Debian package
        named = {*config.columns, *config.targets, config.split.column, config.split.group}
        assert named <= set(pd.read_csv(config.manifest, nrows=1).columns)
    columns = {column: adapted(modality) for column, modality in walk(config.columns)}
    heads = {target: adapted_head(head) for target, head in walk(config.targets)}
    model = build_network(columns, config.fusion, heads).model
    assert {name: output.shape for name, output in model.output.items()} == {name: (None, 3) for name in config.targets}
