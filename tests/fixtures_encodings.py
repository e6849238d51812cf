"""Encodings that are given instead of computed, for tests of fusions; this file imports Keras."""

import keras
import numpy as np

from mmkeras.contracts.encoding import Encoding

# {column: (width of the vector, tokens, width of a token)}, no two sizes alike
SHAPES = {"a": (5, 3, 4), "b": (6, 7, 2), "c": (11, 1, 9)}


def encodings(shapes):
    """Inputs of a model, and the same as encodings by column."""
    inputs = {
        column: {
            "vector": keras.Input((width,), name=f"{column}_vector"),
            "tokens": keras.Input((tokens, token_width), name=f"{column}_tokens"),
            "mask": keras.Input((tokens,), name=f"{column}_mask"),
            "present": keras.Input((), name=f"{column}_present"),
        }
        for column, (width, tokens, token_width) in shapes.items()
    }
    return inputs, {column: Encoding(**parts) for column, parts in inputs.items()}


def batch(shapes, present, seed=0):
    """Random content for a model of `encodings`; `present` is {column: one number per row} or one for all columns."""
    random = np.random.default_rng(seed)
    found = {}
    for column, (width, tokens, token_width) in sorted(shapes.items()):
        there = np.array(present[column] if isinstance(present, dict) else present, np.float32)
        rows = len(there)
        mask = (np.arange(tokens) < 1 + random.integers(tokens, size=(rows, 1))).astype(np.float32)
        found[column] = {
            "vector": random.normal(size=(rows, width)).astype(np.float32),
            "tokens": random.normal(size=(rows, tokens, token_width)).astype(np.float32),
            "mask": mask,
            "present": there,
        }
    return found


def fused_model(fusion, shapes):
    """`fuse` as a model of `batch`: {"vector": …, "weights": …, where there are any}."""
    inputs, given = encodings(shapes)
    fused = fusion.fuse(given)
    outputs = {"vector": fused.vector} | ({} if fused.weights is None else {"weights": fused.weights})
    return keras.Model(inputs, outputs)


def predicting_model(fusion, shapes, heads):
    """`predict` as a model of `batch`: {output: …, "weights": …, where there are any}."""
    inputs, given = encodings(shapes)
    outputs, fused = fusion.predict(given, heads)
    return keras.Model(inputs, outputs | ({} if fused.weights is None else {"weights": fused.weights}))


def layers_of(model, kind):
    """A model's layers of one class, in the order in which they were made."""
    return [layer for layer in model.layers if isinstance(layer, kind)]


def scalars(**columns):
    """Features of columns whose vector is one number each, NaN where the column is absent."""
    found = {}
    for column, numbers in columns.items():
        vector = np.array(numbers, np.float32)[:, None]
        present = 1 - np.isnan(vector).astype(np.float32)
        vector = np.where(present > 0, vector, 55).astype(np.float32)
        found[column] = {"vector": vector, "tokens": vector[:, None], "mask": present, "present": present[:, 0]}
    return found


SCALARS = {"a": (1, 1, 1), "b": (1, 1, 1)}
