"""How a config's `type:` finds a class, and what a component's fields are."""

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.fusion import Fusion, own_prediction
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import find, members, nearest, walk
from mmkeras.features.cells import check_files, split_paths

THERMAL = """
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality

class Thermal(Modality):
    bins: int = 4

    def preprocess(self, cell):
        return {}

class NotAModality:
    pass
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A package `lab_of_tests` with a module `thermal`, as a user may have one."""
    package = tmp_path / "lab_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "thermal.py").write_text(THERMAL)
    (package / "thermal_camera.py").write_text(THERMAL.replace("Thermal", "ThermalCamera"))
    (package / "empty.py").write_text("")
    (package / "broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))


class Scale(Modality):
    """A modality of these tests."""

    units: int = Field(3, ge=1)
    width: int = tunable(5, ge=1)
    mean: float | None = fitted()
    from_file: ClassVar[bool] = False

    def preprocess(self, cell):
        return {}


@pytest.mark.parametrize(("kind", "base"), [("modality", Modality), ("fusion", Fusion), ("head", Head)])
def test_every_file_of_a_folder_holds_the_class_of_its_name(kind, base):
    assert members(kind) == sorted(members(kind))
    for name in members(kind):
        found = find(kind, name)
        assert issubclass(found, base)
        assert found.type_name() == name
        assert found.__name__.lower() == name.replace("_", "")


def test_an_unknown_name_names_the_nearest():
    name = members("modality")[0]
    with pytest.raises(ValueError, match=f'^unknown modality "{name}o"; did you mean "{name}"\\?'):
        find("modality", name + "o")
    with pytest.raises(ValueError, match=r'^unknown fusion "zzz"; expected one of \('):
        find("fusion", "zzz")


def test_a_member_of_another_kind_is_unknown():
    with pytest.raises(ValueError, match="^unknown head"):
        find("head", members("modality")[0])


def test_a_dotted_name_comes_from_outside(outside):
    found = find("modality", "lab_of_tests.thermal")
    assert found.type_name() == "lab_of_tests.thermal"
    assert found(bins=7).settings() == {"type": "lab_of_tests.thermal", "bins": 7}


def test_a_file_name_with_underscores_names_a_class_in_camel_case(outside):
    assert find("modality", "lab_of_tests.thermal_camera").__name__ == "ThermalCamera"


def test_a_dotted_name_that_python_does_not_find(outside):
    for name in ("lab_of_tests.nothing", "no_such_package.thing"):
        with pytest.raises(ValueError, match=f'^unknown modality "{name}": Python finds no module of that name'):
            find("modality", name)


def test_a_module_without_the_class(outside):
    with pytest.raises(ValueError, match="lab_of_tests.empty holds no modality class named Empty"):
        find("modality", "lab_of_tests.empty")
    with pytest.raises(ValueError, match="lab_of_tests.thermal holds no head class named Thermal"):
        find("head", "lab_of_tests.thermal")


def test_a_module_that_fails_shows_its_own_error(outside):
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        find("modality", "lab_of_tests.broken")


def test_nearest():
    assert nearest("epoch", ["seed", "epochs"]) == '; did you mean "epochs"? (seed, epochs)'
    assert nearest("x", ["seed", "epochs"]) == "; expected one of (seed, epochs)"


def test_walk_sorts():
    assert [name for name, _ in walk({"b": 1, "a": 2, "C": 3})] == ["C", "a", "b"]


def test_own_predictions_of_two_columns_do_not_meet():
    assert own_prediction("label", "photo") == "label_by_photo"
    assert own_prediction("label", "voice") != own_prediction("label", "photo")


def test_fields_are_marked():
    assert Scale.fitted_fields() == {"mean"}
    assert Scale.tunable_fields() == {"width"}
    assert Scale(mean=1.5).settings() == {"type": __name__, "units": 3, "width": 5}
    assert Scale(mean=1.5).model_dump() == {"type": __name__, "units": 3, "width": 5, "mean": 1.5}


def test_a_component_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Scale().units = 4


@pytest.mark.parametrize("wrong", [{"unit": 3}, {"units": 0}, {"width": 0}, {"mean": float("nan")}, {"units": "many"}])
def test_what_is_not_understood_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Scale(**wrong)


def test_paths_in_a_cell_are_split_at_semicolons():
    assert split_paths("a.jpg; b c.jpg ;;d.jpg;") == ["a.jpg", "b c.jpg", "d.jpg"]
    assert split_paths(" ") == []


def test_a_cell_with_too_many_files():
    check_files(["a", "b"], 2)
    with pytest.raises(ValueError, match="names 3 files, expected at most 2; set files: 3 for this column"):
        check_files(["a", "b", "c"], 2)
