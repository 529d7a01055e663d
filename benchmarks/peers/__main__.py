"""`python -m benchmarks.peers`: other people's tools and ours in one run, as a Markdown table and a JSON file."""

import argparse
import json
from pathlib import Path

from benchmarks import peers
from benchmarks.peers import problem

RECORD = Path(__file__).parents[1] / "results" / "peers-2-core-x86-64.json"

parser = argparse.ArgumentParser(description=peers.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--json", type=Path, help="write the rows, ratios and notes here")
parser.add_argument(
    "--again", type=Path, help="an earlier record: time at its tolerances instead of searching for them"
)
parser.add_argument("--quick", action="store_true", help="error 1e-4 only, 2048 patients, tolerances of the record")
parser.add_argument("--which", nargs="*", default=list(peers.PEERS), choices=list(peers.PEERS), metavar="NAME")
parser.add_argument("--backend", nargs="*", default=["native", "xla"], help="ours")
parser.add_argument("--patients", type=int, default=8192, help="the most that one timed run solves")
given = parser.parse_args()
earlier = given.again or (RECORD if given.quick and RECORD.exists() else None)
known = json.loads(earlier.read_text())["rows"] if earlier else ()
targets = (1e-4,) if given.quick else (1e-4, 1e-6)
made = problem.make(2048, checked=64) if given.quick else problem.make(given.patients)


def keep(rows: list[peers.Row]) -> None:
    """The record so far: a long run that is stopped has not been for nothing."""
    if given.json:
        given.json.write_text(json.dumps(peers.record(rows), indent=1) + "\n")


print(
    peers.table(peers.measure(targets, which=given.which, backends=given.backend, given=made, known=known, each=keep))
)
