"""Whether a file may be written, asked before long work."""

import os
from pathlib import Path

from thrombojax.errors import InputError, Problem


def writable(out: Path) -> None:
    """Raises InputError for a folder, and where there is no folder to write it in or no permission. Writes nothing."""
    if out.is_dir():
        raise InputError(Problem(str(out), "is a folder; name a file in it"))
    if not out.parent.is_dir():
        raise InputError(Problem(str(out), f"cannot be written: there is no folder {out.parent}"))
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise InputError(Problem(str(out), f"cannot be written: no permission to write in {out.parent}"))


def free(out: Path, overwrite: bool) -> None:
    """As `writable`; and InputError for a file that is there and may not be replaced."""
    writable(out)
    if out.exists() and not overwrite:
        raise InputError(Problem(str(out), "exists already; --overwrite replaces it"))
