"""Covariances read from files as NONMEM and R write them; the numbers are Farrell 2014's, Table 3 (eltrombopag)."""

import json
import re

import numpy as np
import pytest

from thrombojax.errors import InputError
from thrombojax.patients import estimates

CL, V, BETWEEN = 0.401**2, 0.483**2, 0.547 * 0.401 * 0.483
OMEGA = np.array([[CL, BETWEEN], [BETWEEN, V]])

COLUMNS = (
    "THETA1",
    "THETA2",
    "SIGMA(1,1)",
    "OMEGA(1,1)",
    "OMEGA(2,1)",
    "OMEGA(2,2)",
    "OMEGA(3,1)",
    "OMEGA(3,2)",
    "OMEGA(3,3)",
)
ROWS = {
    0: (0.5, 9.0, 0.04, 0.09, 0.001, 0.09, 0, 0, 0, 3217.48),
    12: (0.668, 8.76, 0.03, CL, BETWEEN, V, 0, 0, 0, 2861.07),
    -1000000000: (0.668, 8.76, 0.03, CL, BETWEEN, V, 0, 0, 0, 2861.07),
    -1000000001: (0.021, 0.41, 0.002, 0.019, 0.011, 0.029, 1e10, 1e10, 1e10, 0),
}
EXT = "\n".join(
    [
        "TABLE NO.     1: First Order Conditional Estimation with Interaction: Goal Function=MINIMUM VALUE OF OBJECTIVE FUNCTION",
        " ITERATION    " + "".join(f"{name:<13}" for name in (*COLUMNS, "OBJ")),
        *(f"{k:>13}" + "".join(f"{value:13.5E}" for value in row) for k, row in ROWS.items()),
    ]
)
COV = """TABLE NO.     1: First Order Conditional Estimation: Goal Function=MINIMUM VALUE OF OBJECTIVE FUNCTION: Problem=1
 NAME             THETA1       THETA2       SIGMA(1,1)   OMEGA(1,1)
 THETA1       1.00000E+00  0.00000E+00  0.00000E+00  0.00000E+00
 THETA2       0.00000E+00  1.00000E+00  0.00000E+00  0.00000E+00
 SIGMA(1,1)   0.00000E+00  0.00000E+00  1.00000E+00  0.00000E+00
 OMEGA(1,1)   0.00000E+00  0.00000E+00  0.00000E+00  1.00000E+00
TABLE NO.     2: Objective Function Evaluation by Importance Sampling: Goal Function=EXPECTED VALUE: Problem=1
 NAME             THETA1       THETA2       SIGMA(1,1)   OMEGA(1,1)
 THETA1       4.41000E-04  2.58300E-03  0.00000E+00  0.00000E+00
 THETA2       2.58300E-03  1.68100E-01  0.00000E+00  0.00000E+00
 SIGMA(1,1)   0.00000E+00  0.00000E+00  4.00000E-06  0.00000E+00
 OMEGA(1,1)   0.00000E+00  0.00000E+00  0.00000E+00  3.61000E-04
"""
CSV = f'"","eta.cl","eta.v"\n"eta.cl",{CL},{BETWEEN}\n"eta.v",{BETWEEN},{V}\n'
PRINTED = f"           eta.cl      eta.v\neta.cl {CL:.8f} {BETWEEN:.8f}\neta.v  {BETWEEN:.8f} {V:.8f}\n"
TRIANGLE = f",eta.cl,eta.v\neta.cl,{CL}\neta.v,{BETWEEN},{V}\n"


def file(folder, text, name="file.txt"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


LST = f"""
1
 ************************************************************************************************************************
 ********************                           FIRST ORDER CONDITIONAL ESTIMATION                   ********************
 ********************                             FINAL PARAMETER ESTIMATE                           ********************
 ************************************************************************************************************************

 THETA - VECTOR OF FIXED EFFECTS PARAMETERS   *********

         TH 1      TH 2

         6.68E-01  8.76E+00

 OMEGA - COV MATRIX FOR RANDOM EFFECTS - ETAS  ********

         ETA1      ETA2      ETA3

 ETA1
+        {CL:.6E}

 ETA2
+        {BETWEEN:.6E}  {V:.6E}

 ETA3
+       ......... .........  2.5E+00

 SIGMA - COV MATRIX FOR RANDOM EFFECTS - EPSILONS  ****

         EPS1

 EPS1
+        3.00E-02

1

 OMEGA - CORR MATRIX FOR RANDOM EFFECTS - ETAS  *******

         ETA1

 ETA1
+        4.01E-01
1
 ********************                            STANDARD ERROR OF ESTIMATE                          ********************

 OMEGA - COV MATRIX FOR RANDOM EFFECTS - ETAS  ********

         ETA1

 ETA1
+        1.90E-02
"""


def test_the_last_final_estimates_of_a_listing(tmp_path):
    """Printed as NONMEM 7 prints them: before them those of another method, behind them standard errors."""
    names, found = estimates.omega(file(tmp_path, LST.replace("2.5E+00", "9.0E+00") + LST, "run.lst"))
    assert names == ("ETA1", "ETA2", "ETA3")
    np.testing.assert_allclose(found[:2, :2], OMEGA, rtol=1e-6)
    np.testing.assert_allclose(found[2], [0, 0, 2.5])
    for old, new, said in (("FINAL PARAMETER", "INITIAL", "no OMEGA below"), (f"{V:.6E}", "", "no lower triangle"),
                           ("2.5E+00", "2.5E+0x", "row 3")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            estimates.omega(file(tmp_path, LST.replace(old, new), "wrong.lst"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (EXT, ("ETA1", "ETA2")),
        (CSV, ("eta.cl", "eta.v")),
        (PRINTED, ("eta.cl", "eta.v")),
        (TRIANGLE, ("eta.cl", "eta.v")),
    ],
    ids=["ext", "csv", "printed", "triangle"],
)
def test_an_omega_block_is_read(tmp_path, text, names):
    """Of the .ext file the last line of estimates counts, not the standard errors, and an effect that is fixed to 0 is none."""
    found, omega = estimates.omega(file(tmp_path, text))
    assert found == names
    np.testing.assert_allclose(omega, OMEGA, rtol=2e-5)


def test_a_covariance_of_estimates_is_that_of_the_last_table(tmp_path):
    names, whole = estimates.matrix(file(tmp_path, COV))
    np.testing.assert_allclose(
        estimates.chosen("", names, whole, ["THETA2", "THETA1"]), [[0.1681, 2.583e-3], [2.583e-3, 4.41e-4]]
    )
    assert estimates.thetas(file(tmp_path, EXT))["THETA2"] == 8.76


def test_what_a_calibration_writes_is_read(tmp_path):
    said = {"name": "x", "covariance_of_logarithms": {"names": ["a", "b"], "values": OMEGA.tolist()}}
    names, whole = estimates.matrix(file(tmp_path, json.dumps(said), "said.json"))
    assert names == ("a", "b")
    np.testing.assert_allclose(whole, OMEGA)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("eta.cl,eta.v\n", "a row for each of eta.cl, eta.v"),
        (CSV.replace('"eta.v",', '"eta.ka",', 1).replace('"eta.ka"\n', '"eta.v"\n'), "a row for each"),
        (PRINTED.replace(f"{V:.8f}", "NA"), "given 'NA'; needed: a finite number"),
        (CSV.replace(f"{V}", "-0.2"), "the variance of eta.v is negative"),
        (f",a,b\na,1,0.5\nb,0.2,{V}\n", "not symmetric"),
        (",a,b,c\na,1,2\nb,1,2,3\nc,1,2,3\n", "has 2 numbers; needed: 3 or 1"),
        (EXT.replace("-1000000000", "-1000000002"), "has no line -1000000000"),
        (re.sub(r"OMEGA", "OMEG", EXT), "has no OMEGA"),
    ],
)
def test_what_is_no_covariance_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=re.escape(words)):
        estimates.omega(file(tmp_path, text))


def test_names_that_are_not_there_have_the_nearest(tmp_path):
    with pytest.raises(
        InputError, match=r"no random effect 'eta.cll' in the file; it has: eta.cl, eta.v; did you mean 'eta.cl'"
    ):
        estimates.chosen("study.toml: omega.names", ("eta.cl", "eta.v"), OMEGA, ["eta.cll"])


def test_a_root_squares_to_its_covariance():
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    for whole in (OMEGA, singular):
        half = estimates.root("", whole)
        np.testing.assert_allclose(half @ half.T, whole, atol=1e-12)
    with pytest.raises(InputError, match="is no covariance"):
        estimates.root("", np.array([[1.0, 2.0], [2.0, 1.0]]))
