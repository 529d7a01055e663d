"""Other people's tools on the same patients: `benchmarks/peers` of a source checkout, which the installed package has not."""

import json
import sys
import tempfile
from pathlib import Path

from thrombojax.bench import child
from thrombojax.bench.found import Found, Setting

ROOT = Path(__file__).parents[2]
OURS = ("native", "xla")
"""Backends that are compared with others, on the processor and in float64; the main peers with the first only."""


def measure(s: Setting) -> Found:
    """Rows and ratios of `python -m benchmarks.peers --json FILE`; a note where it is not there or fails."""
    if not (ROOT / "benchmarks" / "peers" / "__main__.py").is_file():
        return _not("they come with a source checkout (benchmarks/peers)")
    ours = [name for name in (OURS[:1] if "--main" in s.peers else OURS) if name in s.backends]
    if not ours or "f64" not in s.precisions:
        return _not("they are compared with backend native in float64, which is not measured")
    with tempfile.TemporaryDirectory(prefix="thrombojax-bench-") as folder:
        file = Path(folder) / "peers.json"
        options = [*s.peers, "--backend", *ours, "--json", str(file)]
        try:
            child.command([sys.executable, "-m", "benchmarks.peers", *options], {})
            said = json.loads(file.read_text(encoding="utf-8"))
        except (child.Failed, OSError, ValueError) as error:
            return _not(str(error))
    return Found(list(said.get("rows", [])), dict(said.get("ratios", {})), list(said.get("notes", [])))


def _not(why: str) -> Found:
    return Found([], {}, [f"peers: not measured, {why}"])
