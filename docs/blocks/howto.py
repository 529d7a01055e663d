"""Blocks of the how-to pages on titration, event data and predictive checks: the pages' own studies and code, run afresh."""

import functools
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.said import DOCS, ROOT, code, command, fenced

KUTER = "itp-romiplostim-kuter-2008"
EVENTS = "itp-romiplostim-event-table"


def parts(page: str, language: str) -> list[str]:
    """The page's blocks of code in this language, in order."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@contextmanager
def checkout() -> Iterator[Path]:
    """A folder with the studies of sweeps/ and an empty out/."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "sweeps", Path(folder) / "sweeps")
        (Path(folder) / "out").mkdir()
        yield Path(folder)


@functools.cache
def _titration() -> tuple[str, str]:
    page = "how-to-titration"
    study = next(text for text in parts(page, "toml") if text.startswith("schema"))
    with checkout() as folder:
        (folder / "titrated.toml").write_text(study, encoding="utf-8")
        ran = command("run", "titrated.toml", "-o", "titrated.h5", "--audit", "0", cwd=folder)
        return fenced(ran), fenced(code(parts(page, "python")[0], folder))


def titrated() -> str:
    """What the run of the page's study prints."""
    return _titration()[0]


def ledger() -> str:
    """What the page's Python makes of the ledger."""
    return _titration()[1]


@functools.cache
def _events() -> tuple[str, str, str]:
    compare, copies = parts("how-to-event-data", "python")
    with checkout() as folder:
        command("run", f"sweeps/{EVENTS}.toml", "-o", "out/events.h5", "--audit", "0", cwd=folder)
        command("export", "out/events.h5", "-o", "out/events.csv", "--observed", cwd=folder)
        head = "".join((folder / "out" / "events.csv").open().readlines()[:4])
        compared = code(compare, folder)
        code(copies, folder)
        data = "sweeps/data/petrov-2024-itp.csv"
        checked = command("report", "out/copies.h5", "--observed", data, "-o", "out/vpc.png", cwd=folder)
    shown = f"$ thrombojax report out/copies.h5 --observed {data} -o out/vpc.png\n{checked}"
    return fenced(f"$ head -4 out/events.csv\n{head}"), fenced(compared), fenced(shown)


def exported() -> str:
    """The first rows of the export of the event table."""
    return _events()[0]


def compared() -> str:
    """What the page's Python says of them."""
    return _events()[1]


def copies() -> str:
    """The predictive check of the event table."""
    return _events()[2]


@functools.cache
def _predictive() -> tuple[str, str]:
    with checkout() as folder:
        study = folder / "sweeps" / f"{KUTER}.toml"
        command("run", str(study), "-o", "out/kuter.h5", "--audit", "0", cwd=folder)
        other = study.read_text(encoding="utf-8").replace("seed = 1\n", "seed = 2\n")
        (folder / "other.toml").write_text(
            re.sub(r"^trials = \d+", "trials = 2", other, flags=re.MULTILINE), encoding="utf-8"
        )
        command("run", "other.toml", "-o", "other.h5", "--audit", "0", cwd=folder)
        command("export", "other.h5", "-o", "other.csv", "--ledger", cwd=folder)
        code(parts("how-to-vpc", "python")[0], folder)
        words = ("report", "out/kuter.h5", "--observed", "observed.csv", "-o", "vpc.png")
        right = command(*words, cwd=folder)
        code(
            "import pandas; d = pandas.read_csv('observed.csv'); d.DV *= 0.7; d.to_csv('observed.csv', index=False)",
            folder,
        )
        low = command(*words, cwd=folder)
    return fenced(f"$ thrombojax {' '.join(words)}\n{right}"), fenced(low)


def predicted() -> str:
    """The predictive check of data of the same study with another seed."""
    return _predictive()[0]


def mistaken() -> str:
    """That of the same data with every count 30 % lower."""
    return _predictive()[1]


BLOCKS = (titrated, ledger, exported, compared, copies, predicted, mistaken)
