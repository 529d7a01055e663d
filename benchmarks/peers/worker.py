"""SciPy and numbalsoda on their share of the patients: `python worker.py METHOD FOLDER INDEX` (workers.py starts it).

METHOD: scipy (solve_ivp's LSODA), odeint (SciPy's older LSODA, which calls Python once per evaluation only), numbalsoda.
Imports nothing of the project.
"""

import runpy
import sys
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    method, folder, index = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    try:
        import numba
        import scipy  # noqa: F401

        if method == "numbalsoda":
            import numbalsoda  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        print(f"missing {error.name} is not installed (pip install numba scipy numbalsoda)", flush=True)
        return
    _, k, states, days, depot, _ = map(int, (folder / "sizes.txt").read_text().split())
    constants = np.fromfile(folder / "constants.bin").reshape(-1, k)
    y0 = np.fromfile(folder / "y0.bin").reshape(-1, states)
    amount, doses = np.fromfile(folder / "amount.bin"), np.fromfile(folder / "doses.bin")
    functions = runpy.run_path(str(folder / "functions.py"))
    rhs = numba.njit(fastmath=True)(functions["rhs"])
    count = numba.njit(fastmath=True)(functions["count"])
    bounds = [float(t) for t in (*doses, days)]
    build = _numbalsoda if method == "numbalsoda" else _scipy
    solve = build(method, rhs, count, bounds, depot)
    solve(constants[:1], y0[:1], amount[:1], 1e-3, 1e-5)
    package = "numbalsoda" if method == "numbalsoda" else "scipy"
    print(f"ready {version(package)}, numba {version('numba')}", flush=True)
    for line in sys.stdin:
        rtol, atol, first, last = line.split()
        rows = slice(int(first), int(last))
        before, begin = time.process_time(), time.time()
        counts = solve(constants[rows], y0[rows], amount[rows], float(rtol), float(atol))
        end, used = time.time(), time.process_time() - before
        counts.tofile(folder / f"counts-{index}.bin")
        print(f"{begin:.6f} {end:.6f} {used:.6f}", flush=True)


def _days(begin: float, end: float) -> np.ndarray:
    """Whole days after a dose, up to the next."""
    return np.arange(begin + 1.0, end + 0.5)


def _scipy(method: str, rhs: Any, count: Any, bounds: list[float], depot: int) -> Any:
    import numba
    from scipy.integrate import odeint, solve_ivp

    @numba.njit
    def derivative(t: float, y: Any, k: Any) -> Any:
        d = np.empty_like(y)
        rhs(y, k, d)
        return d

    @numba.njit
    def counts_of(y: Any, k: Any, out: Any) -> None:
        for i in range(y.shape[0]):
            out[i] = count(y[i], k)

    def solve(constants: Any, y0: Any, amount: Any, rtol: float, atol: float) -> Any:
        counts = np.empty((len(y0), int(bounds[-1])))
        for i in range(len(y0)):
            k, y = constants[i], y0[i].copy()
            for begin, end in pairwise(bounds):
                y[depot] += amount[i]
                times = _days(begin, end)
                if method == "odeint":
                    seen = odeint(derivative, y, np.concatenate([[begin], times]), (k,), tfirst=True, rtol=rtol,
                                  atol=atol, mxstep=100_000)[1:]  # fmt: skip
                else:
                    solution = solve_ivp(derivative, (begin, end), y, "LSODA", times, args=(k,), rtol=rtol, atol=atol)
                    seen = np.ascontiguousarray(solution.y.T)
                counts_of(seen, k, counts[i, int(begin) : int(end)])
                y = seen[-1].copy()
        return counts

    return solve


def _numbalsoda(method: str, rhs: Any, count: Any, bounds: list[float], depot: int) -> Any:
    import numba
    from numbalsoda import lsoda, lsoda_sig

    def make(states: int, k: int) -> Any:
        @numba.cfunc(lsoda_sig, fastmath=True)
        def derivative(t: Any, y: Any, d: Any, data: Any) -> None:
            rhs(numba.carray(y, (states,)), numba.carray(data, (k,)), numba.carray(d, (states,)))

        return derivative

    edges = np.asarray(bounds)

    @numba.njit
    def run(address: Any, constants: Any, y0: Any, amount: Any, rtol: float, atol: float) -> Any:
        counts = np.empty((len(y0), int(edges[-1])))
        for i in range(len(y0)):
            y = y0[i].copy()
            for w in range(len(edges) - 1):
                y[depot] += amount[i]
                times = np.arange(edges[w], edges[w + 1] + 0.5)
                seen, good = lsoda(address, y, times, constants[i], rtol, atol, 100_000)
                for j in range(1, len(times)):
                    counts[i, int(edges[w]) + j - 1] = count(seen[j], constants[i]) if good else np.nan
                y = seen[-1].copy()
        return counts

    made: dict[tuple[int, int], Any] = {}

    def solve(constants: Any, y0: Any, amount: Any, rtol: float, atol: float) -> Any:
        sizes = (y0.shape[1], constants.shape[1])
        if sizes not in made:
            made[sizes] = make(*sizes)
        return run(made[sizes].address, constants, y0, amount, rtol, atol)

    return solve


if __name__ == "__main__":
    main()
