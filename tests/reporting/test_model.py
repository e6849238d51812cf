"""Which settings a report shows of what was trained: those that somebody chose."""

import pytest

from mmkeras.contracts.registry import find, members
from mmkeras.reporting.sections.model import _changed

MEMBERS = [(kind, name) for kind in ("modality", "fusion", "head") for name in members(kind)]


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_defaults_are_not_shown(kind, name):
    assert _changed(find(kind, name)()) == []


def test_what_was_set_is_shown():
    image = find("modality", "image")(max_mb=7, encoder={"type": "picture", "filters": [3]}, height_px=30)
    assert dict(_changed(image)) == {"encoder.filters": "[3]", "height_px": "30", "max_mb": "7.0"}
