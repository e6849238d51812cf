"""Which of a test's parameters run by default."""

import pytest


def few_of(values, *quick, ids=str):
    """The values as parameters: those named in `quick` run by default, the others with the long tests.

    Args:
        values: Of one parameter.
        quick: The ids of some of them.
        ids: A value to its id.
    """
    names = [ids(value) for value in values]
    assert {*quick} <= {*names}, names
    return [
        pytest.param(value, id=name, marks=() if name in quick else pytest.mark.slow)
        for value, name in zip(values, names, strict=True)
    ]
