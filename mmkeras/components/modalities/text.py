"""Text in any language.

Cell: a UTF-8 string; blank means missing.
Features: `tokens` (T,) int32 word pieces, 0 = padding at the end (a pretrained encoder's numbers + 1); `present` ().
Encoding: offered to an encoder are the steps of an Embedding, or the pieces of a tokenizer that it brings along; the
vector joins the encoder's and the mean of the vectors of word-piece n-grams.
Attribution: (T,), of each word piece; an n-gram's share is divided equally among its pieces.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import logging
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mmkeras.base import html
from mmkeras.base.cell_text import MISSING_WORDS, are_categories, end_like_files
from mmkeras.base.hub import hub
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoder import Chain, Parts, PartsKind
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt, Modality, Pieces, Survey
from mmkeras.features.cells import at_least_one, chunked

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

PADDING, UNKNOWN = "[PAD]", "[UNK]"
LONG_CHARACTERS = 100_000
TYPICAL_CHARACTERS = 8  # texts that are usually as long say nothing in one letter
HAN = "Han"  # what Unicode calls the script whose letters it calls CJK
# What tokenizers of BERT's kind take one by one
IDEOGRAPH = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ceaf\U0002f800-\U0002fa1f]"
SHOWN_CHARACTERS, MOST_CHARACTERS = 500, 20_000  # of a drawn text; what is beyond is folded, or left out
SCRIPT_CELLS, SCRIPT_CHARACTERS = 5000, 200  # so many texts, and so much of each, tell the scripts of a column
DAMAGED = r"[\ufffd\x00-\x08]|Ã[\x80-\xbf]|â€"  # what is left of letters that were read in another encoding


class Text(Modality):
    """Text, tokenised into word pieces inside the graph."""

    from_file = False
    content: ClassVar = "tokens"

    offers: ClassVar = ("steps", "pieces")
    standard_encoder: ClassVar = ("recurrent",)

    encoder: Chain = tunable((), description="what reads the word pieces in order")
    max_tokens: int = Field(48, ge=1, le=8192, description="longer texts are cut at the end")
    vocabulary_size: int = Field(2000, ge=100, le=500_000, description="word pieces, learned from the training rows")
    lowercase: bool = True
    # `adapt` leaves what features need of the vectors in the vocabulary.
    word_vectors: str | None = tunable(
        None,
        is_path=True,
        description="a file of Word2Vec's or GloVe's text format, may be .gz: what the Embedding starts with",
    )
    embedding_width: int = tunable(128, ge=1, description="of each word piece's vector")
    normalization: Literal["none", "layer", "batch"] = tunable("none", description="of the encoder's vector")
    ngrams: int = tunable(3, ge=0, le=8, description="beside the encoder, a bag of n-grams up to this length; 0: none")
    ngram_buckets: int = tunable(32768, ge=2, description="n-grams are hashed into so many vectors")
    ngram_width: int = tunable(96, ge=1, description="of each n-gram's vector")
    dropout: float = tunable(0.4, ge=0, lt=1)
    part_dropout: float = tunable(0.3, ge=0, lt=1, description="chance that training hides the encoder or the bag")
    token_dropout: float = tunable(0.1, ge=0, lt=1, description="chance that training makes a token unknown")
    vocabulary: tuple[str, ...] | None = fitted()
    backbone: str | None = fitted()
    """JSON: class and settings of an encoder's own tokenizer and network; "" where there is none."""

    @classmethod
    def encoder_defaults(cls, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {
            "recurrent": {"both_ways": True, "units": 48, "dropout": 0.1},
            "convolution": {
                "filters": (64,), "kernel_steps": (3, 4, 5), "halving": "none", "normalization": "none",
                "pooling": "max",
            },
            "transformer": {"width": 96},
        }  # fmt: skip

    @model_validator(mode="after")
    def _embedding_is_used(self) -> Self:
        if self.kind_read == "pieces" and self.word_vectors is not None:
            name = self.encoder[0].type_name()
            raise ValueError(f'encoder "{name}" has an embedding of its own; leave "word_vectors" out')
        return self

    def read(self, value: str) -> str:
        return value.strip()

    def survey(self, values: pd.Series) -> Survey:
        values = values.str.strip()
        characters = values.str.len()
        measures = {"words": values.str.count(r"\S+").to_numpy(), "characters": characters.to_numpy()}
        remedy = "write what belongs there, or empty the cell"
        doubts = [
            (int(row), Doubt("nearly empty", f'holds "{value[:20]}" and nothing else', remedy))
            for row, value in values[_are_nearly_empty(values, characters)].items()
        ]
        remedy = f"shorten it: training reads the first {self.max_tokens} word pieces"
        for row, count in characters[characters > LONG_CHARACTERS].items():
            doubts.append((int(row), Doubt("far too large", f"{count:,} characters", remedy)))
        for row, value in values[values.str.contains(DAMAGED)].items():
            what = f'holds letters that were read in another encoding: "{_damage(value)}"'
            doubts.append((int(row), Doubt("damaged letters", what, "write the table again as UTF-8")))
        return Survey(measures, _scripts(values), doubts)

    def learn(self, cells: Iterable[str]) -> Self:
        """Learns a WordPiece vocabulary, one and the same from equal cells; an encoder's own stays as it is.

        References:
            Schuster and Nakajima, Japanese and Korean voice search, 2012; Song et al., Fast WordPiece Tokenization,
            2021, arXiv:2012.15524 (how tensorflow-text then applies it).
        """
        cells = at_least_one(cells)
        if self.kind_read == "pieces":
            next(cells)
            return self
        return self.model_copy(update={"vocabulary": self._learn_vocabulary(cells), "backbone": ""})

    def trained(self) -> Self:
        return super().trained().model_copy(update={"word_vectors": None})

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((), tf.string)

    @property
    def cell_description(self) -> str:
        return "UTF-8 string; empty or blank: missing"

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {"tokens": tf.TensorSpec((self.max_tokens,), tf.int32), "present": tf.TensorSpec((), tf.float32)}

    @property
    def pieces(self) -> Pieces:
        unknown, fixed = self._special_tokens()
        return Pieces(len(self.vocabulary) + bool(self.backbone), unknown, tuple(fixed))

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        cell = ops.common.strip_blanks(cell)
        is_there = tf.strings.length(cell) > 0
        tokens = self._backbone_tokens(cell) if self.backbone else self._own_tokens(cell)
        return {
            "tokens": ops.common.pad_time(tf.where(is_there, tokens, 0), self.max_tokens),
            "present": tf.cast(is_there, tf.float32),
        }

    def sort_of(self, cell: str) -> str | None:
        return None if self.backbone else "text"

    def examine_many(self, cells: tf.Tensor, sort: str) -> dict[str, tf.Tensor]:
        cells = ops.common.strip_blanks(cells)
        is_there = tf.strings.length(cells) > 0
        pieces = _tokenizer(self.vocabulary).tokenize(self._fold(cells)).merge_dims(1, -1)
        tokens = pieces.to_tensor(shape=(None, self.max_tokens))
        return {
            "tokens": tf.where(is_there[:, tf.newaxis], tokens, 0),
            "present": tf.cast(is_there, tf.float32),
        }

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = features["tokens"]
        unknown, untouched = self._special_tokens()
        hidden = tf.random.stateless_uniform(tf.shape(tokens), seed) < self.token_dropout
        hidden &= tf.reduce_all(tokens[..., tf.newaxis] != tf.constant(untouched), axis=-1)
        return {**features, "tokens": tf.where(hidden, unknown, tokens)}

    def parts(self, inputs: dict[str, Any], kind: PartsKind) -> Parts:
        tokens = inputs["tokens"]
        mask = keras.ops.cast(keras.ops.not_equal(tokens, 0), "float32")
        values = self._own_numbers(tokens) if kind == "pieces" else self._embed(tokens)
        return Parts(kind, values, mask, {"backbone": self.backbone})

    def parts_shape(self, kind: PartsKind) -> tuple[int | None, ...]:
        return (self.max_tokens,) if kind == "pieces" else (self.max_tokens, self.embedding_width)

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs -> tokens (B, T, D), vector (B, D')
        encoded = layers.chain.encode(self.encoder, self.parts(inputs, self.kind_read))
        vector = self._normalize(encoded.vector)
        # vector (B, D') and n-grams (B, D'') -> vector (B, D' + D'')
        if self.ngrams:
            bag = layers.time.NgramBag(self.ngrams, self.ngram_buckets, self.ngram_width)(inputs["tokens"])
            bag = keras.layers.Dropout(self.dropout)(keras.layers.LayerNormalization()(bag))
            vector = keras.layers.Concatenate()([self._hide(vector), self._hide(bag)])
        vector = keras.layers.Dropout(self.dropout)(vector)
        return Encoding(vector, encoded.tokens, encoded.mask, inputs["present"])

    def _embed(self, tokens: Any) -> Any:
        embedding = keras.layers.Embedding(len(self.vocabulary), self.embedding_width)
        if self.word_vectors is not None:
            _start_with(embedding, self.vocabulary, self._vectors_of({*self.vocabulary}))
        return keras.layers.SpatialDropout1D(self.dropout)(embedding(tokens))

    def _own_numbers(self, tokens: Any) -> Any:
        """The numbers that the encoder's tokenizer gives, padding too."""
        padding = self._backbone_tokenizer.tokenizer.pad_token_id
        return keras.ops.where(tokens > 0, tokens - 1, padding)

    def _normalize(self, vector: Any) -> Any:
        if self.normalization == "none":
            return vector
        # synchronized: the same statistics on one device and on several that share a batch
        batch = functools.partial(keras.layers.BatchNormalization, momentum=0.9, synchronized=True)
        return (keras.layers.LayerNormalization if self.normalization == "layer" else batch)()(vector)

    def _hide(self, part: Any) -> Any:
        """Whole parts are hidden now and then, or the encoder learns the rows by heart and the bag stays idle."""
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

    def draw(
        self, cell: str, attribution: np.ndarray | None = None, method: str = "", scale: float | None = None
    ) -> str:
        if not (cell and cell.strip()):
            return html.note("missing")
        if attribution is None:
            return html.figure(_paragraph([(cell, html.escaped)]))
        values = html.checked(attribution, (self.max_tokens,))
        words = self._words_read(cell)
        sums = np.array([values[places].sum() for _, places in words])
        scale = html.full_scale(sums if words else values, scale)
        colored = _colored(cell, [span for span, _ in words], sums, scale)
        remark = "the model does not read what is pale" if colored[-1][0].strip() else ""
        remark = remark if words else "which words they belong to cannot be told"
        return html.figure(_paragraph(colored), html.legend(sums if words else values, scale, method, remark))

    def baseline(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)

    def _learn_vocabulary(self, cells: Iterable[str]) -> tuple[str, ...]:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        words: Counter[str] = Counter()
        for texts in chunked(cells, 1024):
            for text in self._fold(tf.constant(texts)).numpy():
                normal = tokenizer.normalizer.normalize_str(text.decode("utf-8"))
                words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
        letters = _frequent_letters(words, self.vocabulary_size // 2)
        inside = {letter for word in words for letter in word[1:]}
        # The trainer numbers letters inside words as it meets them in a hash map, and breaks ties by number:
        # two trainings would give two vocabularies, were they not numbered beforehand.
        first = [PADDING, UNKNOWN, *(f"##{letter}" for letter in letters if letter in inside)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.vocabulary_size,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            special_tokens=[*first, *self._words_with_vectors(words, len(first) + len(letters))],
            show_progress=False,
        )
        tokenizer.train_from_iterator(words.elements(), trainer)
        ids = tokenizer.get_vocab()
        return tuple(sorted(ids, key=ids.__getitem__))

    def _words_with_vectors(self, words: Counter[str], taken: int) -> list[str]:
        """The most frequent words that the file of vectors knows: they take up to half of what the letters leave."""
        if self.word_vectors is None:
            return []
        known = self._vectors_of({*words})
        frequent = sorted(known, key=lambda word: (-words[word], word))
        return frequent[: max(0, self.vocabulary_size - taken) // 2]

    def _vectors_of(self, wanted: Container[str]) -> dict[str, np.ndarray]:
        """The vectors of words; of two that fold to one, the first in the file, which is the more frequent."""
        vectors: dict[str, np.ndarray] = {}
        for word, numbers in _lines_of_vectors(self.word_vectors, self.embedding_width):
            word = unicodedata.normalize("NFKC", word)
            word = word.casefold() if self.lowercase else word
            if word in wanted and word not in vectors:
                vectors[word] = numbers()
        return vectors

    def _words_read(self, text: str) -> list[tuple[tuple[int, int], slice]]:
        """Where each word of a text stands in it, and where its pieces stand among the tokens, as far as they reach.

        [] where its words, tokenised one by one, do not give what the text gives.
        """
        tokens = self.preprocess(tf.constant(_encodable(text)))["tokens"].numpy()
        first, after = (1, self.max_tokens - 1) if self.backbone else (0, self.max_tokens)
        after = min(after, int((tokens > 0).sum()) - first)
        for spans in (_word_spans(text), (word.span() for word in re.finditer(r"\S+", text))):
            # Some consist of characters alone that a tokenizer drops, and have no piece.
            spans = list(itertools.islice(spans, 2 * self.max_tokens))
            pieces = [self._pieces(text[start:end]) for start, end in spans]
            ends = np.cumsum([first, *map(len, pieces)]).tolist()
            if np.array_equal(np.concatenate(pieces)[: after - first], tokens[first:after]):
                return [
                    (span, slice(start, min(end, after)))
                    for span, (start, end) in zip(spans, itertools.pairwise(ends), strict=True)
                    if start < after
                ]
        return []

    def _pieces(self, word: str) -> np.ndarray:
        """The tokens of a word by itself, without what begins and ends a text."""
        word = tf.constant(_encodable(word))
        return (self._backbone_tokens(word)[1:-1] if self.backbone else self._own_tokens(word)).numpy()

    def _own_tokens(self, text: tf.Tensor) -> tf.Tensor:
        tokens = _tokenizer(self.vocabulary).tokenize(self._fold(text)[tf.newaxis]).flat_values
        return tf.cast(tokens, tf.int32)

    def _backbone_tokens(self, text: tf.Tensor) -> tf.Tensor:
        """1 + the backbone's own numbers, so that 0 is left for padding whatever number its own has."""
        hub = self._backbone_tokenizer
        valid = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        pieces = hub.tokenize(valid)[: self.max_tokens - 2]
        return 1 + tf.concat([[hub.tokenizer.start_token_id], pieces, [hub.tokenizer.end_token_id]], axis=0)

    def _special_tokens(self) -> tuple[int, list[int]]:
        """Which number stands for an unknown token, and which ones augmentation leaves alone."""
        if not self.backbone:
            return 1, [0]
        tokenizer = self._backbone_tokenizer.tokenizer
        return 1 + tokenizer.mask_token_id, [0, 1 + tokenizer.start_token_id, 1 + tokenizer.end_token_id]

    @property
    def _backbone_tokenizer(self) -> _HubTokenizer:
        return _hub_tokenizer(self.backbone, self.vocabulary)

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


def _frequent_letters(words: Counter[str], most: int) -> list[str]:
    """The most frequent characters, sorted."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    frequent = sorted(counts, key=lambda letter: (-counts[letter], letter))[:most]
    return sorted(frequent)


# Word vectors


def _lines_of_vectors(path: str, width: int) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Each word of a file in Word2Vec's or GloVe's text format, with a function to its (width,) float32 vector.

    Raises:
        ValueError: The file is not there, is something else, or holds vectors of another width.
    """
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                fields = line.rstrip().split(" ")
                if number == 1 and len(fields) == 2:  # "count width"
                    _check_width(path, fields[1], width)
                    continue
                if number == 1:
                    _check_width(path, len(fields) - 1, width)
                # some of GloVe's words hold spaces
                yield " ".join(fields[:-width]), functools.partial(_vector, path, number, fields[-width:])
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"word_vectors: {path} cannot be read as UTF-8 text, one word and its numbers a line "
            f"(Word2Vec's binary format has to be converted first): {error}"
        ) from None


def _check_width(path: str, held: str | int, width: int) -> None:
    if str(held) != str(width):
        raise ValueError(
            f"word_vectors: {path} holds vectors of {held} numbers, but embedding_width is {width}; "
            f"set embedding_width to {held}"
        )


def _vector(path: str, line: int, fields: Sequence[str]) -> np.ndarray:
    try:
        return np.array(fields, np.float32)
    except ValueError:
        raise ValueError(
            f"word_vectors: {path} line {line}: expected {len(fields)} numbers after a word, "
            f'got "{" ".join(fields)[:40]}"'
        ) from None


def _start_with(embedding: Any, vocabulary: Sequence[str], vectors: dict[str, np.ndarray]) -> None:
    """Gives whole words their vectors; other pieces keep their random draw, as wide as the vectors' numbers spread.

    References:
        Kim, Convolutional Neural Networks for Sentence Classification, 2014, arXiv:1408.5882, section 4.3.
    """
    embedding.build((None, None))
    table = np.array(embedding.get_weights()[0])
    covered = [i for i, piece in enumerate(vocabulary) if piece in vectors]
    logging.getLogger("mmkeras").info("word vectors: %d of %d word pieces have one", len(covered), len(vocabulary))
    if covered:
        known = np.stack([vectors[vocabulary[i]] for i in covered])
        table *= known.std() / table.std()
        table[covered] = known
    embedding.set_weights([table])


# Tokenizers that encoders bring along


class _HubTokenizer:
    """A backbone's tokenizer and its traced form: called eagerly, keras-hub takes another path through Python."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.tokenize = tf.function(tokenizer, input_signature=[tf.TensorSpec((), tf.string)])


@functools.lru_cache(maxsize=8)
def _hub_tokenizer(backbone: str, vocabulary: tuple[str, ...]) -> _HubTokenizer:
    """One for all that is traced with it."""
    stored = json.loads(backbone)["tokenizer"]
    with tf.init_scope():
        tokenizer = getattr(hub().models, stored["class_name"])(vocabulary=list(vocabulary), **stored["config"])
        return _HubTokenizer(tokenizer)


# Drawing


def _word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word as tokenizers of BERT's kind split them: signs and Chinese letters stand alone."""
    start = None
    for i, letter in enumerate(text):
        kind = _letter_kind(letter)
        if start is not None and kind != "inside":
            yield start, i
            start = None
        if kind == "alone":
            yield i, i + 1
        elif kind == "inside" and start is None:
            start = i
    if start is not None:
        yield start, len(text)


@functools.cache
def _letter_kind(letter: str) -> Literal["blank", "alone", "inside"]:
    category = unicodedata.category(letter)
    if category.startswith("Z") or letter in "\t\n\r":
        return "blank"
    is_sign = category.startswith("P") or (letter.isascii() and category.startswith("S"))
    return "alone" if is_sign or re.match(IDEOGRAPH, letter) else "inside"


def _encodable(text: str) -> str:
    """Without halves of characters, which UTF-8 cannot hold."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _colored(
    text: str, spans: Sequence[tuple[int, int]], values: np.ndarray, scale: float
) -> list[tuple[str, Callable[[str], str]]]:
    """A text in pieces, each with the function that makes HTML of it."""
    parts, position = [], 0
    for (start, end), value in zip(spans, values, strict=True):
        parts.append((text[position:start], html.escaped))
        parts.append((text[start:end], functools.partial(_marked, value=value, scale=scale)))
        position = end
    return [*parts, (text[position:], _unread if spans else html.escaped)]


def _marked(word: str, value: float, scale: float) -> str:
    return html.mark(html.escaped(word), value, scale)


def _unread(text: str) -> str:
    if not text.strip():
        return html.escaped(text)
    return f'<span style="opacity:.55" title="not read">{html.escaped(text)}</span>'


def _cut(text: str, most: int) -> int:
    """Where a text is cut that has more characters: behind its last blank, if there is one nearby."""
    if len(text) <= most:
        return len(text)
    blank = re.search(r"\s\S{0,30}$", text[:most])
    return blank.start() + 1 if blank else most


def _between(
    parts: Iterable[tuple[str, Callable[[str], str]]], start: int, end: int
) -> Iterator[tuple[str, Callable[[str], str]]]:
    """What stands from `start` to `end` in a text in pieces."""
    position = 0
    for text, as_html in parts:
        if inside := text[max(0, start - position) : max(0, end - position)]:
            yield inside, as_html
        position += len(text)


def _paragraph(parts: Sequence[tuple[str, Callable[[str], str]]]) -> str:
    """Pieces of a text as HTML; what is long is folded, what is very long is left out and counted."""
    whole = "".join(text for text, _ in parts)
    cuts = _cut(whole, SHOWN_CHARACTERS), _cut(whole, MOST_CHARACTERS)
    shown, folded = (
        "".join(as_html(text) for text, as_html in _between(parts, start, end))
        for start, end in zip((0, cuts[0]), cuts, strict=True)
    )
    left_out = len(whole) - cuts[1]
    folded += f" <em>… {left_out:,} more characters are not shown</em>" if left_out else ""
    more = f"<details><summary>… {len(whole) - cuts[0]:,} more characters</summary>{folded}</details>" if folded else ""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6"
    return f'<div dir="auto" style="{style}">{shown}{more}</div>'


# What texts look like


def _are_nearly_empty(values: pd.Series, characters: pd.Series) -> pd.Series:
    """Which texts say nothing: signs alone, words for a missing one, a letter where others have sentences."""
    import pandas as pd

    nearly_empty = pd.Series(False, values.index)
    short = values[characters <= max(map(len, MISSING_WORDS))]
    nearly_empty[short.index] = short.str.lower().isin(MISSING_WORDS)
    if len(short) and characters.median() >= TYPICAL_CHARACTERS:
        nearly_empty[short.index] |= short.str.fullmatch(
            r"[\x21-\u024f\u0370-\u052f]"
        )  # a Chinese letter may be a word
    without_letters = values[~values.str.contains(r"[^\W_]")]
    signs_alone = without_letters.map(lambda text: all(unicodedata.category(sign)[0] in "PZC" for sign in text))
    nearly_empty[signs_alone.index[signs_alone.astype(bool)]] = True
    return nearly_empty


def _damage(text: str) -> str:
    place = re.search(DAMAGED, text).start()
    return text[max(0, place - 10) : place + 10]


def _scripts(values: pd.Series) -> dict[str, float]:
    """{script: share of the texts that are written in it most of all}, the commonest first."""
    sample = values.iloc[:: max(1, -(-len(values) // SCRIPT_CELLS))]
    mostly = Counter(filter(None, (_script(text[:SCRIPT_CHARACTERS]) for text in sample)))
    return {script: count / mostly.total() for script, count in mostly.most_common()}


def _script(text: str) -> str:
    counts = Counter(script for script in map(_script_of, text) if script)
    return counts.most_common(1)[0][0] if counts else ""


@functools.cache
def _script_of(character: str) -> str:
    """The first word of a letter's name in Unicode, which is its script; "" for anything else."""
    name = unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""
    return HAN if name == "CJK" else name.capitalize()
