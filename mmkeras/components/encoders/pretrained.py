"""A pretrained text encoder of keras-hub, on the numbers of its own tokenizer.

Reads: pieces. Tokens: what it makes of each. Vector: their mean and maximum, or the first, which BERT was trained to
sum a text up in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from mmkeras.base.hub import hub
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")

# What the fitted state needs of a backbone's own settings: not what names it or says where it came from.
UNSTORED = {"name", "trainable", "dtype", "config_file", "vocabulary", "sequence_length"}
LEAST_TOKENS = 3  # start, piece, end


class Pretrained(Encoder):
    """BERT, DistilBERT or ELECTRA with their own word pieces."""

    reads: ClassVar = frozenset({"pieces"})

    preset: str | None = Field(
        None,
        description="a folder or a name that keras-hub's from_preset takes",
        json_schema_extra={"path": True},
    )
    unfrozen_blocks: int = tunable(0, ge=0, description="so many blocks at the top learn; 0: it is frozen")
    pooling: Literal["mean_and_max", "first"] = tunable(
        "mean_and_max", description="what the vector is: the mean and the maximum of the tokens, or the first one"
    )

    def check(self, shape: Sequence[int | None]) -> None:
        if self.preset is None:
            raise ValueError('encoder "pretrained" needs "preset", a folder or a name that keras-hub knows; got none')
        (max_tokens,) = shape
        if max_tokens < LEAST_TOKENS:
            raise ValueError(
                f'encoder "pretrained" needs max_tokens of at least {LEAST_TOKENS} (start, piece, end), '
                f"got {max_tokens}"
            )

    def needs(self, shape: Sequence[int | None]) -> dict[str, Any]:
        """The tokenizer's vocabulary and, as JSON, the classes and settings of tokenizer and backbone.

        Raises:
            ValueError: There is no such preset, its tokens are not word pieces, or it takes fewer tokens.
        """
        tokenizer = _from_preset("Tokenizer", self.preset)
        if not isinstance(tokenizer, hub().tokenizers.WordPieceTokenizer) or not hasattr(tokenizer, "start_token_id"):
            raise ValueError(
                f'preset "{self.preset}": {type(tokenizer).__name__} cannot be put into the graph; '
                "expected a family with WordPiece: BERT, DistilBERT, ELECTRA"
            )
        backbone = _from_preset("Backbone", self.preset, load_weights=False)
        (max_tokens,) = shape
        most = backbone.get_config().get("max_sequence_length", max_tokens)
        if max_tokens > most:
            raise ValueError(f'preset "{self.preset}" takes at most {most} tokens, but max_tokens is {max_tokens}')
        stored = {name: _stored(part) for name, part in (("tokenizer", tokenizer), ("backbone", backbone))}
        return {"vocabulary": tuple(tokenizer.get_vocabulary()), "backbone": json.dumps(stored)}

    def encode(self, parts: Parts) -> Encoded:
        # Keras hands `training` on to layers that are frozen: their dropout has to be taken out.
        changes = {} if self.unfrozen_blocks else {"dropout": 0.0}
        backbone = _build_backbone(parts.fitted["backbone"], self.preset, changes)
        _freeze_below(backbone, self.unfrozen_blocks)
        inputs = {
            "token_ids": parts.values,
            "padding_mask": keras.ops.cast(parts.mask, "int32"),
            "segment_ids": keras.ops.zeros_like(parts.values),
        }
        output = backbone.output["sequence_output"] if isinstance(backbone.output, dict) else backbone.output
        # Ends here: what BERT makes of the first token for its own training is not used.
        body = layers.nested.Nested(keras.Model(backbone.input, output))
        tokens = body({name: inputs[name] for name in backbone.input})
        vector = tokens[:, 0] if self.pooling == "first" else layers.time.mean_and_max(tokens, parts.mask)
        return Encoded(tokens, parts.mask, [vector])

    def trained(self) -> Self:
        return self.model_copy(update={"preset": None})


def _stored(part: Any) -> dict[str, Any]:
    config = {key: value for key, value in part.get_config().items() if key not in UNSTORED}
    return {"class_name": type(part).__name__, "config": config}


def _build_backbone(stored: str, preset: str | None, changes: dict[str, Any]) -> Any:
    """With the preset's weights or, without one, with random ones in their place.

    Args:
        stored: What `needs` gave.
        preset: A folder or a name.
        changes: Of the backbone's settings.
    """
    if preset is not None:
        return _from_preset("Backbone", preset, **changes)
    described = json.loads(stored)["backbone"]
    return getattr(hub().models, described["class_name"])(**described["config"] | changes)


def _freeze_below(backbone: Any, unfrozen_blocks: int) -> None:
    blocks = [layer for layer in backbone.layers if layer.name.startswith("transformer_layer_")]
    if unfrozen_blocks > len(blocks):
        raise ValueError(f"unfrozen_blocks: the pretrained encoder has {len(blocks)}, got {unfrozen_blocks}")
    for layer in backbone.layers:
        layer.trainable = layer in blocks[len(blocks) - unfrozen_blocks :]


def _from_preset(kind: str, preset: str, **options: Any) -> Any:
    try:
        return getattr(hub().models, kind).from_preset(preset, **options)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f'preset "{preset}": keras-hub cannot load it; expected a folder made by save_to_preset, or one of its '
            f"names, such as bert_tiny_en_uncased: {error}"
        ) from None
