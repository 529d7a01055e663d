"""Blocks of a stage as shards on disk: interrupted, resumed and checked like those of any sweep."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thrombojax import execute
from thrombojax.store import Axis, Layout, Variable
from thrombojax.store.results import reading

SHARDS = 1024
"""Shards of a stage, at most: each costs a file."""


class Interrupted(Exception):
    """A run was stopped; what is finished is on disk."""


@dataclass(eq=False)
class OnDisk:
    """Runs stages in files of one folder. study, kernel: by which two runs are the same; until: moment at which to stop.

    progress: told of rows, in place of blocks.
    """

    folder: Path
    study: str
    kernel: str
    provenance: Mapping[str, Any]
    left: Callable[[], float | None]
    progress: Callable[[execute.Progress], None] | None = None
    allow_mixed: bool = False

    def __call__(
        self, name: str, blocks: int, cells: int, rows: int, compute: Callable[[int], Float[np.ndarray, "cell"]]
    ) -> Iterator[Float[np.ndarray, "cell"]]:
        failed = [0]

        def some(start: int, stop: int) -> dict[str, np.ndarray]:
            vectors = np.stack([compute(block) for block in range(start, stop)], axis=-1)
            failed[0] += int(vectors[-1].sum())
            return {"sums": vectors}

        def said(state: execute.Progress) -> None:
            if self.progress is not None:
                eta = state.eta
                self.progress(
                    replace(
                        state,
                        done=state.done * rows,
                        total=state.total * rows,
                        failed=failed[0],
                        rate=state.rate * rows,
                        eta=eta,
                    )
                )

        layout = Layout(
            (Axis("cell", np.arange(cells)), Axis("patient", np.arange(blocks), "", "block")),
            (Variable("sums", ("cell", "patient"), "float64", "", "what is kept of a block", "trajectory"),),
            {"title": f"{name}: kept of blocks"},
            max(1, blocks // SHARDS),
        )
        work = execute.Work(blocks, layout, self.kernel, some, self.study, self.provenance)
        path = self.folder / f"{name}.h5"
        done = execute.execute(
            work, path, resume=True, allow_mixed=self.allow_mixed, stop_after=self.left(), progress=said
        )
        if done.interrupted:
            raise Interrupted(done.reason or "")
        return _vectors(path, blocks)


def _vectors(path: Path, blocks: int) -> Iterator[Float[np.ndarray, "cell"]]:
    """One block's after another's, never more than one chunk in memory."""
    with reading(path) as file:
        sums = file["sums"]
        wide = sums.chunks[-1] if sums.chunks else 1
        for start in range(0, blocks, wide):
            yield from np.ascontiguousarray(sums[:, start : start + wide].T)
