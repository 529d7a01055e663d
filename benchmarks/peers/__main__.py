"""`python -m benchmarks.peers`: other people's tools and ours in one run, as a Markdown table and a JSON file."""

import argparse
import json
from pathlib import Path

from benchmarks import peers

parser = argparse.ArgumentParser(description=peers.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--json", type=Path, help="write the rows here")
parser.add_argument("--which", nargs="*", default=list(peers.PEERS), choices=list(peers.PEERS), metavar="NAME")
parser.add_argument("--backend", nargs="*", default=["xla"], help="ours")
parser.add_argument("--patients", type=int, default=8192, help="the most that one timed run solves")
parser.add_argument("--target", type=float, nargs="*", default=[1e-4, 1e-6], help="errors to reach")
given = parser.parse_args()
rows = peers.measure(given.target, given.patients, given.which, given.backend)
print(peers.table(rows))
if given.json:
    given.json.write_text(json.dumps(rows, indent=1) + "\n")
