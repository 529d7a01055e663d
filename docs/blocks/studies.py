"""What the shipped studies print: first sweep, fits, optimisation, populations, sensitivity."""

import functools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from blocks.said import DOCS, ROOT, code, command, fenced

DEMO = "sweeps/itp-romiplostim-dose-response.toml"
FIT = "sweeps/itp-romiplostim-fit.toml"
POPULATION = "sweeps/cld-procedure-virtual-population.toml"
POPULATION_ITP = "sweeps/itp-virtual-population.toml"
RESPONSE = "sweeps/itp-response-sensitivity.toml"
FIGURE = DOCS / "figures" / "itp-response-sensitivity.png"
RULE = "sweeps/itp-romiplostim-rule.toml"
CALIBRATION = "sweeps/calibration/flagship.toml"


def demo() -> str:
    """What `make demo` prints of its run."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("run", DEMO, "-o", f"{folder}/demo.h5")
        return fenced(said.replace(f"{folder}/demo.h5", "out/itp-romiplostim-dose-response.h5"))


def check() -> str:
    return fenced(f"$ thrombojax check {DEMO}\n{command('check', DEMO)}")


def snippet() -> str:
    """What the README's Python prints."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return fenced(code(found[1]))


def fitted() -> str:
    """What `thrombojax fit` prints, but for the time."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("fit", FIT, "-o", f"{folder}/fit.h5")
        return fenced(said.replace(f"{folder}/fit.h5", "out/fit.h5").partition("\n\nfitted in")[0])


def calibrated() -> str:
    """What `thrombojax calibrate` prints of the flagship."""
    with tempfile.TemporaryDirectory() as folder:
        return fenced(command("calibrate", CALIBRATION, "-o", f"{folder}/3.toml"))


def optimised() -> str:
    """What `thrombojax optimise` prints of the titration rule, but for the time."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("optimise", RULE, "-o", f"{folder}/rule.h5")
        return fenced(said.replace(f"{folder}/rule.h5", "out/rule.h5").partition("\n\noptimised in")[0])


def combined() -> str:
    """What it prints of PF4, romiplostim and SDF-1 around chemotherapy, but for the time."""
    return _optimised("chemotherapy-combination-schedule")


def individual() -> str:
    """What it prints of plans of patients' own, but for the time."""
    return _optimised("itp-romiplostim-individual")


def _optimised(study: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.h5"
        said = command("optimise", f"sweeps/{study}.toml", "-o", out)
        return fenced(said.replace(out, f"out/{study}.h5").partition("\n\noptimised in")[0])


@functools.cache
def _populations() -> tuple[str, str]:
    """What `thrombojax population` prints of the liver study, and `thrombojax run` of the example that takes its patients."""
    with tempfile.TemporaryDirectory() as folder:
        picture = DOCS / "figures" / "virtual-population.png"
        made = command("population", POPULATION, "-o", f"{folder}/cld.h5", "--figure", str(picture))
        made = made.replace(f"{folder}/", "out/")
        shutil.copy(DOCS / "examples" / "cld-doses.toml", folder)
        used = command("run", f"{folder}/cld-doses.toml", "-o", f"{folder}/doses.h5").replace(f"{folder}/", "out/")
    return fenced(made), fenced(used)


def unmet() -> str:
    """What `thrombojax population` says of a target that it cannot meet."""
    with tempfile.TemporaryDirectory() as folder:
        text = (ROOT / POPULATION).read_text(encoding="utf-8")
        wide = text.replace("mean = 0.56\n", 'mean = 0.56\nsd = 0.39\ndistribution = "log-normal"\n')
        assert wide != text
        (Path(folder) / "study.toml").write_text(wide, encoding="utf-8")
        words = ("population", f"{folder}/study.toml", "-o", f"{folder}/cld.h5", "--audit", "0")
        done = subprocess.run([sys.executable, "-m", "thrombojax", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    return fenced(
        "\n".join(line for line in done.stderr.replace(f"{folder}/", "").splitlines() if "patients/s" not in line)
    )


def populated() -> str:
    return _populations()[0]


def populated_itp() -> str:
    """What `thrombojax population` says of the targets of the study in ITP, and of its arms at the end."""
    with tempfile.TemporaryDirectory() as folder:
        made = command("population", POPULATION_ITP, "-o", f"{folder}/itp.h5").replace(f"{folder}/", "out/")
    arms, said = made.split("\n\nDifference from placebo")[0], made[made.index("\nplausible: ") + 1 :]
    return fenced(f"{arms}\n\n{said}")


def nested() -> str:
    return _populations()[1]


@functools.cache
def _indices() -> str:
    """What `thrombojax sensitivity` prints of the response to romiplostim."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("sensitivity", RESPONSE, "-o", f"{folder}/s.h5", "--figure", str(FIGURE))
        return re.sub(r"results: .* \(in .*\)", "results: out/itp-response.h5", said)


def sensitive() -> str:
    """What the page shows of that: how it was done, indices of two endpoints, and the bounds."""
    parts = _indices().strip().split("\n\n")
    shown = ("mean_count, arm 'romiplostim' (", "time_above_50, arm 'romiplostim' (", "bounds by derivatives")
    chosen = [*parts[:2], *(part for part in parts[2:] if part.startswith(shown))]
    return f"{fenced(chr(10).join(chr(10) + part for part in chosen))}\n\n![indices](figures/{FIGURE.name})"


def own_function() -> str:
    """What the page's example of `sobol` prints."""
    page = (DOCS / "how-to-sensitivity.md").read_text(encoding="utf-8")
    example = page[page.index("from thrombojax.sensitivity import Distribution") :].partition("```")[0]
    return fenced(code(f"import thrombojax as tj\n{example}"))


BLOCKS = (
    demo,
    check,
    snippet,
    fitted,
    calibrated,
    optimised,
    combined,
    individual,
    populated,
    populated_itp,
    nested,
    unmet,
    sensitive,
    own_function,
)
