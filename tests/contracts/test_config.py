"""Configs: what is read, what is overridden, and each mistake with the words that name it."""

import json
from pathlib import Path

import pytest
import yaml

from mmkeras.contracts.config import Config, build, json_schema, override, parse_config, read_config
from mmkeras.contracts.registry import find, members

DATA = Path(__file__).parents[2] / "data"
SHIPPED = sorted([*DATA.glob("*.yaml"), *DATA.glob("*/config.yaml")])

TEXT = """
manifest: tables/all.csv
columns:
  note: {type: text, max_tokens: 7}
  photo: {type: image}
targets:
  label: {type: classification}
split: {train: 0.6, valid: 0.3, test: 0.1}
train: {epochs: 3}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def raw(**changes):
    return {**yaml.safe_load(TEXT), **changes}


def error(raw, where="config") -> str:
    with pytest.raises(ValueError) as caught:
        parse_config(raw, where)
    return str(caught.value)


# What is read


def test_a_file_becomes_components(path):
    config = read_config(path)
    assert config.columns == {"note": find("modality", "text")(max_tokens=7), "photo": find("modality", "image")()}
    assert config.targets == {"label": find("head", "classification")()}
    assert (config.split.train, config.split.valid, config.split.test) == (0.6, 0.3, 0.1)
    assert config.train.epochs == 3


def test_the_manifest_is_relative_to_the_config(path, monkeypatch):
    monkeypatch.chdir(path.parents[1])
    assert read_config(path.relative_to(path.parents[1])).manifest == str(path.parent / "tables" / "all.csv")


def test_a_config_that_names_no_fusion_gets_one():
    assert parse_config(raw()).fusion == find("fusion", "weighted")()


def test_a_type_alone_may_be_a_word():
    config = parse_config(raw(columns={"note": "text"}, fusion="concat"))
    assert config.columns["note"] == find("modality", "text")()
    assert config.fusion == find("fusion", "concat")()


def test_yaml_shows_every_default_and_is_read_again(path, tmp_path):
    config = read_config(path, ["columns.photo.height_px=24"])
    written = tmp_path / "again" / "config.yaml"
    written.parent.mkdir()
    written.write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(written) == config
    shown = yaml.safe_load(config.to_yaml())
    assert shown["train"].keys() == type(config.train).model_fields.keys()
    assert shown["columns"]["photo"]["height_px"] == 24


def test_yaml_leaves_fitted_state_out(adapted):
    config = parse_config(raw())
    columns = {**config.columns, "note": adapted(config.columns["note"])}
    fitted = config.model_copy(update={"columns": columns})
    assert fitted != config
    assert fitted.to_yaml() == config.to_yaml()
    assert parse_config(json.loads(fitted.model_dump_json())) == fitted


def test_names_of_columns_survive_as_text():
    config = parse_config(raw(columns={1: {"type": "text"}, "größe": {"type": "text"}}))
    assert list(config.columns) == ["1", "größe"]
    assert "größe" in config.to_yaml()


@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: str(path.relative_to(DATA)))
def test_shipped_configs_are_read_and_fit_the_schema(config):
    read_config(config)
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(config.read_text(encoding="utf-8")), json_schema())


def test_there_are_shipped_configs():
    assert len(SHIPPED) >= 2


# Components from outside


def test_a_dotted_type_comes_from_outside_and_back(tmp_path, monkeypatch):
    package = tmp_path / "outside_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "thermal.py").write_text(
        "from mmkeras.contracts.modality import Modality\nclass Thermal(Modality):\n    bins: int = 4\n"
        "    def preprocess(self, cell):\n        return {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = parse_config(raw(columns={"heat": {"type": "outside_of_tests.thermal", "bins": 9}}))
    assert config.columns["heat"].bins == 9
    assert parse_config(yaml.safe_load(config.to_yaml())) == config
    message = error(raw(columns={"heat": {"type": "outside_of_tests.thermal", "bin": 9}}))
    assert message == 'config columns.heat.bin: unknown key "bin"; did you mean "bins"? (bins)'


# Mistakes: each names the place, what is there, and what was expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, 'config trian: unknown key "trian"; did you mean "train"? ('),
        ({"train": {"epoch": 3}}, 'config train.epoch: unknown key "epoch"; did you mean "epochs"? ('),
        ({"train": {"epochs": 0}}, "config train.epochs: expected greater than or equal to 1, got 0"),
        ({"train": {"epochs": "many"}}, "config train.epochs: expected a valid integer"),
        ({"train": {"learning_rate": float("nan")}}, "config train.learning_rate: expected"),
        ({"train": {"learning_rate": None}}, "config train.learning_rate: expected a valid number, got None"),
        ({"train": {"cache": "cloud"}}, "config train.cache: expected 'disk' or 'memory', got 'cloud'"),
        ({"train": 3}, "config train: expected"),
        ({"on_bad_file": "ignore"}, "config on_bad_file: expected 'error', 'missing' or 'drop', got 'ignore'"),
        ({"split": {"train": 0.5, "valid": 0.1, "test": 0.1}}, "config split: train + valid + test must be 1, got 0.7"),
        ({"columns": {"n": {"type": "text", "max_token": 3}}}, 'config columns.n.max_token: unknown key "max_token"; '),
        ({"columns": {"n": {"type": "text", "max_tokens": 0}}}, "config columns.n.max_tokens: expected greater than"),
        ({"columns": {"n": {"type": "txt"}}}, 'config columns.n.type: unknown modality "txt"; did you mean "text"? ('),
        ({"columns": {"n": {"type": 3}}}, 'config columns.n.type: unknown modality "3"; expected one of ('),
        ({"columns": {"n": {"max_tokens": 3}}}, "config columns.n: expected a type, for example {type: "),
        ({"columns": {"n": None}}, "config columns.n: expected a type, for example {type: "),
        ({"columns": {}}, "config columns: expected at least one, for example `label: {type: "),
        ({"columns": ["a", "b"]}, "config columns: expected at least one, for example `label: {type: "),
        ({"columns": None}, "config columns: expected at least one"),
        ({"targets": {}}, "config targets: expected at least one"),
        ({"targets": {"y": {"type": "clasification"}}}, 'config targets.y.type: unknown head "clasification"; did you'),
        ({"fusion": {"type": "atention"}}, 'config fusion.type: unknown fusion "atention"'),
        ({"fusion": {"type": "concat", "units": [0.5]}}, "config fusion.units.0: expected a valid integer"),
        ({"fusion": None}, "config fusion: expected a type"),
    ],
)  # fmt: skip
def test_mistakes(changes, message):
    found = error(raw(**changes))
    assert found.startswith(message)
    assert "\n" not in found


def test_fitted_state_is_not_offered_as_a_setting():
    message = error(raw(columns={"note": {"type": "text", "vocabular": 3}}))
    assert "max_tokens, vocabulary_size" in message
    assert not message.endswith(", vocabulary)")


def test_every_mistake_of_a_part_has_a_line():
    lines = error(raw(train={"epochs": 0, "batch_size": -1})).splitlines()
    assert [line.split(":")[0] for line in lines] == ["config train.epochs", "config train.batch_size"]


def test_the_file_is_named(path):
    with pytest.raises(ValueError, match=r"^config\.yaml train\.epochs: expected"):
        read_config(path, ["train.epochs=0"])


def test_files_that_are_no_config(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml: no such config file"):
        read_config(tmp_path / "nowhere.yaml")
    contents = {
        "list.yaml": (b"- a\n- b\n", r"list\.yaml: expected keys such as manifest, columns and targets, got list"),
        "empty.yaml": (b"", r"empty\.yaml: expected keys such as .* got NoneType"),
        "broken.yaml": (b"columns: {a: [", r"broken\.yaml: not readable as YAML: .*line 1"),
        "latin.yaml": ("manifest: größe.csv".encode("latin-1"), r"latin\.yaml: not readable as YAML"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_config(tmp_path / name)


def test_yaml_makes_no_objects(tmp_path):
    (tmp_path / "evil.yaml").write_text("manifest: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match="not readable as YAML"):
        read_config(tmp_path / "evil.yaml")


def test_a_file_without_a_table(path):
    path.write_text(TEXT.replace("manifest: tables/all.csv", ""))
    with pytest.raises(ValueError, match=r"^config\.yaml manifest: missing; name the table"):
        read_config(path)


# Overrides


def test_overrides_win_and_are_yaml():
    found = override({"train": {"epochs": 9, "seed": 4}}, ["train.epochs=3", "fusion.units=[5, 7]", "manifest=a b"])
    assert found == {"train": {"epochs": 3, "seed": 4}, "fusion": {"units": [5, 7]}, "manifest": "a b"}


def test_null_takes_a_key_away():
    assert override({"columns": {"a": {"type": "text"}, "b": {}}}, ["columns.a=null"]) == {"columns": {"b": {}}}


def test_an_override_that_is_no_yaml():
    with pytest.raises(ValueError, match=r'^override "fusion\.units=\[5": the value is not readable as YAML'):
        override({}, ["fusion.units=[5"])


def test_overrides_leave_the_original_alone():
    original = {"train": {"epochs": 9}}
    override(original, ["train.epochs=3"])
    assert original == {"train": {"epochs": 9}}


def test_the_value_may_hold_equals_signs():
    assert override({}, ["manifest=a=b.csv"]) == {"manifest": "a=b.csv"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_new_type_discards_the_old_ones_settings(order):
    overrides = ["columns.a.type=image", "columns.a.height_px=9"][::order]
    found = override({"columns": {"a": {"type": "text", "max_tokens": 7}}}, overrides)
    assert found == {"columns": {"a": {"type": "image", "height_px": 9}}}


def test_the_same_type_keeps_its_settings():
    original = {"columns": {"a": {"type": "text", "max_tokens": 7}}}
    assert override(original, ["columns.a.type=text"]) == original


@pytest.mark.parametrize("text", ["train.epochs", "=3", ""])
def test_overrides_that_are_none(text):
    with pytest.raises(ValueError, match=f'^override "{text}": expected key=value with dotted keys'):
        override({}, [text])


def test_an_override_below_a_plain_value():
    with pytest.raises(ValueError, match='^override "manifest.a=3": "manifest" holds no settings'):
        override({"manifest": "a.csv"}, ["manifest.a=3"])


# Schema


def test_the_schema_has_every_member_and_no_fitted_field():
    definitions = json_schema()["$defs"]
    for kind in ("modality", "encoder", "fusion", "head"):
        assert [part["$ref"] for part in definitions[kind.title()]["oneOf"]] == [
            f"#/$defs/{kind}.{name}" for name in members(kind)
        ]
        for name in members(kind):
            properties = definitions[f"{kind}.{name}"]["properties"]
            assert properties.keys() == find(kind, name)().settings().keys()
            assert properties["type"] == {"const": name}


def test_the_schema_refuses_what_the_config_refuses():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(raw(), json_schema())
    without_table = {key: value for key, value in raw().items() if key != "manifest"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(without_table, json_schema())
    for changes in ({"trian": {}}, {"train": {"epochs": 0}}, {"columns": {"n": {"type": "txt"}}}, {"columns": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(raw(**changes), json_schema())


def test_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        parse_config(raw()).manifest = "other.csv"
    assert issubclass(Config, type(parse_config(raw())))


def test_build_says_where():
    with pytest.raises(ValueError, match=r"^here: expected a type, for example \{type: \w+\}, got 5$"):
        build("fusion", 5, "here")


def test_files_that_columns_name_are_found_beside_the_config(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/vectors.txt").write_text("")
    text = {"type": "text", "word_vectors": "vectors.txt"}
    raw = {"manifest": "t.csv", "columns": {"a": text}, "targets": {"y": {"type": "classification"}}}
    (tmp_path / "here/config.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    column = read_config("here/config.yaml").columns["a"]
    assert column.word_vectors == str(tmp_path / "here/vectors.txt")
