"""What every test may use. Importing this file imports no TensorFlow: tests of tables and configs stay quick."""

from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="session", autouse=True)
def features_cache(tmp_path_factory) -> Path:
    """The cache of features lies in a folder of this session, never in the user's."""
    folder = tmp_path_factory.mktemp("features_cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMKERAS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def adapted():
    """A function: a modality -> the same adapted to a few of its own examples, each computed once a session."""
    known = {}

    def adapt(modality):
        key = type(modality), modality.model_dump_json()
        if key not in known:
            known[key] = modality.adapt([modality.example(seed) for seed in range(5)])
        return known[key]

    return adapt


@pytest.fixture(scope="session")
def adapted_head():
    """A function: a head -> the same adapted to targets that every kind of task can take."""

    def adapt(head):
        return head.adapt(pd.Series(["1", "2", "3", "2", "1"], dtype=object))

    return adapt


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MMKERAS_CACHE", str(folder))
    from fixtures_sizes import READS

    READS.clear()
    return folder


@pytest.fixture
def files(tmp_path):
    """Files of 1, 2, … 5 bytes, the last two of which end in zeros."""
    folder = tmp_path / "files"
    folder.mkdir()
    for i, content in enumerate([b"a", b"bb", b"ccc", b"dd\0\0", b"ee\0\0\0"]):
        (folder / str(i)).write_bytes(content)
    return [str(folder / str(i)) for i in range(5)]
