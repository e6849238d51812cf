"""What `explain` found, in memory and in a folder.

explanation.json     rows, methods, means over rows, checks
shapley.parquet      of each row, target and column: its Shapley value and what its content and its presence did
attributions.npz     an array for each target, column and method, rows first; NaN where a row was left out
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.files import write_atomically
from mmkeras.base.lazy import lazy
from mmkeras.evaluation.judging import plain
from mmkeras.features.columns import read_cells, table_cells
from mmkeras.table.manifest import Manifest
from mmkeras.training.run import Run

pd = lazy("pandas")

SHOWN_ROWS = 5
BAR = "display:inline-block;height:0.8em;vertical-align:baseline;background:"
FOR, AGAINST = "#2a78b8", "#c8553d"


@dataclass
class Explanation:
    """Rows, explained.

    Attributes:
        summary: What `explanation.json` holds.
        values: A row for each explained row, target and column: `value` is its Shapley value, `explained` the quantity
            of the whole row, `prior` of a row without any cell, `answer` what is explained, `weight` the fusion's;
            `inside` is what the cell's content does, `being_there` what its mere presence does; the two add up to
            `value`, and the attributions of all features of the cell to `inside`.
        attributions: {(target, column, method): (N, *attribution)} in the order of `rows`; NaN where a row was left
            out, 0 where its cell is missing.
        run: Whence the rows can be drawn; None: from nowhere.
        manifest: The explained table, where it is at hand.
    """

    summary: dict[str, Any]
    values: pd.DataFrame
    attributions: dict[tuple[str, str, str], np.ndarray]
    run: Run | None = None
    manifest: Manifest | None = field(default=None, repr=False)

    @property
    def rows(self) -> list[int]:
        """Numbers from 1 of the explained rows in their table."""
        return self.summary["rows"]

    @property
    def targets(self) -> list[str]:
        return sorted(self.summary["targets"])

    @property
    def columns(self) -> list[str]:
        return sorted(self.summary["columns"])

    def attribution(self, row: int, column: str, target: str | None = None, method: str | None = None) -> Any:
        """One cell's attribution; None where there is none.

        Args:
            row: Its number from 1 in the table.
            column: The column.
            target: Default: the first one.
            method: Default: the column's first one.
        """
        methods = self.summary["columns"][column]["methods"]
        key = target or self.targets[0], column, method or (methods[0] if methods else "")
        if key not in self.attributions:
            return None
        attribution = self.attributions[key][self.rows.index(row)]
        return None if np.isnan(attribution).any() else attribution

    def write(self, folder: str | Path) -> None:
        """Writes the three files; the summary last, so that what it names is there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        keys = {str(i): list(key) for i, key in enumerate(sorted(self.attributions))}
        arrays = {name: self.attributions[tuple(key)].astype(np.float32) for name, key in keys.items()}
        np.savez_compressed(folder / run_files.ATTRIBUTIONS, **arrays)
        self.values.to_parquet(folder / run_files.SHAPLEY, index=False)
        write_atomically(folder / run_files.EXPLANATION, json.dumps(plain(self.summary | {"arrays": keys}), indent=2))

    @classmethod
    def read(cls, folder: str | Path) -> Explanation:
        """What `write` wrote; the rows can be drawn where the folder lies in its run's.

        Raises:
            FileNotFoundError: There is none.
        """
        folder = Path(folder)
        if not (folder / run_files.EXPLANATION).is_file():
            raise FileNotFoundError(
                f"{folder}: holds no {run_files.EXPLANATION}; expected a folder that `mmkeras explain` wrote"
            )
        summary = json.loads((folder / run_files.EXPLANATION).read_text(encoding="utf-8"))
        with np.load(folder / run_files.ATTRIBUTIONS, allow_pickle=False) as held:
            arrays = {tuple(key): held[name] for name, key in summary["arrays"].items()}
        run = Run(folder.parent) if (folder.parent / run_files.CONFIG).is_file() else None
        return cls(summary, pd.read_parquet(folder / run_files.SHAPLEY), arrays, run)

    def _repr_html_(self) -> str:
        shown = self.rows[:SHOWN_ROWS]
        cells = self._drawn(shown)
        body = "".join(self._row_as_html(target, row, cells.get(row, {})) for row in shown for target in self.targets)
        more = f"<p>… and {len(self.rows) - len(shown)} more rows</p>" if len(self.rows) > len(shown) else ""
        return f"<div>{body}{more}</div>"

    def _row_as_html(self, target: str, row: int, cells: dict[str, str]) -> str:
        values = self.values[(self.values["row"] == row) & (self.values["target"] == target)].set_index("column")
        first, largest = values.iloc[0], max(values["value"].abs().max(), 1e-9)
        title = (
            f"row {row}: {target} {first['answer']}, {first['explained']:.3g} (without any cell {first['prior']:.3g})"
        )
        lines = "".join(
            f"<tr><td>{html.escape(column)}</td>"
            f"<td style='text-align:left;white-space:nowrap'>{_bar(line['value'], largest)}</td>"
            f"<td style='text-align:left'>{cells.get((target, column), '')}</td></tr>"
            for column, line in values.iterrows()
        )
        return f"<p><b>{html.escape(title)}</b></p><table>{lines}</table>"

    def _drawn(self, rows: list[int]) -> dict[int, dict[tuple[str, str], str]]:
        """{row: {(target, column): the cell with its attribution}}; nothing where the table or its files are gone."""
        if self.run is None:
            return {}
        try:
            schema, manifest = self.run.schema, self._table()
        except (OSError, ValueError):
            return {}
        places = [row - 1 for row in rows]
        drawn: dict[int, dict[tuple[str, str], str]] = {row: {} for row in rows}
        for column, values in table_cells(manifest, schema.columns).items():
            modality = schema.columns[column]
            for row, cell in zip(rows, read_cells(modality, values.iloc[places]), strict=True):
                for target in self.targets if cell is not None else ():
                    method = next(iter(self.summary["columns"][column]["methods"]), "")
                    attribution = self.attribution(row, column, target)
                    drawn[row][target, column] = modality.draw(cell, attribution, method)
        return drawn

    def _table(self) -> Manifest:
        if self.manifest is not None:
            return self.manifest
        path = self.summary["table"]
        return self.run.table() if path is None else self.run.read(path)


def _bar(value: float, largest: float) -> str:
    width = 6 * abs(value) / largest
    return f'<span style="{BAR}{FOR if value > 0 else AGAINST};width:{width:.2f}em"></span> {value:+.3g}'
