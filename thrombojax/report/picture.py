"""Files of pictures: png or svg, replaced only by whole ones. matplotlib is an extra."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thrombojax.errors import InputError, Problem, RunError
from thrombojax.outputs import writable

SUFFIXES = (".png", ".svg")


def check(out: Path) -> None:
    """Before anything is drawn: InputError for another suffix or a place that cannot be written, RunError without matplotlib."""
    if out.suffix.lower() not in SUFFIXES:
        given = f"got {out.suffix!r}" if out.suffix else "got no suffix"
        raise InputError(Problem(str(out), f"a picture is written as {' or '.join(SUFFIXES)}, {given}"))
    writable(out)
    if importlib.util.find_spec("matplotlib") is None:
        raise RunError("a picture needs matplotlib: pip install 'thrombojax[plots]'")


def save(figure: Any, out: Path, style: Mapping[str, Any] | None = None) -> Path:
    """Writes a matplotlib figure at its own resolution; the same figure gives the same bytes. InputError where it cannot."""
    import matplotlib

    settings: Any = {"svg.hashsalt": "thrombojax", **(style or {})}
    kind = out.suffix.lower()[1:]
    temporary = out.with_name(f".{out.name}.tmp{os.getpid()}")
    try:
        with matplotlib.rc_context(settings):
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
        temporary.replace(out)
    except OSError as error:
        raise InputError(Problem(str(out), f"cannot be written: {error.strerror or error}")) from None
    finally:
        temporary.unlink(missing_ok=True)
    return out
