"""Writes the tables of docs/model.md that are numbers of this tree: `.venv/bin/python docs/tables.py` (about two minutes).

They stand between `<!-- NAME: made by docs/tables.py -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import jax

import thrombojax as tj
from thrombojax.models import struct

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "models"))


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parameters() -> str:
    """Parameter set 1 as `thrombojax info parameters --model feedback` lists it."""
    rows = [
        (
            f"`{row['name']}`",
            f"{row['value']:.6g}",
            row["unit"],
            f"{row['low']:g} to {row['high']:g}",
            row["meaning"],
            ", ".join([*row["flags"], *([row["source"]] if row["source"] else [])]),
        )
        for row in tj.info("parameters", model="feedback")
    ]
    return table(("parameter", "value", "unit", "plausible", "meaning", "source"), rows)


def states() -> str:
    model = tj.model("feedback", drugs=("eltrombopag", "romiplostim"))
    rows = [(f"`{s.name}`", s.quantity.unit, s.quantity.meaning) for s in struct.fields(model.State)]
    return table(("state", "unit", "meaning"), rows)


def scenarios() -> str:
    """The printed scenarios: solved by `reference`, and the error of fixed steps at the default accuracy."""
    from reference_scenarios import SCENARIOS, at, error, printed, run

    rows = []
    for name, scenario in SCENARIOS.items():
        exact = run(name, padded=True, backend="reference")
        numbers = printed(name)
        away = max(abs(at(exact, *where) / float(text) - 1.0) for where, text in numbers.items())
        fixed = {
            "f64": run(name, backend="xla", precision="f64"),
            "f32": run(name, backend="xla", precision="f32"),
            "1e-6": run(name, backend="xla", precision="f64", accuracy=1e-6),
        }
        errors = [f"{error(result, exact):.1e}" for result in fixed.values()]
        ours = f"{at(exact, 'platelets', 14):.8g}"
        rows.append((name, scenario.title, numbers["platelets", 14], ours, f"{away:.0e}", *errors))
    heads = ("", "scenario", "platelets, day 14: printed", "`reference`", "largest difference", "`xla` f64", "`xla` f32",
             "`xla` f64, accuracy 1e-6")  # fmt: skip
    return table(heads, rows)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    file = HERE / "model.md"
    text = file.read_text(encoding="utf-8")
    for make in (states, parameters, scenarios):
        block = re.compile(rf"(<!-- {make.__name__}: .*? -->\n).*?(\n<!-- end -->)", re.DOTALL)
        made = make()
        text, count = block.subn(lambda found, made=made: found[1] + made + found[2], text)
        assert count == 1, make.__name__
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
