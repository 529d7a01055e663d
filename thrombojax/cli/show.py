"""What commands print: plain tables that other tools can read, sizes for people, JSON."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thrombojax.errors import InputError, Problem


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Aligned columns with a header; numbers to the right. Never cut: a pipe has no width."""
    if not rows:
        return ""
    names = list(columns or dict.fromkeys(key for row in rows for key in row))
    cells = [[cell(row.get(name)) for name in names] for row in rows]
    right = [all(_is_number(row.get(name)) for row in rows if row.get(name) is not None) for name in names]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    lines = (
        "  ".join(
            text.rjust(width) if r else text.ljust(width) for text, width, r in zip(row, widths, right, strict=True)
        )
        for row in [names, *cells]
    )
    return "\n".join(line.rstrip() for line in lines)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(cell(v) for v in value)
    return " ".join(str(value).split())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def size(count: float) -> str:
    """Bytes for people: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError


def write_json(value: Any, file: Path) -> None:
    """Strict JSON (null for what is not finite) to a file, or to standard output for `-`."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(file) == "-":
        sys.stdout.write(text)
        return
    write_text(text, file)


def write_text(text: str, file: Path) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(Problem(str(file), f"cannot be written: {said}")) from None


def check_writable(file: Path | None) -> None:
    """Before long work: the folder of a file to be written is there."""
    if file is not None and not file.parent.is_dir():
        raise InputError(Problem(str(file), f"the folder {str(file.parent)!r} does not exist"))


def check_folder(folder: Path) -> None:
    """Before long work: a folder can be made, or is there to write in."""
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(Problem(str(folder), f"cannot be written: {str(nearest)!r} is no folder that may be written"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
