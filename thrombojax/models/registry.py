"""Where models come from: the entry point group `thrombojax.models`, or a Python file that the user names on the command line."""

import functools
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import DEFAULT_SET
from thrombojax.models.protocol import Model

GROUP = "thrombojax.models"


@dataclass(frozen=True)
class Source:
    """A model before its drugs are known. file: of a user's own model, `MODEL` or `model()` in it, never from a study."""

    name: str = "feedback"
    parameter_set: str = DEFAULT_SET
    file: str | None = None


def names() -> tuple[str, ...]:
    """Names of all installed models."""
    return tuple(sorted(point.name for point in entry_points(group=GROUP)))


def is_assembled(source: Source) -> bool:
    """Whether the model is put together from the drugs that a study uses."""
    return "drugs" in inspect.signature(_factory(source)).parameters


def build(source: Source, drugs: tuple[str, ...] = ()) -> Model:
    """The model for these drugs; the same arguments give the same object."""
    factory = _factory(source)
    if is_assembled(source):
        model: Model = factory(drugs=tuple(sorted(drugs)), parameter_set=source.parameter_set)
    else:
        model = factory()
    return model


def drugs(source: Source) -> tuple[str, ...]:
    """Names of the drugs that the model can be given."""
    if is_assembled(source):
        from thrombojax import drugs as library

        return library.names()
    return tuple(dict.fromkeys(drug for drug, _ in build(source).entries))


@functools.lru_cache(maxsize=64)
def _factory(source: Source) -> Callable[..., Any]:
    if source.file is not None:
        return _from_file(Path(source.file), source.name)
    found = [point for point in entry_points(group=GROUP) if point.name == source.name]
    if not found:
        raise InputError(unknown("model", "model", source.name, names()))
    loaded = found[0].load()
    return _as_factory(loaded)


def _as_factory(loaded: Any) -> Callable[..., Any]:
    if isinstance(loaded, Model):
        return lambda: loaded
    factory: Callable[..., Any] = loaded
    return factory


def _from_file(path: Path, name: str) -> Callable[..., Any]:
    if not path.is_file():
        raise InputError(Problem("--model-file", f"no such file: {path}"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"thrombojax_user_{digest}", path)
    if spec is None or spec.loader is None:
        raise InputError(Problem("--model-file", f"{path} is not a Python file"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where typing looks up the annotations of the file's structs
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(Problem("--model-file", f"{path} does not load: {type(error).__name__}: {error}")) from error
    found = getattr(module, "MODEL", None)
    if not isinstance(found, Model):
        raise InputError(Problem("--model-file", f"{path} defines no MODEL that is a thrombojax Model"))
    if found.name != name:
        raise InputError(unknown("study.model", "model", name, [found.name]))
    return _as_factory(replace(found, file=str(path)))
