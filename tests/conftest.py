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
