"""Patients in chunks, each on whichever place is free: what does not fit is halved."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from thrombojax.errors import RunError
from thrombojax.solve.places import Place

CHUNK = 1 << 18
"""Patients of a launch, at most: some five rounds of all threads that an H100 holds."""
LEAST = 1 << 10
"""Patients of a launch below which memory is said to be missing. Every chunk is whole multiples of it, so that sums over so many
are the same however patients are shared out."""


class Case(Protocol):
    rows: np.ndarray

    @property
    def each(self) -> int:
        """Bytes of a patient on the device."""

    def launch(self, place: Place, chunk: slice) -> None:
        """Raises MemoryError."""


def size(case: Case, room: int, places: int = 1) -> int:
    """Patients of a chunk: whole multiples of LEAST, as many as fit into so many bytes, and no more than each place's share."""
    fair = -(-len(case.rows) // places // LEAST) * LEAST
    return int(max(min(CHUNK, fair, room // case.each) // LEAST, 1) * LEAST)


def everywhere(case: Case, on: Sequence[Place], room: int | None = None) -> None:
    """Every chunk on the next place that is free; room: bytes of a chunk at most, where not what a place has."""
    n = len(case.rows)
    step = min(size(case, place.most() if room is None else room, len(on)) for place in on)
    left = deque(slice(k, min(k + step, n)) for k in range(0, n, step))
    lock = threading.Lock()

    def serve(place: Place) -> None:
        while True:
            with lock:
                if not left:
                    return
                chunk = left.popleft()
            try:
                case.launch(place, chunk)
            except MemoryError:
                patients = chunk.stop - chunk.start
                if patients <= LEAST:
                    needed = patients * case.each / 2**20
                    message = (
                        f"{place}: out of memory for {patients} patients ({needed:.1f} MiB and what the kernel spills)"
                    )
                    raise RunError(message) from None
                middle = chunk.start + max(patients // 2 // LEAST, 1) * LEAST
                with lock:
                    left.extend([slice(chunk.start, middle), slice(middle, chunk.stop)])

    if len(on) == 1:
        return serve(on[0])
    with ThreadPoolExecutor(len(on), thread_name_prefix="thrombojax-gpu") as pool:
        for _ in pool.map(serve, on):
            pass
