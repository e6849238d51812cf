"""Text in any language.

Cell: a UTF-8 string; blank means missing.
Features: `tokens` (T,) int32 word pieces, 0 = padding at the end; `present` ().
Encoding: Embedding, LSTM over the real tokens; the vector joins its outputs' mean and maximum over time
and the mean of the vectors of word-piece n-grams.
"""

from __future__ import annotations

import functools
import html
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmkeras.component import Encoding, Modality, at_least_one, fitted, tunable
from mmkeras.lazy import lazy
from mmkeras.manifest import are_categories, end_like_files

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.layers")
ops = lazy("mmkeras.ops")

PADDING, UNKNOWN = "[PAD]", "[UNK]"
# What str.strip takes away too.
BLANKS_AROUND = r"^[\s\pZ\x{1c}-\x{1f}\x{85}]+|[\s\pZ\x{1c}-\x{1f}\x{85}]+$"


class Text(Modality):
    """Text, tokenised into word pieces inside the graph."""

    from_file = False

    max_tokens: int = Field(48, ge=1, le=8192, description="longer texts are cut at the end")
    vocabulary_size: int = Field(2000, ge=100, le=500_000, description="word pieces, learned from the training rows")
    lowercase: bool = True
    embedding_width: int = tunable(128, ge=1)
    units: int = tunable(48, ge=1, description="of the LSTM, per direction")
    bidirectional: bool = tunable(True)
    pooling: bool = tunable(True, description="the mean and maximum over time in place of the LSTM's last state")
    ngrams: int = tunable(3, ge=0, le=8, description="beside the LSTM, a bag of n-grams up to this length; 0: none")
    ngram_buckets: int = tunable(32768, ge=2, description="n-grams are hashed into so many vectors")
    ngram_width: int = tunable(96, ge=1)
    dropout: float = tunable(0.4, ge=0, lt=1)
    part_dropout: float = tunable(0.3, ge=0, lt=1, description="chance that training hides the LSTM or the bag")
    token_dropout: float = tunable(0.1, ge=0, lt=1, description="chance that training makes a token unknown")
    vocabulary: tuple[str, ...] | None = fitted()

    def read(self, value: str) -> str:
        return value.strip()

    def adapt(self, cells: Iterable[str]) -> Text:
        """Learns a WordPiece vocabulary, the same one from the same cells.

        References:
            Schuster and Nakajima, Japanese and Korean voice search, 2012; Song et al., Fast WordPiece Tokenization,
            2021, arXiv:2012.15524 (how tensorflow-text then applies it).
        """
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        words: Counter[str] = Counter()
        for texts in _chunks(at_least_one(cells)):
            for text in self._fold(tf.constant(texts)).numpy():
                normal = tokenizer.normalizer.normalize_str(text.decode("utf-8"))
                words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
        letters = _frequent_letters(words, self.vocabulary_size // 2)
        inside = {letter for word in words for letter in word[1:]}
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.vocabulary_size,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            # The trainer numbers letters inside words as it meets them in a hash map, and breaks ties by number:
            # two trainings would give two vocabularies, were they not numbered beforehand.
            special_tokens=[PADDING, UNKNOWN, *(f"##{letter}" for letter in letters if letter in inside)],
            show_progress=False,
        )
        tokenizer.train_from_iterator(words.elements(), trainer)
        ids = tokenizer.get_vocab()
        return self.model_copy(update={"vocabulary": tuple(sorted(ids, key=ids.__getitem__))})

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((), tf.string)

    @property
    def cell_description(self) -> str:
        return "UTF-8 string; empty or blank: missing"

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {"tokens": tf.TensorSpec((self.max_tokens,), tf.int32), "present": tf.TensorSpec((), tf.float32)}

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        cell = tf.strings.regex_replace(cell, BLANKS_AROUND, "")
        folded = self._fold(cell)
        tokens = _tokenizer(self.vocabulary).tokenize(folded[tf.newaxis]).flat_values
        return {
            "tokens": ops.pad_time(tf.cast(tokens, tf.int32), self.max_tokens),
            "present": tf.cast(tf.strings.length(cell) > 0, tf.float32),
        }

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = features["tokens"]
        hidden = tf.random.stateless_uniform(tokens.shape, seed) < self.token_dropout
        return {**features, "tokens": tf.where(hidden & (tokens > 0), 1, tokens)}

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs -> tokens (B, T, D)
        mask = keras.ops.cast(keras.ops.not_equal(inputs["tokens"], 0), "float32")
        embedded = keras.layers.Embedding(len(self.vocabulary), self.embedding_width)(inputs["tokens"])
        embedded = keras.layers.SpatialDropout1D(self.dropout)(embedded)
        # tokens (B, T, D) -> vector (B, D')
        tokens, vector = layers.recur(embedded, mask, self.units, self.bidirectional, self.pooling)
        if self.ngrams:
            bag = layers.NgramBag(self.ngrams, self.ngram_buckets, self.ngram_width)(inputs["tokens"])
            bag = keras.layers.Dropout(self.dropout)(keras.layers.LayerNormalization()(bag))
            vector = keras.layers.Concatenate()([self._hide(vector), self._hide(bag)])
        return Encoding(keras.layers.Dropout(self.dropout)(vector), tokens, mask, inputs["present"])

    def _hide(self, part: Any) -> Any:
        """Whole parts are hidden now and then, or the LSTM learns the rows by heart and the bag stays idle."""
        return keras.layers.Dropout(self.part_dropout, noise_shape=(None, 1))(part)

    def example(self, seed: int) -> str:
        words = ["red", "car", "boat", "пример", "例子", "naïve", "Ελλάδα", "7"]
        return " ".join(random.Random(seed).choices(words, k=5))

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        sample = values.sample(min(len(values), 1000), random_state=0)
        # Not numbers with blanks between them, nor paths.
        lettered = sample.str.replace(r"(?i)\b(?:nan|na|null|none)\b", "", regex=True).str.contains(r"[^\W\d_]{2}")
        several = sample.str.contains(r"\S\s+\S") | sample.str.contains(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2}")
        wordy = lettered & several
        if wordy.mean() < 0.5 or are_categories(values) or end_like_files(values):
            return None
        return f"{wordy.mean():.0%} of the cells hold several words"

    def draw(self, cell: str, attribution: np.ndarray | None = None) -> str:
        return f"<p>{html.escape(cell)}</p>"

    def baseline(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)

    def _fold(self, text: tf.Tensor) -> tf.Tensor:
        import tensorflow_text

        normalized = tensorflow_text.normalize_utf8(text, "NFKC")
        return tensorflow_text.case_fold_utf8(normalized) if self.lowercase else normalized


@functools.lru_cache(maxsize=32)
def _tokenizer(vocabulary: tuple[str, ...]) -> Any:
    """One tokenizer for all that is traced with a vocabulary."""
    import tensorflow_text

    with tf.init_scope():
        return tensorflow_text.FastBertTokenizer(
            vocab=list(vocabulary),
            token_out_type=tf.int32,
            unknown_token=UNKNOWN,
            lower_case_nfd_strip_accents=False,
        )


def _chunks(cells: Iterable[str], size: int = 1024) -> Iterator[list[str]]:
    remaining = iter(cells)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def _frequent_letters(words: Counter[str], most: int) -> list[str]:
    """The most frequent characters, sorted."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    frequent = sorted(counts, key=lambda letter: (-counts[letter], letter))[:most]
    return sorted(frequent)
