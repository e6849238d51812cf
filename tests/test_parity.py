"""The promise: the exported model gives the answers that training saw, in a process that has no mmkeras."""

import io
import json
import pickle

import numpy as np
import pytest
import soundfile
from fixtures_tables import LABELS, SAMPLE_RATE_HZ, python, wav
from PIL import Image

from mmkeras.features.columns import read_cells, table_cells
from mmkeras.network.inference import predict_rows
from mmkeras.table.manifest import Manifest, read_table

pytest_plugins = "fixtures_tables"

# What a client has: TensorFlow, tensorflow-text, the SavedModel's folder and cells; mmkeras cannot be imported.
CLIENT = """
import pickle, sys
sys.modules["mmkeras"] = None
import tensorflow as tf
import tensorflow_text

model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
with open(sys.argv[2], "rb") as file:
    batches = pickle.load(file)
answers = [
    {name: tensor.numpy() for name, tensor in serve(**{k: tf.constant(v, tf.string) for k, v in cells.items()}).items()}
    for cells in batches
]
assert not [name for name, module in sys.modules.items() if name.startswith("mmkeras") and module is not None]
with open(sys.argv[3], "wb") as file:
    pickle.dump(answers, file)
"""
COLUMNS = ("photo", "question", "voice")


@pytest.fixture(scope="module")
def judged(run, table):
    """The test rows, predict's answers for them, and their cells as a client sends them."""
    splits = run.splits
    rows = read_table(table).rows[(splits == "test").to_numpy()].reset_index(drop=True)
    manifest = Manifest(rows, table.parent, table.name)
    predictions, statuses = predict_rows(run.network(), run.schema, manifest)
    cells = table_cells(manifest, run.schema.columns)
    raw = {name: [cell or b"" for cell in read_cells(run.schema.columns[name], cells[name])] for name in COLUMNS}
    raw["question"] = [cell.encode() if isinstance(cell, str) else cell for cell in raw["question"]]
    return predictions["intent"], statuses, raw


@pytest.fixture(scope="module")
def ask(saved_model, tmp_path_factory):
    """Batches of cells to the fresh process's answers, one process for all batches."""

    def ask(batches: list[dict[str, list[bytes]]]) -> list[dict[str, np.ndarray]]:
        folder = tmp_path_factory.mktemp("client")
        (folder / "cells").write_bytes(pickle.dumps(batches))
        done = python(CLIENT, saved_model, folder / "cells", folder / "answers", cwd=folder)
        assert done.returncode == 0, done.stderr
        return pickle.loads((folder / "answers").read_bytes())

    return ask


def part(raw: dict[str, list[bytes]], rows) -> dict[str, list[bytes]]:
    return {name: [raw[name][i] for i in rows] for name in COLUMNS}


def joined(*rows: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    return {name: [cell for row in rows for cell in row[name]] for name in COLUMNS}


def extreme() -> dict[str, list[bytes]]:
    """A row that is valid and far from everything in the table."""
    picture = np.random.default_rng(7).integers(0, 2, (700, 3, 3), dtype=np.uint8) * 255
    stream, sound = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    noise = np.random.default_rng(8).choice([-1.0, 1.0], (3 * 48_000, 2))
    soundfile.write(sound, noise, 48_000, format="WAV", subtype="PCM_16")
    return {
        "photo": [stream.getvalue()],
        "question": [("supercalifragilistic 例子 \t" * 5000).encode()],
        "voice": [sound.getvalue()],
    }


@pytest.fixture(scope="module")
def answers(ask, judged):
    """Everything that the tests below ask, in one process."""
    _, _, raw = judged
    count = len(raw["photo"])
    loud = extreme()
    empty = {name: [b""] for name in COLUMNS}
    asked = {
        "each row alone": [part(raw, [i]) for i in range(count)],
        "threes": [part(raw, range(i, min(i + 3, count))) for i in range(0, count, 3)],
        "one batch of 32": [joined(part(raw, np.arange(32) % count))],
        "beside an extreme row": [joined(loud, part(raw, [i]), loud) for i in range(count)],
        "nothing at all": [empty],
        "broken cells": [joined(part(raw, range(2)), broken, part(raw, range(2))) for broken in broken_rows(raw)],
        "another format": [joined(part(raw, [0]), part(raw, [0]) | {"voice": [stereo]}) for stereo in stereo_clips()],
    }
    found = iter(ask([batch for batches in asked.values() for batch in batches]))
    return {name: [next(found) for _ in batches] for name, batches in asked.items()}


def broken_rows(raw: dict[str, list[bytes]]) -> list[dict[str, list[bytes]]]:
    """Rows with one cell that no decoder can use."""
    whole = next(i for i in range(len(raw["photo"])) if all(raw[name][i] for name in COLUMNS))
    good = part(raw, [whole])
    return [
        good | {"photo": [b"not a picture at all"]},
        good | {"photo": [good["photo"][0][:40]]},
        good | {"photo": [good["photo"][0][:-60]]},
        good | {"photo": [b"\xff\xd8\xff\xe0" + bytes(range(256))]},
        good | {"voice": [b"not a sound"]},
        good | {"voice": [good["voice"][0][:44]]},
        good | {"voice": [b"RIFF" + bytes(200)]},
        good | {"question": [b"\xff\xfe no UTF-8 \xc3"]},
    ]


def stereo_clips() -> list[bytes]:
    """The same half second of a tone at 44.1 kHz in stereo and at the model's own rate."""
    time_s = np.arange(22_050) / 44_100
    tone = 0.3 * np.sin(2 * np.pi * 700 * time_s)
    clips = []
    for samples, rate_hz in ((np.stack([tone, tone], axis=1), 44_100), (tone_at(SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)):
        stream = io.BytesIO()
        soundfile.write(stream, samples, rate_hz, format="WAV", subtype="PCM_16")
        clips.append(stream.getvalue())
    return clips


def tone_at(rate_hz: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 700 * np.arange(rate_hz // 2) / rate_hz)


def concatenated(answers: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return np.concatenate([answer[name] for answer in answers])


@pytest.mark.parametrize("batches", ["each row alone", "threes"])
def test_probabilities_are_those_of_predict(answers, judged, batches):
    probabilities, statuses, _ = judged
    assert len(probabilities) == 12
    assert np.ptp(probabilities, axis=0).min() > 0.01  # rows differ, or equality would say nothing
    np.testing.assert_allclose(concatenated(answers[batches], "probabilities"), probabilities, atol=1e-5)
    assert [status.decode() for status in concatenated(answers[batches], "status")] == statuses.tolist()
    labels = [label.decode() for label in concatenated(answers[batches], "label")]
    assert labels == [LABELS[i] for i in probabilities.argmax(axis=1)]
    np.testing.assert_allclose(concatenated(answers[batches], "probability"), probabilities.max(axis=1), atol=1e-5)


def test_a_batch_of_32_answers_each_row_the_same(answers, judged):
    (found,) = answers["one batch of 32"]
    np.testing.assert_allclose(found["probabilities"], judged[0][np.arange(32) % 12], atol=1e-5)


def test_an_extreme_neighbour_changes_nothing(answers, judged):
    for i, found in enumerate(answers["beside an extreme row"]):
        np.testing.assert_allclose(found["probabilities"][1], judged[0][i], atol=1e-5)
        assert found["status"][0] == b"ok"
        assert np.isfinite(found["probabilities"]).all()


def test_some_test_rows_lack_cells(judged):
    """So that equality of probabilities covers missing cells."""
    assert set(judged[1]) >= {"ok", "missing: photo; missing: voice", "missing: photo", "missing: voice"}


def test_a_row_without_any_cell_is_answered(answers):
    (found,) = answers["nothing at all"]
    assert found["status"][0] == b"prior; missing: photo; missing: question; missing: voice"
    assert found["probabilities"].sum() == pytest.approx(1, abs=1e-5)


def test_broken_cells_are_named_and_leave_neighbours_alone(answers, judged):
    bad = [
        "bad: photo: not a PNG, JPEG, GIF or BMP file",
        "bad: photo: truncated PNG",
        "bad: photo: truncated PNG",
        "bad: photo: truncated JPEG",
        "bad: voice: not a WAV file",
        "bad: voice: truncated WAV",
        "bad: voice: not a WAV file",
        "ok",  # whatever the bytes, they are some text
    ]
    for status, found in zip(bad, answers["broken cells"], strict=True):
        np.testing.assert_allclose(found["probabilities"][[0, 1, 3, 4]], judged[0][[0, 1, 0, 1]], atol=1e-5)
        assert found["status"][2].decode() == status
        assert np.isfinite(found["probabilities"]).all()


def test_stereo_of_another_rate_is_nearly_the_same_sound(answers):
    fast, own = answers["another format"]
    assert fast["status"][1] == own["status"][1] == b"ok"
    np.testing.assert_allclose(fast["probabilities"][1], own["probabilities"][1], atol=0.02)


def test_training_saw_the_same_probabilities(run, judged, table):
    truth = read_table(table).rows["intent"][(run.splits == "test").to_numpy()]
    index = [LABELS.index(label) for label in truth]
    log_loss = -np.log(judged[0][np.arange(len(index)), index]).mean()
    assert run.metrics["test"]["intent"]["log_loss"] == pytest.approx(log_loss, abs=1e-5)


def test_signature_tells_a_client_what_to_send(saved_model):
    told = json.loads((saved_model / "assets.extra" / "signature.json").read_text())
    assert list(told["inputs"]) == list(COLUMNS)
    assert f"{SAMPLE_RATE_HZ} Hz" in told["inputs"]["voice"]
    assert "WAV" in told["inputs"]["voice"]
    assert ", ".join(LABELS) in told["outputs"]["probabilities"]
    assert told["outputs"].keys() == {"label", "probability", "probabilities", "status"}


def test_wav_of_the_table_is_sent_as_it_is():
    """`wav` writes what the graph takes: the comparison above would be idle if `read` had changed nothing else."""
    info = soundfile.info(io.BytesIO(wav("return", np.random.default_rng(0))))
    assert (info.subtype, info.samplerate) == ("PCM_16", SAMPLE_RATE_HZ)
