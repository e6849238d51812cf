"""A column's encoders one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmkeras.contracts.encoder import Encoded, Encoder, Parts
from mmkeras.network.layers.time import MaskedMean, fold, hide_padding, unfold


def encode(chain: Sequence[Encoder], parts: Parts) -> Encoded:
    """What the last of a column's encoders makes: the first reads the parts, each further one tokens as steps."""
    first, *others = chain
    is_one_by_one = parts.kind == "frames" and parts.kind not in first.reads
    encoded = _encode_frames(first, parts) if is_one_by_one else first.encode(parts)
    for encoder in others:
        encoded = encoder.encode(Parts("steps", encoded.tokens, encoded.mask))
    return encoded


def _encode_frames(encoder: Encoder, frames: Parts) -> Encoded:
    """Frames (B, N, H, W, C) by an encoder of one picture, whose vectors are the steps (B, N, D)."""
    seen = encoder.encode(replace(frames, kind="pixels", values=fold(frames.values), mask=None))
    steps = hide_padding(unfold(seen.vector, frames.values.shape[1]), frames.mask)
    return Encoded(steps, frames.mask, [MaskedMean()(steps, frames.mask)])
