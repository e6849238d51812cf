"""A modality whose features are a file's size, and files for it: what tests of reading, keeping and batching share."""

from collections import Counter
from pathlib import Path

from pydantic import Field

from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.modality import Modality

READS: Counter = Counter()


class Size(Modality):
    """Counts its reads; a file's features are how many bytes it has and the last of them."""

    scale: float = Field(1.0)
    units: int = tunable(3)
    offset: float | None = fitted()

    def read(self, value):
        READS[value] += 1
        content = Path(value).read_bytes()
        if content.startswith(b"bad"):
            raise ValueError("begins with bad")
        return content

    def adapt(self, cells):
        lengths = [len(cell) for cell in cells]
        return self.model_copy(update={"offset": float(sum(lengths))})

    @property
    def cell(self):
        import tensorflow as tf

        return tf.TensorSpec((), tf.string)

    @property
    def features(self):
        import tensorflow as tf

        return {"x": tf.TensorSpec((2,), tf.float32), "present": tf.TensorSpec((), tf.float32)}

    def preprocess(self, cell):
        import tensorflow as tf

        length = tf.strings.length(cell)
        last = tf.io.decode_raw(tf.strings.substr(cell + b"\1", tf.maximum(length - 1, 0), 1), tf.uint8)[0]
        values = tf.stack([tf.cast(length, tf.float32) * self.scale, tf.cast(last, tf.float32)])
        present = tf.cast(length > 0, tf.float32)
        return {"x": values * present, "present": present}

    def augment(self, features, seed):
        import tensorflow as tf

        noise = tf.random.stateless_uniform(tf.shape(features["x"]), seed)
        return {**features, "x": features["x"] + noise * features["present"][:, tf.newaxis]}
