"""Placeholders: a study writes `romiplostim {dose} ug/kg sc weekly x 26` and puts numbers in before it is parsed."""

import math
import re
from collections.abc import Mapping

from thrombojax.dosing.regimen import plain
from thrombojax.dosing.words import Word, pointed
from thrombojax.errors import InputError, Problem, unknown

_BRACES = re.compile(r"\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def placeholders(text: str, where: str = "regimen") -> tuple[str, ...]:
    """Names in braces, as in `romiplostim {dose} ug/kg sc weekly x 26`, each once, in order. Raises InputError."""
    names: list[str] = []
    for match in _BRACES.finditer(text):
        name = match.group(1)
        if name is None or not _NAME.fullmatch(name):
            word = Word(match.group(), match.start())
            raise InputError(Problem(where, pointed(text, word, "expected a name in braces, such as {dose}")))
        names.append(name)
    return tuple(dict.fromkeys(names))


def fill(text: str, numbers: Mapping[str, float], where: str = "regimen") -> str:
    """The text with every placeholder replaced by its number.

    Raises InputError for a placeholder without a number, a number without a placeholder, and what is not a finite
    number.
    """
    names = placeholders(text, where)
    problems = [Problem(where, f"no number is given for the placeholder {{{n}}}") for n in names if n not in numbers]
    if extra := [n for n in numbers if n not in names]:
        problems += [unknown(where, "placeholder", n, names) for n in extra]
    texts = {}
    for name, value in numbers.items():
        try:
            if isinstance(value, str | bytes | bool) or not math.isfinite(float(value)):
                raise ValueError
            texts[name] = plain(float(value) + 0.0)  # no negative zero
        except (TypeError, ValueError, OverflowError):
            problems.append(Problem(where, f"the placeholder {{{name}}} takes a finite number, got {value!r:.40}"))
    if problems:
        raise InputError(*problems)
    return _BRACES.sub(lambda match: texts[match.group(1)], text)
