"""A long call into C, in turns of half a second, between which Python hears a Ctrl-C."""

import time
from collections.abc import Iterator

TURN = 0.5
"""Seconds that a turn should take."""


def turns(groups: int, least: int) -> Iterator[tuple[int, int]]:
    """(first, how many) groups of each turn; a turn is what the caller does until it asks for the next one.

    least: turns are multiples of it, but the last one: so many that no thread waits for others.
    """
    done, share = 0, least
    while done < groups:
        count = min(share, groups - done)
        began = time.monotonic()
        yield done, count
        done += count
        share = int(share * min(4.0, TURN / max(time.monotonic() - began, 1e-9)))
        share = max(share // least, 1) * least
