"""The CUDA text itself: registers and spills against a budget where nvcc is, no headers, NVRTC where it is, bad constants."""

import functools
import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thrombojax as tj
from thrombojax.codegen import adjoint, emit_cuda, nvrtc, tangent
from thrombojax.codegen.program import build
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.policy import Policy
from thrombojax.dosing.timeline import Column
from thrombojax.drugs import names as drug_names
from thrombojax.models import registry
from thrombojax.patients.population import prepare
from thrombojax.solve import cuda
from thrombojax.solve.pieces import Clinic, Plan, Reduction
from thrombojax.solve.steppers import FixedSteps, method

ROMIPLOSTIM = ("romiplostim",)
ALL = ("eltrombopag", "romiplostim", "transfusion")
REDUCERS = ("peak", "nadir", "peak_day", "nadir_day", "mean", "auc")


def plan(model):
    columns = tuple(Column(key, key[0] == "romiplostim") for key in model.entries)
    reductions = tuple(Reduction(name, name, "platelets", ()) for name in REDUCERS)
    phases = tuple(model.breakpoints(model.defaults).after_dose)
    return Plan(columns, reductions, ("platelets",), phases, False, FixedSteps(0, method(model)))


def titrated(model, plan, of=build, smooth=0.0):
    """With doses that follow counts, by a rule as large as the label of romiplostim."""
    columns = tuple(c._replace(by="policy") for c in plan.columns)
    return of(model, plan._replace(columns=columns, clinic=Clinic(Policy(bands=4, stops=1, smooth=smooth))))


COURSE, BACK, TANGENT = build, adjoint.build, tangent.build
TITRATED, TITRATED_BACK = titrated, functools.partial(titrated, of=adjoint.build, smooth=0.1)


@functools.cache
def program(name, drugs=(), of=COURSE):
    model = registry.build(registry.Source(name), drugs)
    return of(model, plan(model))


@functools.cache
def shared(drugs):
    """Parameters that do not vary in the ITP cohort."""
    patients = tj.cohort("itp").sample(64)
    leaves = jax.tree.leaves(prepare(patients, registry.build(patients.source, drugs)).p)
    return frozenset(k for k, leaf in enumerate(leaves) if (leaf == leaf[0]).all())


# name: kernel, model, drugs, cohort's own parameters or every patient's own, precision, most registers, most bytes of spills
BUDGET = {
    "romiplostim, cohort, f32": (COURSE, "feedback", ROMIPLOSTIM, True, "f32", 255, 0),
    "romiplostim, all parameters, f32": (COURSE, "feedback", ROMIPLOSTIM, False, "f32", 255, 128),
    "romiplostim, cohort, f64": (COURSE, "feedback", ROMIPLOSTIM, True, "f64", 255, 2048),
    "all drugs, cohort, f32": (COURSE, "feedback", ALL, True, "f32", 255, 0),
    "all drugs, cohort, f64": (COURSE, "feedback", ALL, True, "f64", 255, 1024),
    "titrated: romiplostim, cohort, f32": (TITRATED, "feedback", ROMIPLOSTIM, True, "f32", 255, 0),
    "wang2010, all parameters, f32": (COURSE, "wang2010", (), False, "f32", 168, 0),
    "wang2010, all parameters, f64": (COURSE, "wang2010", (), False, "f64", 255, 1024),
    "petrov2024, all parameters, f32": (COURSE, "petrov2024", (), False, "f32", 96, 0),
    "farrell2014, all parameters, f32": (COURSE, "farrell2014", (), False, "f32", 96, 0),
    "shimizu2021, all parameters, f32": (COURSE, "shimizu2021", (), False, "f32", 255, 256),
    "zhu2025, all parameters, f32": (COURSE, "zhu2025", (), False, "f32", 128, 0),
    "back: romiplostim, cohort, f32": (BACK, "feedback", ROMIPLOSTIM, True, "f32", 255, 1280),
    "back: romiplostim, cohort, f64": (BACK, "feedback", ROMIPLOSTIM, True, "f64", 255, 8192),
    "back: all drugs, cohort, f32": (BACK, "feedback", ALL, True, "f32", 255, 1024),
    "back: wang2010, all parameters, f32": (BACK, "wang2010", (), False, "f32", 255, 640),
    "back, titrated: romiplostim, cohort, f32": (TITRATED_BACK, "feedback", ROMIPLOSTIM, True, "f32", 255, 3072),
    "tangent: romiplostim, cohort, f32": (TANGENT, "feedback", ROMIPLOSTIM, True, "f32", 255, 1408),
    "tangent: romiplostim, cohort, f64": (TANGENT, "feedback", ROMIPLOSTIM, True, "f64", 255, 8192),
    "tangent: wang2010, all parameters, f32": (TANGENT, "wang2010", (), False, "f32", 255, 384),
}


SINGLE = {f"{drug} alone, cohort, f32": (COURSE, "feedback", (drug,), True, "f32", 255, 0) for drug in drug_names()}
"""Studies of one drug hold without spills."""
QUICK = ("romiplostim, cohort, f32", "wang2010, all parameters, f32", "back: wang2010, all parameters, f32",
         "tangent: wang2010, all parameters, f32")  # fmt: skip


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in (*BUDGET, *SINGLE)]
)
def test_registers(name, tmp_path, record_property):
    of, model, drugs, cohort, precision, most, spilled = (BUDGET | SINGLE)[name]
    text = emit_cuda.source(program(model, drugs, of), precision, shared(drugs) if cohort else frozenset())
    source = tmp_path / "kernel.cu"
    source.write_text(text)
    flags = [f.replace("--disable-warnings", "-w") for f in nvrtc.FLAGS]
    command = [
        "nvcc",
        "-cubin",
        "-arch=sm_90",
        *flags,
        "-Xptxas",
        "-v",
        "-o",
        str(tmp_path / "kernel.cubin"),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kernel = "back" if name.startswith("back") else "course"
    part = done.stderr[done.stderr.index(f"'thrombojax_{kernel}'") :]
    registers = int(re.search(r"Used (\d+) registers", part)[1])
    spills = int(re.search(r"(\d+) bytes spill stores", part)[1])
    resident = int(re.search(r"#define RESIDENT (\d+)", text)[1])
    print(f"{name}: {registers} registers, {spills} bytes of spills, {resident} blocks of {emit_cuda.BLOCK}")
    record_property("registers", registers)
    record_property("spills", spills)
    assert registers <= most
    assert spills <= spilled


@pytest.mark.parametrize("of", [COURSE, BACK, TANGENT], ids=["course", "back", "tangent"])
def test_no_headers(of):
    """NVRTC has none, and nothing is left to print."""
    for precision in ("f32", "f64"):
        text = emit_cuda.source(program("feedback", ALL, of), precision)
        assert "#include" not in text
        assert not re.search(r"@\w+@", text)
        assert not re.search(r"\bu?int\d+_t\b|\bNAN\b|\bINFINITY\b", text)


def test_nvrtc_compiles_it():
    """Without a GPU too."""
    found = nvrtc.candidates()
    if not found:
        pytest.skip("NVRTC is not installed")
    cubin = nvrtc.Nvrtc(found[0]).compile(emit_cuda.source(program("wang2010"), "f32"), 90)
    assert cubin.startswith(b"\x7fELF")


@pytest.mark.parametrize(("constant", "precision"), [(np.inf, "f64"), (np.nan, "f32"), (1e39, "f32")])
def test_a_constant_that_is_not_finite(constant, precision):
    model = registry.build(registry.Source("wang2010"))

    def rhs(t, y, p, u):
        d = model.rhs(t, y, p, u)
        leaves, tree = jax.tree.flatten(d)
        return jax.tree.unflatten(tree, [jnp.where(y[0] < -1e9, constant, leaves[0]), *leaves[1:]])

    broken = type(model)(**{**vars(model), "rhs": rhs})
    with pytest.raises(CannotTranslate, match=rf"constant .* equations is not a finite number in {precision}"):
        cuda.kernel(broken, plan(broken), precision)
    if constant == 1e39:
        cuda.kernel(broken, plan(broken), "f64")
