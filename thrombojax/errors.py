"""The one way that wrong input is reported: what is wrong where, what is allowed, and the nearest valid name."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input.

    where: file and key path (`study.toml: patients.cohort`), or an argument's name; message: a sentence without a full stop.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InputError(ValueError):
    """The input was wrong (exit status 2). Carries every problem found, not only the first."""

    def __init__(self, *problems: Problem):
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type["InputError"], tuple[Problem, ...]]:  # from one process to another
        return type(self), self.problems


class RunError(RuntimeError):
    """The run failed (exit status 1): a full disk, a device without memory, a file that cannot be read back."""


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `given`, or None if none is near."""
    names = {name.lower(): name for name in allowed}
    found = difflib.get_close_matches(given.lower(), list(names), n=1, cutoff=0.5)
    return names[found[0]] if found else None


def unknown(where: str, kind: str, given: str, allowed: Iterable[str]) -> Problem:
    """Problem for a name that is not among the allowed ones, with the nearest."""
    allowed = sorted(allowed)
    hint = nearest(given, allowed)
    shown = ", ".join(allowed) if len(allowed) <= 12 else f"{', '.join(allowed[:12])}, ... ({len(allowed)} in all)"
    return Problem(where, f"unknown {kind} {given!r}; allowed: {shown}" + (f"; did you mean {hint!r}?" if hint else ""))
