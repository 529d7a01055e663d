"""`thrombojax sensitivity`: from a study file to a results file, resumable, and a summary of it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrombojax import execute, provenance, store
from thrombojax.errors import InputError, Problem
from thrombojax.outputs import writable
from thrombojax.report import picture
from thrombojax.sensitivity import tables
from thrombojax.sensitivity.analyse import Analysis, analyse
from thrombojax.sensitivity.blocks import Interrupted, OnDisk
from thrombojax.sensitivity.layout import results
from thrombojax.sensitivity.problem import problem
from thrombojax.store.shards import disk_error
from thrombojax.study.schema import load


@dataclass(frozen=True)
class Outcome:
    """path: of the results; interrupted: --resume goes on; constant: outputs that do not vary, in words; summary: for a
    terminal."""

    path: Path
    interrupted: bool = False
    constant: tuple[str, ...] = ()
    summary: str = ""


def run(
    study_path: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    precision: str | None = None,
    backend: str | None = None,
    stop_after: float | None = None,
    allow_mixed: bool = False,
    model_file: str | Path | None = None,
    figure: Path | None = None,
    progress: Callable[[execute.Progress], None] | None = None,
) -> Outcome:
    """Run the sensitivity analysis of a study file and write one results file.

    What is finished of each stage is kept beside it until then. InputError before anything is computed, RunError where a run
    fails.
    """
    study = load(study_path).override(precision=precision, backend=backend)
    out, began = Path(out), time.monotonic()
    if resume and overwrite:
        raise InputError(Problem("", "--resume and --overwrite exclude each other"))
    if figure is not None:
        picture.check(figure)
    given = problem(study, None if model_file is None else str(model_file))
    tables.need(study)
    text = provenance.identity(given.plan)
    folder = out.with_name(out.name + ".stages")
    if _place(out, folder, resume, overwrite, text):
        return _told(out, figure, "was complete already")
    digest = provenance.with_code(provenance.kernel_hash(given.plan), Path(__file__).parent)
    facts = provenance.record(given.plan, digest)

    def left() -> float | None:
        return None if stop_after is None else max(stop_after - (time.monotonic() - began), 1e-3)

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder, "nothing was computed") from None
    try:
        found = analyse(given, OnDisk(folder, text, digest, facts, left, progress, allow_mixed))
    except Interrupted:
        return Outcome(out, True)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    layout, arrays = results(found)
    work = execute.Work(layout.n, layout, digest, lambda start, stop: arrays, text, {**facts, **said(found)})
    done = execute.execute(work, out, overwrite=overwrite)
    if done.interrupted:
        return Outcome(out, True)
    shutil.rmtree(folder)
    return _told(out, figure, f"in {time.monotonic() - began:.1f} s")


def said(found: Analysis) -> dict[str, Any]:
    """What provenance says of an analysis."""
    asked = found.given.study.sensitivity
    assert asked is not None
    noted: dict[str, Any] = {
        "sensitivity_methods": " ".join(asked.methods),
        "sensitivity_estimator": asked.estimator,
        "sensitivity_confidence": asked.confidence,
        "sensitivity_replicates": asked.replicates,
        "sensitivity_sampler": asked.sampler,
    }
    if found.sobol is not None:
        noted |= {
            "sensitivity_base": found.sobol.base,
            "sensitivity_runs": found.sobol.runs * len(found.given.plan.cells),
            "sensitivity_failed": found.sobol.failed,
            "sensitivity_stopped": int(found.sobol.stopped),
        }
    return noted


def _told(out: Path, figure: Path | None, how: str) -> Outcome:
    if figure is not None:
        from thrombojax.report import indices_figure

        indices_figure.draw(out, figure)
    summary, constant = tables.summary(out)
    return Outcome(out, False, constant, f"results: {out} ({how})\n\n{summary}")


def _place(out: Path, folder: Path, resume: bool, overwrite: bool, text: str) -> bool:
    """Whether --resume finds the file complete. Raises InputError for an output that may not be written."""
    writable(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(Problem(str(folder), "is in the way: the folder of that name holds what is finished of a run"))
    if overwrite and folder.is_dir():
        if any(_foreign(path) for path in folder.iterdir()):
            raise InputError(Problem(str(folder), "is in the way: it holds files that are not of a run"))
        shutil.rmtree(folder)
    if folder.is_dir() and any(folder.iterdir()) and not resume:
        said = "holds what is finished of an earlier run; --resume goes on with it, --overwrite starts afresh"
        raise InputError(Problem(str(folder), said))
    if out.exists() and not overwrite:
        if not resume:
            raise InputError(
                Problem(str(out), "exists already; --overwrite replaces it, --resume keeps a finished run")
            )
        if store.provenance(out).get("identity") != text:
            raise InputError(Problem(str(out), "is of another study; move it away or use --overwrite"))
        if folder.is_dir():
            shutil.rmtree(folder)
        return True
    return False


def _foreign(path: Path) -> bool:
    return not (path.name.endswith(".h5") or ".h5." in path.name)
