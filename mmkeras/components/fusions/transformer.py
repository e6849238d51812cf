"""A Transformer over the tokens of all columns: every word may look at every image patch and every moment of sound."""

from __future__ import annotations

from pydantic import Field, model_validator

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Transformer(Fusion):
    """A summary token, and of each column its vector and its tokens, in blocks of self-attention.

    A column's tokens get their places and, as its vector does, a learned embedding of the column. In the last block the
    summary token alone looks at the others; it is the joint vector, and what it looks at are the columns' weights.

    References:
        Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762; Kim et al., ViLT: Vision-and-Language
        Transformer Without Convolution or Region Supervision, 2021, arXiv:2102.03334; for a last block that only reads,
        Touvron et al., Going Deeper with Image Transformers, 2021, arXiv:2103.17239.
    """

    width: int = Field(64, ge=1, description="of all tokens and of the joint vector; a multiple of heads")
    depth: int = Field(2, ge=1, description="blocks; in the last one only the summary token looks at the others")
    heads: int = Field(4, ge=1, description="of each block's attention")
    dropout: float = Field(0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _width_is_a_multiple_of_heads(self) -> Transformer:
        if self.width % self.heads:
            raise ValueError(f"width has to be a multiple of heads, got {self.width} and {self.heads}")
        return self

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        columns = [encoding for _, encoding in walk(encodings)]
        tokens = layers.joining.PrependLearned()(_joined([self._tokens(column) for column in columns]))
        summary_mask = keras.ops.ones_like(columns[0].present)[:, None]
        mask = _joined([summary_mask, *(_mask(column) for column in columns)])
        for _ in range(self.depth - 1):
            tokens, _ = self._block(tokens, mask)
        summary, scores = self._block(tokens, mask, queries=1)
        vector = keras.layers.LayerNormalization()(summary[:, 0])
        return Fused(vector, _weights(scores, columns))

    def _tokens(self, encoding: Encoding) -> keras.KerasTensor:
        """The column's vector, then its tokens: (B, D), (B, T, D') -> (B, 1 + T, width)."""
        vector = keras.layers.Dense(self.width, use_bias=False)(encoding.vector)[:, None]
        tokens = layers.time.SinusoidalPositions()(keras.layers.Dense(self.width)(encoding.tokens))
        return layers.joining.AddLearned()(_joined([vector, tokens]))

    def _block(
        self, tokens: keras.KerasTensor, mask: keras.KerasTensor, queries: int | None = None
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Attention and feed-forward layers of the first `queries` tokens, and who looked at what, (B, heads, Q, T)."""
        visible = keras.ops.cast(keras.ops.expand_dims(mask, 1), "bool")
        normal = keras.layers.LayerNormalization()(tokens)
        attention = keras.layers.MultiHeadAttention(self.heads, self.width // self.heads, dropout=self.dropout)
        attended, scores = attention(normal[:, :queries], normal, attention_mask=visible, return_attention_scores=True)
        tokens = tokens[:, :queries] + keras.layers.Dropout(self.dropout)(attended)
        return layers.time.feed_forward(tokens, self.dropout), scores


def _joined(parts: list[keras.KerasTensor]) -> keras.KerasTensor:
    """Along the tokens' axis."""
    return keras.layers.Concatenate(axis=1)(parts) if len(parts) > 1 else parts[0]


def _mask(encoding: Encoding) -> keras.KerasTensor:
    """(B, 1 + T): nothing of an absent column is seen."""
    present = encoding.present[:, None]
    return _joined([present, encoding.mask * present])


def _weights(scores: keras.KerasTensor, columns: list[Encoding]) -> keras.KerasTensor:
    """The summary token's attention, (B, heads, 1, 1 + all tokens) -> (B, M): each column's share, itself left out."""
    attention = keras.ops.mean(keras.ops.cast(scores, "float32")[:, :, 0, 1:], axis=1)
    sums, start = [], 0
    for column in columns:
        stop = start + 1 + column.tokens.shape[1]
        sums.append(keras.ops.sum(attention[:, start:stop], axis=1) * column.present)
        start = stop
    weights = keras.ops.stack(sums, axis=1)
    return weights / keras.ops.maximum(keras.ops.sum(weights, axis=1, keepdims=True), 1e-9)
