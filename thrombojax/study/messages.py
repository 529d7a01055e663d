"""From pydantic's errors to the messages of the contract: key path, what was given, what is allowed, nearest name."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from thrombojax.errors import Problem, unknown


def keys(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section as the file writes them."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def shown(value: Any) -> str:
    """A value as the file's author would recognise it, short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else "a whole number beyond 64 bits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return "the text " + repr(value if len(value) <= 80 else value[:77] + "...")
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}"
    return str(value)  # dates and times


def path(*parts: str | int) -> str:
    """Key path of a study file, list members counted from 1: path("arm", 1, "regimen") is `arm[2].regimen`."""
    text = ""
    for part in parts:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def problems(error: ValidationError, section: type[BaseModel], *at: str | int) -> list[Problem]:
    """One Problem for each thing that pydantic found wrong in a section; `at` is the section's own key path."""
    return [_problem(e, section, at) for e in error.errors(include_url=False)]


def _problem(error: ErrorDetails, section: type[BaseModel], at: tuple[str | int, ...]) -> Problem:
    key, *rest = (part for part in error["loc"] if part != "[key]")
    inner = _member(section, str(key)) if len(rest) > 1 else None
    if inner is not None:
        return _problem({**error, "loc": tuple(rest[1:])}, inner, (*at, key, rest[0]))
    where = path(*at, key, *rest)
    if error["type"] == "extra_forbidden":
        return unknown(where, "key", str(key), keys(section))
    field = keys(section)[str(key)]
    if error["type"] == "missing":
        return Problem(where, f"is missing; needed: {field.description}")
    given = error["input"]
    if error["type"] == "literal_error" and isinstance(given, str):
        allowed = [str(name) for name in get_args(field.annotation) if isinstance(name, str)]
        allowed = allowed or [str(n) for member in get_args(field.annotation) for n in get_args(member)]
        return unknown(where, str(key), given, allowed)
    own = str(error.get("ctx", {}).get("error", ""))
    if own:  # a validator of ours that says it better
        return Problem(where, f"given {shown(given)}; {own}")
    return Problem(where, f"given {shown(given)}; allowed: {field.description}")


def _member(section: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section that each member of a list of sections is."""
    field = keys(section).get(key)
    of = get_args(field.annotation) if field is not None else ()
    return of[0] if of and isinstance(of[0], type) and issubclass(of[0], BaseModel) else None
