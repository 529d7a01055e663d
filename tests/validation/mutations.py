"""What happens to the tests when a mechanism is taken out of the code: each mutation must make one of them fail.

`.venv/bin/python tests/validation/mutations.py` tries them all (a quarter of an hour on two cores), in copies of the package, and
writes docs/mutations.md. `--list` only looks whether the texts of `mutations.toml` are there.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MUTATIONS = tomllib.loads((HERE / "mutations.toml").read_text(encoding="utf-8"))["mutation"]
SIGNATURES = "tests/validation/test_signatures.py"
TESTS = (
    f"{SIGNATURES}::test_signature",
    "tests/models/test_hazards.py",
    f"{SIGNATURES}::test_a_treatment_acts_where_it_should_and_nowhere_else",
    "tests/models/test_flagship_equations.py",
)
"""Tried in this order, the next only where the one before it passes."""

HEAD = """# Mechanisms taken out, one by one

Each line is a mechanism that was taken out of the code, how many tests then fail, and the first of them: a row of the
[signature matrix](signatures.md), or a test by its name. Made by `tests/validation/mutations.py`.

| mechanism | file | tests that fail | the first |
|---|---|---|---|
"""


def killers(package: Path, tests: str) -> list[str]:
    """Names of the tests of a file that fail."""
    env = {**os.environ, "PYTHONPATH": str(package.parent), "THROMBOJAX_CACHE": str(package.parent / "cache")}
    words = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow", tests]
    done = subprocess.run(words, cwd=ROOT / "tests", env=env, capture_output=True, text=True)
    said = done.stdout
    if done.returncode not in (0, 1):
        return ["does not run"]
    return re.findall(r"^FAILED \S+?::(.+?)(?: - .*)?$", said, re.MULTILINE) + re.findall(
        r"^ERROR (\S+)", said, re.MULTILINE
    )


def tried(mutation: dict[str, str]) -> list[str]:
    """The tests that fail without a mechanism, in a copy of the package."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "thrombojax"
        shutil.copytree(ROOT / "thrombojax", package)
        file = package / "models" / "feedback" / f"{mutation['file']}.py"
        file.write_text(file.read_text(encoding="utf-8").replace(mutation["old"], mutation["new"]), encoding="utf-8")
        return next((found for tests in TESTS if (found := killers(package, str(ROOT / tests)))), [])


def main() -> int:
    for mutation in MUTATIONS:
        text = (ROOT / "thrombojax" / "models" / "feedback" / f"{mutation['file']}.py").read_text(encoding="utf-8")
        assert mutation["old"] in text, (
            f"{mutation['mechanism']}: {mutation['file']}.py does not hold {mutation['old']!r}"
        )
    if "--list" in sys.argv:
        return 0
    lines, survivors = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, found in zip(MUTATIONS, pool.map(tried, MUTATIONS), strict=True):
            first = found[0].replace("test_signature[", "").strip("[]") if found else "none"
            lines.append(f"| {mutation['mechanism']} | `{mutation['file']}.py` | {len(found)} | {first} |")
            survivors += [] if found else [mutation["mechanism"]]
            print(lines[-1], flush=True)
    (ROOT / "docs" / "mutations.md").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main())
