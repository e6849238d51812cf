"""What a row's status says, by the function that prediction and the exported model share."""

import tensorflow as tf

from mmkeras.network.statuses import statuses


def told(present, faults):
    present = {column: tf.constant(values, tf.float32) for column, values in present.items()}
    faults = {column: tf.constant(texts) for column, texts in faults.items()}
    return [text.decode() for text in statuses(present, faults).numpy()]


def test_columns_are_named_in_sorted_order():
    faults = {"voice": ["holds no samples", "", ""], "photo": ["", "", ""]}
    present = {"voice": [0, 0, 1], "photo": [0, 1, 1]}
    assert told(present, faults) == ["prior; missing: photo; bad: voice: holds no samples", "missing: voice", "ok"]


def test_a_columns_name_may_be_anything():
    name = r"a; (b\d+"
    assert told({name: [0, 0], "x": [1, 1]}, {name: ["", "is; bad"], "x": ["", ""]}) == [
        f"missing: {name}",
        f"bad: {name}: is; bad",
    ]


def test_letters_of_any_script_pass():
    assert told({"фото": [0], "x": [1]}, {"фото": ["画像が壊れています"], "x": [""]}) == [
        "bad: фото: 画像が壊れています"
    ]
