"""A process of its own for each row: `python -m thrombojax.bench.worker '{"workload": ..., ...}'` (`child.py` starts it).

It prepares and warms up its workload, says so, and then does the work once for each line on its input that names a call,
answering with the time it took. So the repeats of several processes can be interleaved, and the largest resident memory is
that of one workload.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from thrombojax.bench import energy


def main() -> None:
    options = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    prepared = _prepare(options)
    for call in [prepared.warm_up] if prepared.warm_up else prepared.calls.values():
        call()
    _say(answers, {"facts": dict(prepared.facts)})
    for line in sys.stdin:
        name = line.strip()
        if name == "end":
            # Memory before errors are looked at, which is no part of the work.
            peak = peak_rss_bytes()
            _say(answers, {"peak_rss_bytes": peak, **prepared.after()})
            return
        before, began = energy.read(), time.perf_counter()
        prepared.calls[name]()
        seconds = time.perf_counter() - began
        _say(answers, {"seconds": seconds, "joules": energy.between(before, energy.read())})


def _prepare(options: dict[str, Any]) -> Any:
    """The workload, after all that must be set before JAX starts."""
    if options.get("cores"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options["cores"]])
    if options["workload"] == "floor":
        from thrombojax.bench import limits

        limits.tune_xla()
    from thrombojax import process

    process.prepare(options.get("precision", "f64"))
    from thrombojax.bench.workloads import WORKLOADS

    return WORKLOADS[options["workload"]](options)


def peak_rss_bytes() -> int:
    """Largest resident memory of this process. (`ru_maxrss` alone would count the parent that it was forked from.)"""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _say(stream: Any, value: dict[str, Any]) -> None:
    print(json.dumps(value), file=stream, flush=True)


if __name__ == "__main__":
    main()
