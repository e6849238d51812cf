"""Several files in a cell: what a modality of files gets for free by saying what happens to one of them.

It stands behind the contracts, since it puts cells' features and encodings together too, and before the members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from mmkeras.base import html
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt, Modality
from mmkeras.features.cells import at_least_one, check_files, chunked, split_paths

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

MOST_FILES = 64


class FileModality(Modality):
    """A modality whose cell is a file, or with `files` above 1 several of them, one encoder for all.

    Cell: the bytes that `read_file` gives; of several files a list of them, in which empty ones are passed over.
    Features: `file_features`; of several files each with an axis of files in front, `file_mask` (files,), 1 where there
    is one, and `present` ().
    Encoding: what `encode_files` gives; of several files their vectors' mean or what attention makes of them, and their
    tokens one file after another.
    Attribution: `attribution_shape`; of several files with an axis of files in front.

    A member sets `noun` and `endings`, writes the hooks, and `adapt`, `baseline` and, for cells of one file,
    `examine_many` as in any modality. The rest is final.
    """

    noun: ClassVar[str] = "file"
    """What one file is: picture, sound."""
    endings: ClassVar[tuple[str, ...]] = ()
    """How the names of such files end, in small letters."""
    switches: ClassVar[frozenset[str]] = frozenset({"file_mask", "present"})
    files: int = Field(1, ge=1, le=MOST_FILES, description="most files of one cell, which names them with ; between")
    file_pooling: Literal["mean", "attentive"] = tunable("mean", description="of a cell's files; attentive: weighted")

    # Hooks: one file

    def read_file(self, path: str) -> bytes:
        """A file in its canonical form, which `examine_file` and a serving client know.

        Raises:
            ValueError: It cannot be used; the message says what is wrong with it.
        """
        raise NotImplementedError

    def measure_file(self, path: str, content: bytes) -> dict[str, float]:
        """`measure` of one file: the path and what `read_file` made of it."""
        return {}

    def file_doubts(self, path: str, content: bytes) -> list[Doubt]:
        """`doubts` of one file: the path and what `read_file` made of it.

        Raises:
            ValueError: It cannot be used after all.
        """
        return []

    @property
    def file_description(self) -> str:
        """What a client sends for one file: encoding, units."""
        raise NotImplementedError

    @property
    def file_features(self) -> dict[str, tf.TensorSpec]:
        """What `examine_file` returns: static shapes, no batch axis; always holds "present", shape ()."""
        raise NotImplementedError

    def examine_file(self, content: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """`examine` of one file, () string."""
        raise NotImplementedError

    def sort_of_file(self, content: bytes) -> str | None:
        """`sort_of` a cell of one file."""
        return None

    def augment_files(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """`augment` of files, (B, …) each as `file_features` says; what is not there stays zero."""
        raise NotImplementedError

    def encode_files(self, inputs: dict[str, Any]) -> Encoding:
        """`encode` of files, (B, …) each as `file_features` says."""
        raise NotImplementedError

    def example_file(self, generator: np.random.Generator) -> bytes:
        """A small valid file in canonical form."""
        raise NotImplementedError

    @property
    def attribution_shape(self) -> tuple[int, int]:
        """Of one file's attribution."""
        raise NotImplementedError

    def draw_file(self, content: bytes, values: np.ndarray | None = None, scale: float = 0.0) -> str:
        """One file as an HTML fragment, its attribution on it where there is one, in full colour at `scale`."""
        raise NotImplementedError

    # For `adapt` and `baseline`

    def contents(self, cell: bytes | list[bytes]) -> list[bytes]:
        """A cell's files without what only fills it up."""
        return [content for content in self._as_list(cell) if content]

    def measuring(self, measure: Callable[[bytes], Sequence[tf.Tensor]]) -> Callable[..., list[list[np.ndarray]]]:
        """A function: a cell -> what `measure` says of each of its files; [] where one of them is bad.

        Args:
            measure: A file to what is learned from it and, last, () string: what is wrong with it.
        """

        def of_cell(cell: bytes | list[bytes]) -> list[list[np.ndarray]]:
            files = [[tensor.numpy() for tensor in measure(content)] for content in self.contents(cell)]
            is_bad = any(fault for *_, fault in files)
            return [] if is_bad else [measures for *measures, _ in files]

        return of_cell

    def measured_files(
        self,
        cells: Iterable[bytes | list[bytes]],
        measure: Callable[[bytes], Sequence[tf.Tensor]],
        at_once: int,
    ) -> Iterator[list[list[np.ndarray]]]:
        """What `measure` (see `measuring`) says of all files of good cells, so many at a time.

        Raises:
            ValueError: There is none.
        """
        good = at_least_one(filter(None, map(self.measuring(measure), cells)))
        return chunked((file for files in good for file in files), at_once)

    # The contract of a modality

    @final
    def paths(self, value: str) -> list[str]:
        return split_paths(value) if self.files > 1 else [value]

    @final
    def read(self, value: str) -> bytes | list[bytes]:
        several = split_paths(value)
        if self.files == 1 and (len(several) < 2 or Path(value).exists()):
            return self.read_file(value)
        check_files(several, self.files)
        return [self._read_one_of(several, i) for i in range(len(several))]

    @final
    def measure(self, value: str, cell: bytes | list[bytes]) -> dict[str, float]:
        files = [self.measure_file(path, content) for path, content in self._paths_and_contents(value, cell)]
        means = {name: float(np.mean([measures[name] for measures in files])) for name in files[0]}
        return means | ({"files": len(files)} if self.files > 1 else {})

    @final
    def doubts(self, value: str, cell: bytes | list[bytes]) -> list[Doubt]:
        files = self._paths_and_contents(value, cell)
        return [doubt for path, content in files for doubt in self.file_doubts(path, content)]

    @property
    @final
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((None,) if self.files > 1 else (), tf.string)

    @property
    @final
    def cell_description(self) -> str:
        if self.files == 1:
            return f"{self.file_description}; empty: missing"
        return f"list of up to {self.files} {self.noun}s, each {self.file_description}; no or only empty ones: missing"

    @property
    @final
    def features(self) -> dict[str, tf.TensorSpec]:
        return self.file_features if self.files == 1 else ops.common.files_spec(self.file_features, self.files)

    @final
    def examine(self, cell: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        if self.files == 1:
            return self.examine_file(cell)
        return ops.common.map_files(cell, self.files, self.examine_file, self.file_features)

    @final
    def sort_of(self, cell: bytes | list[bytes]) -> str | None:
        return self.sort_of_file(cell) if self.files == 1 else None

    @final
    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        if self.files == 1:
            return self.augment_files(features, seed)
        return ops.common.augment_files(features, seed, self.augment_files)

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        if self.files == 1:
            return self.encode_files(inputs)
        file_mask = inputs["file_mask"]
        # Inputs (B, N, …) -> (B * N, …) -> of each file vectors (B * N, D'), tokens (B * N, T, D)
        folded = {name: layers.time.fold(inputs[name]) for name in self.file_features if name != "present"}
        files = self.encode_files({**folded, "present": layers.time.fold(file_mask)})
        # -> vector (B, D'), tokens (B, N * T, D)
        vector = layers.time.pool_files(files.vector, file_mask, self.file_pooling)
        tokens, mask = layers.time.join_files(files.tokens, files.mask, file_mask)
        return Encoding(vector, tokens, mask, inputs["present"])

    @final
    def example(self, seed: int) -> bytes | list[bytes]:
        generator = np.random.default_rng(seed)
        if self.files == 1:
            return self.example_file(generator)
        return [self.example_file(generator) for _ in range(generator.integers(2, self.files + 1))]

    @classmethod
    @final
    def claims(cls, values: pd.Series) -> str | None:
        named = values.map(cls._names_files).mean()
        return f"{named:.0%} of the cells end as {cls.noun} files do" if named >= 0.5 else None

    @classmethod
    @final
    def suggest(cls, values: pd.Series) -> dict[str, Any]:
        most = max((len(split_paths(value)) for value in values if cls._names_files(value)), default=1)
        return {"files": min(most, MOST_FILES)} if most > 1 else {}

    @final
    def draw(
        self,
        cell: bytes | list[bytes],
        attribution: np.ndarray | None = None,
        method: str = "",
        scale: float | None = None,
    ) -> str:
        shape = self.attribution_shape if self.files == 1 else (self.files, *self.attribution_shape)
        return html.files(self.draw_file, cell, attribution, shape, method, scale)

    def _as_list(self, cell: bytes | list[bytes]) -> list[bytes]:
        return [cell] if self.files == 1 else cell

    def _paths_and_contents(self, value: str, cell: bytes | list[bytes]) -> Iterator[tuple[str, bytes]]:
        return zip(self.paths(value), self._as_list(cell), strict=True)

    def _read_one_of(self, paths: list[str], i: int) -> bytes:
        try:
            return self.read_file(paths[i])
        except (OSError, ValueError) as error:
            raise ValueError(f"file {i + 1} of {len(paths)}: {getattr(error, 'strerror', None) or error}") from None

    @classmethod
    def _names_files(cls, value: str) -> bool:
        """Whether all that a table's cell names ends as such files do."""
        paths = split_paths(value.lower())
        return bool(paths) and all(path.endswith(cls.endings) for path in paths)
