"""Rows of a CSV file with their line numbers, as a spreadsheet shows them: the header is on line 1."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from thrombojax.errors import InputError, Problem

MOST_LISTED = 20
"""Faults of one file that are told."""
Row = tuple[int, list[str]]


def read(path: str | Path, what: str, comments: bool = False) -> list[Row]:
    """(line, cells) of every row that is not blank; comments: lines that start with `#` are blank too.

    Raises InputError for a file that cannot be read, is no text in UTF-8 or no CSV, or is empty (what: a row is of a ...).
    """
    where = str(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(map(_uncommented, file) if comments else file, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise InputError(Problem(where, f"cannot be read: {error.strerror or error}")) from None
    except csv.Error as error:
        raise InputError(Problem(where, f"is not a CSV file: {error}")) from None
    except ValueError as error:  # not text, or a path with a null byte
        raise InputError(Problem(where, f"is not a text file in UTF-8: {error}")) from None
    if not rows:
        raise InputError(Problem(where, f"is empty; needed: a header and a row for each {what}"))
    return rows


def _uncommented(line: str) -> str:
    return "\n" if line.lstrip().startswith("#") else line


def capped(where: str, found: Sequence[Problem]) -> Iterable[Problem]:
    """The first faults, and how many more there are."""
    more = len(found) - MOST_LISTED
    return found if more <= 0 else [*found[:MOST_LISTED], Problem(where, f"and {more} more")]
