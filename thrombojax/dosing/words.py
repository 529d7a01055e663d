"""The words of a regimen sentence, read one after the other, and errors that point at one of them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from thrombojax.dosing.regimen import DAY, HOUR, MINUTE, MOST_DOSES, WEEK, Unit
from thrombojax.errors import InputError, Problem, nearest

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
STARTS_NUMBER = re.compile(r"[+-]?\.?[0-9]")
TIME_UNITS: dict[str, Unit] = {
    **dict.fromkeys(("min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "wk", "week", "weeks"), WEEK),
}
_WINDOW = 100  # characters of a long sentence that an error shows


@dataclass(frozen=True)
class Word:
    text: str
    column: int

    @property
    def low(self) -> str:
        return self.text.lower()


def split(sentence: str) -> list[Word]:
    """The sentence's words: whatever stands between white space."""
    return [Word(match.group(), match.start()) for match in re.finditer(r"\S+", sentence)]


@dataclass
class Cursor:
    """The words of a sentence and the place reached. The only thing here that changes."""

    sentence: str
    where: str
    words: list[Word]
    place: int = 0
    doses_left: int = MOST_DOSES

    @property
    def word(self) -> Word:
        """The current word; an empty one behind the last."""
        return self.words[self.place] if self.place < len(self.words) else Word("", len(self.sentence.rstrip()) + 1)

    def take(self) -> Word:
        word = self.word
        self.place += 1
        return word

    def fail(self, message: str, at: Word | None = None) -> NoReturn:
        """Raise InputError that shows the sentence and points at a word (the current one unless told)."""
        word = at or self.word
        if not word.text:
            message = f"the sentence ends here; {message}"
        elif word.text.startswith("{"):
            message += " (a placeholder that no number was given for?)"
        raise InputError(Problem(self.where, pointed(self.sentence, word, message)))

    def number(self, expected: str) -> float:
        """Take a finite, non-negative number; `2h` gives 2 and leaves `h` as the current word."""
        word = self.word
        match = NUMBER.match(word.text)
        if match is None:
            self.fail(f"expected {expected}")
        rest = word.text[match.end() :]
        if rest and not rest[0].isalpha():
            self.fail(f"expected {expected}, a plain number such as 2.5")
        value = float(match.group())
        if value < 0 or match.group().startswith("-"):
            self.fail(f"expected {expected}; it must not be negative")
        if not math.isfinite(value):
            self.fail(f"expected {expected}; it must be finite")
        if rest:
            self.words[self.place] = Word(rest, word.column + match.end())
        else:
            self.place += 1
        return value

    def spend(self, doses: int, at: Word) -> None:
        """Count doses against the most that one regimen may have."""
        self.doses_left -= doses
        if self.doses_left < 0:
            self.fail(f"at most {MOST_DOSES} doses in all", at)

    def time_unit(self, expected: str) -> Unit:
        unit = TIME_UNITS.get(self.word.low)
        if unit is None:
            self.fail(f"expected {expected}: min, h, days or weeks{hint(self.word, TIME_UNITS)}")
        self.place += 1
        return unit


def hint(word: Word, allowed: Iterable[str]) -> str:
    near = nearest(word.text[:40], allowed) if len(word.text) > 1 else None
    return f"; did you mean {near!r}?" if near and near != word.low else ""


def pointed(sentence: str, word: Word, message: str) -> str:
    """The sentence on one line (a window of it if long), a line of carets under the word, and the message."""
    shown = "".join(" " if c.isspace() else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in sentence)
    column, width = word.column, min(max(len(word.text), 1), _WINDOW // 2)
    first = max(0, min(column - _WINDOW // 2, len(shown) - _WINDOW))
    text = shown[first : first + _WINDOW].rstrip()
    before, after = "... " if first else "", " ..." if first + _WINDOW < len(shown.rstrip()) else ""
    pointer = " " * (len(before) + column - first) + "^" * width
    return f"does not parse\n    {before}{text}{after}\n    {pointer} {message}"
