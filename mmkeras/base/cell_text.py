"""What the cells of a table look like: numbers, codes, categories, files, words for nothing."""

from __future__ import annotations

import re

from mmkeras.base.lazy import lazy

pd = lazy("pandas")


# How tables write that a number is missing, in any case.
MISSING_WORDS = ("na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "missing", "unknown", "?", "-", "--", ".")
# 3.5, .5, 1e-3, 1,234,567.8; no percent signs, no comma before decimals.
NUMBER = r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"

# The type guess: what "mostly" means, how many cells it looks at, and what still counts as a category.
MOST = 0.9
# Few values repeat soon; many values must repeat often, or they are names of single customers or things.
CATEGORY_MAX_VALUES, CATEGORY_MIN_ROWS_PER_VALUE = 50, 3
CATEGORY_MOST_VALUES, CATEGORY_MANY_ROWS_PER_VALUE = 1000, 10
CATEGORY_MAX_CHARACTERS = 32
CATEGORY_MAX_WORDS = 4
# So few different whole numbers are codes (classes 1 to 3, yes and no) or grades; more of them can be counted with.
CODE_MAX_VALUES = 5
CODE_NAME = r"(?i).*(?:\bzip|_zip|zip_?code|postal_?code|post_?code|[ _-]code)"
IDENTIFIER_NAME = r"(?:.*[ _.-])?(?i:id|uuid|guid)|.*[a-z](?:Id|ID)"
YEARS = 1800, 2100
FILE_NAME = r"^[^@]*\.[A-Za-z][A-Za-z0-9]{1,6}\s*$"


def numbers_of(cells: pd.Series) -> pd.Series | None:
    """The numbers of a column that mostly holds numbers, words for missing ones left out; None: it does not."""
    plain = cells.str.strip()
    plain = plain[~plain.str.lower().isin(MISSING_WORDS)]
    are_numbers = plain.str.fullmatch(NUMBER)
    if not mostly(are_numbers):
        return None
    return plain[are_numbers].str.replace(",", "", regex=False).astype(float)


def are_codes(cells: pd.Series) -> bool:
    """Whether numbers (`numbers_of`) stand for kinds of things: 01, zip codes, a few different whole numbers."""
    numbers = numbers_of(cells)
    if numbers is None or (numbers % 1 != 0).any():
        return False
    is_code = any(is_named(cells, name) for name in (CODE_NAME, IDENTIFIER_NAME))
    are_few = numbers.nunique() <= CODE_MAX_VALUES and rows_per_value(numbers) >= CATEGORY_MIN_ROWS_PER_VALUE
    are_few = are_few and not numbers.between(*YEARS).all()
    return bool(is_code or are_few or cells.str.fullmatch(r"\s*0[0-9]+\s*").any())


def are_categories(cells: pd.Series) -> bool:
    """Whether short values repeat so often that one can be learned about each."""
    if end_like_files(cells):
        return False
    rows_each, values = rows_per_value(cells), cells.nunique()
    are_few = values <= CATEGORY_MAX_VALUES and rows_each >= CATEGORY_MIN_ROWS_PER_VALUE
    repeat_often = values <= CATEGORY_MOST_VALUES and rows_each >= CATEGORY_MANY_ROWS_PER_VALUE
    are_short = cells.str.len().mean() <= CATEGORY_MAX_CHARACTERS
    return bool((are_few or repeat_often) and are_short and cells.str.split().str.len().mean() <= CATEGORY_MAX_WORDS)


def end_like_files(cells: pd.Series) -> bool:
    """Whether half of the cells or more end like file names."""
    return bool(cells.str.contains(FILE_NAME).mean() >= 0.5)


def rows_per_value(cells: pd.Series) -> float:
    return len(cells) / max(1, cells.nunique())


def is_named(cells: pd.Series, pattern: str) -> bool:
    return re.fullmatch(pattern, str(cells.name).strip()) is not None


def mostly(answers: pd.Series) -> bool:
    return len(answers) > 0 and float(answers.mean()) >= MOST
