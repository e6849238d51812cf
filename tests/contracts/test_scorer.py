"""Scorers: of every head, and without TensorFlow."""

import dataclasses
import subprocess
import sys

import pytest

from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import find, members
from mmkeras.contracts.scorer import Scorer

# Heads are read from their JSON, and predictions are judged in every way, in a process of its own.
JUDGING = """
import json, sys
import numpy as np, pandas as pd
from matplotlib.figure import Figure
from mmkeras.contracts.config import build

def judge(head):
    scorer = head.scorer
    targets = head.encode_target(pd.Series(["1", "3", "2", "1", "2", ""], dtype=object))
    known = scorer.known(targets)
    assert known.tolist() == [True] * 5 + [False]
    targets, rng = targets[known], np.random.default_rng(0)
    said = scorer.join([np.tile(scorer.prior, (5, 1)), rng.dirichlet(np.ones(len(scorer.prior)), 5)]).astype(np.float32)
    said = scorer.tempered(said, 2.0)
    assert scorer.is_told(said).all() and len(scorer.answer_texts(said)) == 5
    figures = scorer.score(targets, said)
    assert figures.keys() <= scorer.resampled(targets, said, np.ones((3, 5))).keys()
    assert scorer.report(targets, said) and (scorer.losses(targets, said) >= 0).all()
    assert (scorer.right(targets, said) is None) == (scorer.class_names is None) == (scorer.confidences(said) is None)
    assert len(scorer.parts) == said.shape[1] == len(scorer.units[0]) and len(scorer.explained(said)) == 5
    scorer.plot(targets, said, Figure().add_subplot())
    model = scorer.baseline(True, 0).fit(rng.normal(size=(5, 2)), targets)
    assert scorer.baseline_predictions(model, np.zeros((2, 2))).shape == (2, said.shape[1])
    head.tune(targets, said)

for schema in sys.argv[1:]:
    judge(build("head", json.loads(schema), "here"))
    print(schema)
print(*{"tensorflow", "keras"} & {name.split(".")[0] for name in sys.modules})
"""


def test_scorers_work_without_tensorflow_and_keras(adapted_head):
    schemas = [adapted_head(find("head", name)()).model_dump_json() for name in members("head")]
    done = subprocess.run([sys.executable, "-c", JUDGING, *schemas], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.splitlines() == [*schemas, ""]


@pytest.mark.parametrize("name", members("head"))
def test_a_scorer_knows_what_its_head_has_learned(name, adapted_head):
    head = adapted_head(find("head", name)())
    scorer = head.scorer
    assert scorer.task == name and scorer.temperature == head.temperature and (scorer.prior == head.prior).all()
    warmer = head.model_copy(update={"temperature": 3.0}).scorer
    assert warmer.temperature == 3.0 and type(warmer) is type(scorer)


def test_heads_learn_and_scorers_judge():
    """No way to judge is left in a head; what a scorer holds has the name that it has in its head."""
    judging = {name for name in vars(Scorer) if not name.startswith("_")}
    held = {field.name for field in dataclasses.fields(Scorer)}
    assert not judging & set(dir(Head))
    assert held <= set(dir(Head)) | set(Head.__annotations__)
