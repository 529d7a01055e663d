"""Other people's tools on the same patients: `benchmarks/peers` of a source checkout, which the installed package has not."""

import json
import sys
import tempfile
from pathlib import Path

from thrombojax.bench import child
from thrombojax.bench.found import Found

ROOT = Path(__file__).parents[2]


def measure(quick: bool) -> Found:
    """Rows and ratios of `python -m benchmarks.peers --json FILE`; a note where it is not there or fails."""
    if not (ROOT / "benchmarks" / "peers" / "__main__.py").is_file():
        return Found([], {}, ["peers: not measured, they come with a source checkout (benchmarks/peers)"])
    with tempfile.TemporaryDirectory(prefix="thrombojax-bench-") as folder:
        file = Path(folder) / "peers.json"
        words = [sys.executable, "-m", "benchmarks.peers", *(["--quick"] if quick else []), "--json", str(file)]
        try:
            child.command(words, {})
            said = json.loads(file.read_text(encoding="utf-8"))
        except (child.Failed, OSError, ValueError) as error:
            return Found([], {}, [f"peers: not measured: {error}"])
    return Found(list(said.get("rows", [])), dict(said.get("ratios", {})), list(said.get("notes", [])))
