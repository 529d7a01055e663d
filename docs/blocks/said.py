"""What blocks of the pages are made of: Markdown, and what commands and pages' own code print."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

NEWLINE = "\n"
DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ("---",) * len(heads), *rows))


def fenced(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.strip(NEWLINE).rstrip()}\n```"


def command(*words: str, cwd: Path = ROOT) -> str:
    """What `thrombojax WORDS` prints to standard output."""
    return _printed(["-m", "thrombojax", *words], cwd)


def code(text: str, cwd: Path = ROOT) -> str:
    """What Python prints that runs this."""
    return _printed(["-c", text], cwd)


def _printed(words: list[str], cwd: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
