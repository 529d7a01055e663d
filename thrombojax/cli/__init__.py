"""The command line: `thrombojax`, and `python -m thrombojax`.

Exit status: 0 done; 1 the run failed or was interrupted; 2 the input was wrong (130 where Ctrl-C came when no run could
catch it). Results go to standard output, progress and messages to standard error.
"""

import os
import sys
import warnings
from collections.abc import Sequence

TRACEBACK = "THROMBOJAX_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in `argv` (of the process where None) and returns the exit status."""
    for stream in (sys.stdout, sys.stderr):  # a name with an accent must not end a run in a C locale
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    status = _status(argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `thrombojax info parameters | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _status(argv: Sequence[str] | None) -> int:
    from thrombojax.cli.app import app
    from thrombojax.errors import InputError, RunError

    warnings.showwarning = lambda message, *_, **__: _say(str(message))
    try:
        app(args=None if argv is None else list(argv), prog_name="thrombojax")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except InputError as error:
        if os.environ.get(TRACEBACK):
            raise
        _say(str(error))
        return 2
    except RunError as error:
        if os.environ.get(TRACEBACK):
            raise
        _say(str(error))
        return 1
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        said = next(iter(str(error).strip().splitlines()), "")[:300]
        _say(f"{type(error).__name__}: {said} ({TRACEBACK}=1 shows where)")
        return 1
    return 0


def _say(message: str) -> None:
    for line in message.splitlines():
        print(f"thrombojax: {line}" if not line.startswith(" ") else line, file=sys.stderr)
