"""The validation: its score, every row, every miss."""

import functools
from typing import Any

from blocks.said import table


@functools.cache
def judged(*sets: str) -> list[Any]:
    """The whole validation with these parameter sets; with the default one, audited."""
    from thrombojax import process

    process.prepare("f64")
    from thrombojax.validation import judge, targets

    cases = targets.load()
    known = [case for case in cases if case.has_sets] if sets else cases
    wanted = [(case, own) for case in known for own in sets or (None,)]
    return list(judge.each(wanted, 0 if sets else 16, jobs=2))


def validation_summary() -> str:
    from thrombojax.models import DEFAULT_SET
    from thrombojax.models.feedback.assemble import parameter_sets
    from thrombojax.validation import judge

    others = tuple(name for name in parameter_sets() if name != DEFAULT_SET)
    rows = sorted(judge.summary([*judged(), *judged(*others)]), key=lambda row: (row["kind"], row["set"]))
    return table(rows[0], ([str(v) for v in row.values()] for row in rows))


def validation_cases() -> str:
    from thrombojax.report.validation import line

    parts = []
    for one in judged():
        first = one.verdicts[0]
        lines = [line(v) for v in one.verdicts]
        audit = "" if one.audit is None else f" Audit: 99 % of relative errors below {one.audit:.1e}."
        who = f"{first.title} ({first.kind}). {first.population}. {first.source}. Intervals: {first.rule}."
        parts.append(f"### {one.case}\n\n{who}{audit}\n\n{table(lines[0], (row.values() for row in lines))}")
    return "\n\n".join(parts)


def validation_misses() -> str:
    """A section a miss; a miss that no case explains is an error here."""
    from thrombojax.validation import targets

    why = {(case.name, t.name): t.missed for case in targets.load() for t in case.targets}
    parts = []
    for v in (v for one in judged() for v in one.verdicts if not v.agrees):
        said = why[v.case, v.target]
        assert said is not None, f"{v.case}: {v.target} is missed, and its file does not say why"
        unit = f" {v.unit}" if v.unit else ""
        kind = "recalled, not counted" if not v.counts else v.kind
        published = "a direction" if v.published is None else f"{v.published:g}{unit}"
        size = f"Published {published} (to lie in {v.low:g} to {v.high:g}), simulated {v.simulated:.3g}{unit}; {kind}, {v.use}."
        reasons = f"- Likely: {said.why}\n- Tried: {said.tried}\n- Would settle it: {said.data}"
        parts.append(f"### {v.target} ({v.case})\n\n{size}\n\n{reasons}")
    return "\n\n".join(parts)


BLOCKS = (validation_summary, validation_cases, validation_misses)
