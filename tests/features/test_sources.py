"""The code that features depend on: what changes it, and what does not."""

import importlib
import re
import subprocess
import sys

import pytest

from mmkeras.contracts.registry import find, members
from mmkeras.features import sources
from mmkeras.features.sources import code_of, reached, source_of


def with_marker(text: str, name: str) -> str:
    """The text with a statement more in the function of that name, or a constant's value in brackets."""
    function = re.compile(rf"^( *)def {name}\(.*?\)[^\n]*:\n", re.DOTALL | re.MULTILINE)
    if match := function.search(text):
        return f"{text[: match.end()]}{match[1]}    marker = 1\n{text[match.end() :]}"
    changed, count = re.subn(rf"^( *{name}(?:: [^=]*)?) = (.*)$", r"\1 = [\2][0]", text, flags=re.MULTILINE)
    assert count == 1, name
    return changed


def changes(kind: type, module: str, edit) -> bool:
    """Whether another text of a module changes what features of a modality depend on."""
    text = source_of(module)
    assert edit(text) != text
    patched = reached(kind, lambda name: edit(text) if name == module else source_of(name))
    return patched != reached(kind, source_of)


def dependents(place: str) -> set[str]:
    """The modalities whose features depend on a name, `module.function` or `module.CONSTANT`."""
    module, _, name = f"mmkeras.{place}".rpartition(".")
    kinds = {one: find("modality", one) for one in members("modality")}
    return {one for one, kind in kinds.items() if changes(kind, module, lambda text: with_marker(text, name))}


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("base.cell_text.NUMBER", {"number"}),
        ("base.html.orientation", {"image"}),
        ("features.cells.check_bytes", {"audio", "image", "timeseries", "video"}),
        ("features.cells.split_paths", {"audio", "image", "video"}),
        ("features.cells.chunked", set()),  # only `adapt` asks for it, and what it learns is kept
        ("features.ops.common.standardize", {"audio", "image", "number", "timeseries", "video"}),
        ("features.ops.common.BLANKS_AROUND", {"category", "text"}),
        ("features.ops.common.drop_bands", set()),  # augments
        ("features.ops.sound.log_mels", {"audio"}),
        ("features.ops.sound.WAV_CHANNELS", {"audio"}),
        ("features.ops.image.GIF_NOWHERE", {"image", "video"}),
        ("features.ops.image.move_image", set()),
        ("network.files.read", {"audio", "image"}),
        ("network.files._read_one_of", {"audio", "image"}),
        ("network.files.examine", {"audio", "image"}),
        ("network.files.encode", set()),
        ("network.files.draw", set()),
        ("network.layers.time.fold", set()),
        ("contracts.modality.sort_of", {"category", "number", "timeseries", "video"}),
        ("contracts.modality.read", set()),  # every modality has its own
        ("contracts.component.settings", set()),
    ],
)
def test_a_change_counts_where_features_depend_on_it(place, wanted):
    assert dependents(place) == wanted


IMAGE = "components.modalities.image"


@pytest.mark.parametrize("name", ["read_file", "_graph_decodes", "examine_file", "_present", "_enough_px", "PNG_EXIF"])
def test_what_reads_and_examines_counts(name):
    assert dependents(f"{IMAGE}.{name}") == {"image"}


@pytest.mark.parametrize(
    "name",
    ["draw_file", "encode_files", "augment_files", "learn", "baseline", "file_doubts", "noun", "_simple_vectors"],
)
def test_what_comes_before_and_after_does_not_count(name):
    assert dependents(f"{IMAGE}.{name}") == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    def read_file(", "    # Why it is so\n    def read_file("),
        ('    """A picture\'s file as it is', '    """In other words: a file as it is'),
        ("def read_file(self, path: str) -> bytes:", "def read_file(self, path: 'str') -> 'bytes':"),
        ("        check_bytes(path, self.max_mb)", "\n\n        check_bytes(path,\n            self.max_mb)"),
        ("height_px: int = Field(48,", "height_px: int = Field(64,"),  # the value is among the settings
    ],
)
def test_comments_docstrings_annotations_blanks_and_defaults_do_not_count(old, new):
    kind = find("modality", "image")
    assert not changes(kind, f"mmkeras.{IMAGE}", lambda text: text.replace(old, new, 1))


# From outside


THERMAL = """
from __future__ import annotations
import math as mathematics
from typing import TYPE_CHECKING
from mmkeras.base.lazy import lazy
from mmkeras.contracts.modality import Modality
from . import scales
from .names import *
from .helpers import first as begin, Table

if TYPE_CHECKING:
    from .types import Typed
late = lazy("LAB.late")
try:
    from .fast import decode
except ImportError:
    from .slow import decode
LIMITS = {}
LIMITS.update(low=1)
unused = shadowed = 3
around = 14
counted = 15


class Base(Modality):
    def _both(self):
        return "base"

    def _unused(self):
        return "base"

    def preprocess(self, cell):
        raise NotImplementedError


class Thermal(Base):
    def read(self, value: Typed) -> str:
        from .within import inside

        global counted
        counted += 1
        shadowed = [unused for unused in value] + [around for around in around]
        return begin(self._both(), inside, shadowed, mathematics.pi, late.deep.ly(), LIMITS, starred)

    def _both(self):
        return super()._both() + self._helped

    @property
    def _helped(self):
        return scales.kelvin(self) + Table().rows

    def preprocess(self, cell):
        return {"present": decode(cell)}

    def draw(self, cell):
        return "drawn"

    def _by_name(self):
        return 1

    def _never(self):
        return 2
"""
FILES = {
    "__init__": "from LAB.late import deep as deep\n",
    "thermal": THERMAL,
    "scales": "def kelvin(heat):\n    return heat._by_name()\n\ndef celsius(heat):\n    return 3\n",
    "names": "from .circle import *\nstarred = 4\nother = 5\n",
    "circle": "from .names import *\n",
    "helpers": "def first(*parts):\n    return parts\n\ndef second():\n    return 6\n\nclass Table:\n    rows = 7\n",
    "types": "class Typed:\n    pass\n",
    "late/__init__": "from . import deep as deep\n",
    "late/deep": "def ly():\n    return 8\n\ndef no():\n    return 9\n",
    "fast": "def decode(cell):\n    return 10\n",
    "slow": "def decode(cell):\n    return 11\n",
    "within": "def inside():\n    return 12\n\ndef outside():\n    return 13\n",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The name of a package outside of mmkeras whose module `thermal` reads by all ways of naming code."""
    folder, name = tmp_path_factory.mktemp("lab"), "lab_of_sources"
    for module, text in FILES.items():
        path = folder / name / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("LAB", name))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    importlib.import_module(f"{name}.thermal")
    yield name
    sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("module", "old", "counts"),
    [
        ("thermal", '"base"\n\n    def _unused', True),  # by super()
        ("thermal", "update(low=1)", True),
        ("thermal", "mathematics.pi", True),
        ("thermal", "math as", True),
        ("thermal", "return 1", True),  # a function that got `self` asks for it
        ("thermal", "return 2", False),
        ("thermal", "NotImplementedError", False),  # Thermal has its own
        ("thermal", '"drawn"', False),
        ("thermal", "shadowed = 3", False),  # the functions have their own
        ("thermal", "14", True),
        ("thermal", "15", True),
        ("thermal", "Typed\n", False),
        ("scales", "heat._by_name()", True),
        ("scales", "3", False),
        ("names", "4", True),
        ("names", "5", False),
        ("helpers", "return parts", True),
        ("helpers", "6", False),
        ("helpers", "7", True),
        ("late/deep", "8", True),
        ("late/deep", "9", False),
        ("fast", "10", True),
        ("slow", "11", True),
        ("within", "12", True),
        ("within", "13", False),
    ],
)
def test_every_way_to_name_code_outside(lab, module, old, counts):
    new = {
        "math as": "cmath as",
        "mathematics.pi": "mathematics.tau",
        "NotImplementedError": "KeyError",
        "Typed\n": "Typed as Typed\n",
    }.get(old)
    new = new or re.sub(r"([0-9]+|\"base\"|\"drawn\"|parts\b|heat\._by_name\(\))", r"(\1, 0)", old, count=1)
    kind = find("modality", f"{lab}.thermal")
    dotted = f"{lab}.{module.replace('/', '.')}"
    assert changes(kind, dotted, lambda text: text.replace(old, new, 1)) is counts


def test_a_module_that_is_handed_on_counts_as_a_whole(lab):
    kind = find("modality", f"{lab}.thermal")
    text = source_of(f"{lab}.thermal").replace("scales.kelvin(self)", "getattr(scales, 'kelvin')(self)")
    assert f"{lab}.scales:celsius" in reached(kind, lambda name: text if name == f"{lab}.thermal" else source_of(name))


# In a process


def test_the_code_is_looked_for_once(monkeypatch):
    code_of.cache_clear()
    asked = []
    monkeypatch.setattr(sources, "source_of", lambda name: asked.append(name) or source_of(name))
    first = code_of(find("modality", "number"))
    assert "mmkeras.base.cell_text" in asked and len(asked) == len(set(asked))
    count = len(asked)
    assert code_of(find("modality", "number")) is first
    assert len(asked) == count
    code_of.cache_clear()


def test_a_class_without_a_source_has_no_code():
    kind = type("Nowhere", (find("modality", "category"),), {"__module__": "nowhere_at_all"})
    assert "mmkeras.components.modalities.category:Category.preprocess" in reached(kind, source_of)
    assert source_of("nowhere_at_all") is None


def test_the_key_needs_no_tensorflow_and_is_the_same_in_every_process():
    say = (
        "import sys\nfrom mmkeras.contracts.registry import find, members\nfrom mmkeras.features.cache import key\n"
        "print(*(key(find('modality', name)(), []) for name in members('modality')))\n"
        "assert not {'tensorflow', 'keras'} & {*sys.modules}"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert first == second
    assert len(first.split()) == len(members("modality"))
