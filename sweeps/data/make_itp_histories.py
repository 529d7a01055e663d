"""Makes itp-histories.csv, a NONMEM-style event table: `.venv/bin/python sweeps/data/make_itp_histories.py`.

Other tables of its kind: `--patients N --seed S --out FILE`.

No trial's data: the first eight weeks of 60 virtual adults with chronic ITP under the US label of romiplostim, by this package's
own model, with its errors of counting and the fluctuation of the disease. So the truth is known; the fits are not told.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import thrombojax as tj

OUT = Path(__file__).with_name("itp-histories.csv")
WEEKS = 8
STUDY = """
schema = 1
[study]
name = "histories"
seed = {seed}
days = {days}
placebo = false
[patients]
cohort = "itp"
entry = "platelets < 30"
n = {patients}
[[arm]]
name = "US label"
policy = {{ drug = "romiplostim", label = "US label, adults with ITP" }}
[[endpoint]]
name = "peak"
reducer = "peak"
[output]
ledger = true
"""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--patients", type=int, default=60)
    ask.add_argument("--seed", type=int, default=77)
    ask.add_argument("--out", type=Path, default=OUT)
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.toml"
        text = STUDY.format(patients=given.patients, seed=given.seed, days=7 * WEEKS + 1)
        study.write_text(text, encoding="utf-8")
        found = tj.run(study, Path(folder) / "out.h5")
        path = getattr(found, "path", Path(folder) / "out.h5")
        import xarray

        ledger = {name: group.load() for name, group in xarray.open_groups(path, engine="h5netcdf").items()}
    visits, parameters = ledger["/ledger"].isel(arm=0), ledger["/parameters"]
    weight = parameters["body.weight"].values
    rows = ["# Virtual patients, made by make_itp_histories.py; TIME in days, AMT in ug", "ID,TIME,EVID,AMT,DV,weight"]
    for k in range(len(weight)):
        for v, day in enumerate(visits["visit"].values[: WEEKS + 1]):
            seen, dose = float(visits["seen"].values[v, k]), float(visits["dose"].values[v, k])
            if np.isfinite(seen):
                rows.append(f"{k + 1},{day:g},0,.,{seen:.4g},{weight[k]:.3g}")
            if dose > 0 and v < WEEKS:
                rows.append(f"{k + 1},{day:g},1,{dose * weight[k]:.4g},.,{weight[k]:.3g}")
    given.out.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{given.out.name}: {len(weight)} patients, {len(rows) - 2} records")


if __name__ == "__main__":
    main()
