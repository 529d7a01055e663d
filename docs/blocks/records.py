"""What the committed records of benchmarks say."""

import json
import textwrap

from blocks.said import ROOT, table

RESULTS = ROOT / "benchmarks" / "results"


def refit() -> str:
    """What `python -m benchmarks.refit` measured, as committed."""
    found = json.loads((RESULTS / "refit-2-core-x86-64.json").read_text(encoding="utf-8"))
    cover, shrinkage = found["coverage_of_90_percent"], found["shrinkage"]
    rows = [(f"`{name}`", f"{100 * cover[name]:.1f} %", f"{100 * x:.0f} %") for name, x in shrinkage.items()]
    batch, alone = 1e3 * found["batch_s_per_patient"], 1e3 * found["scipy_s_per_patient"]
    away = found["largest_difference_from_scipy_in_prior_sd"]
    whole = (
        f"{found['what']}: 90 % intervals hold {100 * cover['all']:.1f} % of all true values. One batch takes "
        f"{found['batch_s']:.2g} s on {found['cores']} cores, {batch:.2g} ms a patient. SciPy's BFGS on the same posterior, with "
        f"exact gradients by the same kernel, takes {alone:.3g} ms a patient, {found['ratio']:.0f} times as long, ending at most "
        f"{away:.0e} SD of the prior away."
    )
    return table(("parameter", "truth in its 90 % interval", "shrinkage"), rows) + "\n\n" + whole


def descents() -> str:
    """What `python -m benchmarks.optimise` measured, as committed."""
    found = json.loads((RESULTS / "optimise-2-core-x86-64.json").read_text(encoding="utf-8"))
    rows = [
        (
            row["method"],
            f"{row['seconds']:.1f} s" if row["reached"] else f"not in {row['seconds']:.0f} s",
            str(row["calls"]),
            f"{row['ratio']:.1f}" if row["reached"] else f"more than {row['ratio']:.0f}",
        )
        for row in found["rows"]
    ]
    both = "; ".join(f"{of['patients']} patients {of['ratio']:.2f}" for of in found["starts"])
    many, people = found["starts"][0]["starts"], found["patients"]
    side = f"{people} patients. Gradients of {many} starts side by side, over those in turns (time): {both}."
    return table(("method", "time to the target", "calls", "x ours"), rows) + "\n\n" + side


def streamed() -> str:
    """What `python -m benchmarks.sensitivity` measured, as committed."""
    found = json.loads((RESULTS / "sensitivity-2-core-x86-64.json").read_text(encoding="utf-8"))
    cost, screened = found["cost"], found["screening"]
    memory = [f"{size / 1e6:.0f} MB at {int(base):,} base samples" for base, size in found["peak_rss_bytes"].items()]
    said = (
        f"Cost (`python -m benchmarks.sensitivity`, this study, {found['factors']} factors, {found['days']:g} days): "
        f"{cost['runs']:,} runs with sums and shards take {cost['ratio']:.2f} times the CPU time of the same rows simulated and "
        f"forgotten. Memory at its peak: {', '.join(memory)}. Derivatives of {screened['derivatives']} samples cost "
        f"1/{1 / screened['share']:.0f} of the indices of {found['large']:,}, and {screened['same']} of the "
        f"{screened['of']} factors with the five largest bounds of an endpoint have its five largest totals."
    )
    loop = json.loads((RESULTS / "sensitivity-healthy-loop-2-core-x86-64.json").read_text(encoding="utf-8"))
    other, large = loop["screening"], f"{loop['large']:,} base samples"
    said += (
        f" In `{loop['study']}` ({loop['factors']} factors, {large}) they cost 1/{1 / other['share']:.0f}, and "
        f"{other['same']} of {other['of']} are the same."
    )
    return textwrap.fill(said, 128)


BLOCKS = (refit, descents, streamed)
