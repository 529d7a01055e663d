"""`python -m benchmarks.peers`: other people's tools and ours in one run, as a Markdown table and a JSON file."""

import argparse
import json
from pathlib import Path

from benchmarks import peers

parser = argparse.ArgumentParser(description=peers.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--json", type=Path, help="write the rows, ratios and notes here")
parser.add_argument(
    "--again", type=Path, help="an earlier record: time at its tolerances, where they hold, instead of searching"
)
few = parser.add_mutually_exclusive_group()
few.add_argument(
    "--main",
    action="store_true",
    help="only what every bench record has: mrgsolve, and diffrax at 1e-4; tolerances of the record where they hold",
)
few.add_argument(
    "--quick", action="store_true", help="all tools, most at 1e-4 only; tolerances of the record where they hold"
)
parser.add_argument("--which", nargs="*", default=list(peers.PEERS), choices=list(peers.PEERS), metavar="NAME")
parser.add_argument("--backend", nargs="*", default=["native", "xla"], help="ours")
parser.add_argument("--patients", type=int, default=8192, help="the most that one timed run solves")
given = parser.parse_args()
earlier = given.again or (peers.RECORD if given.main or given.quick else None)
known = json.loads(earlier.read_text())["rows"] if earlier else ()
chosen = peers.MAIN if given.main else peers.QUICK if given.quick else peers.EVERY
which = {name: targets for name, targets in chosen.items() if name in given.which}


def keep(rows: list[peers.Row]) -> None:
    """The record so far: a long run that is stopped has not been for nothing."""
    if given.json:
        given.json.write_text(json.dumps(peers.record(rows), indent=1) + "\n")


print(peers.table(peers.measure(which, given.patients, given.backend, known=known, each=keep)))
