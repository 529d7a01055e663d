"""What happens to the tests when a mechanism is taken out of the code: each mutation must make one of them fail.

`.venv/bin/python tests/validation/mutations.py` tries them all (about 20 minutes on one core), in a copy of the package, and
writes docs/mutations.md. `--list` only looks whether the texts of `mutations.toml` are there.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MUTATIONS = tomllib.loads((HERE / "mutations.toml").read_text(encoding="utf-8"))["mutation"]
TESTS = (
    "tests/validation/test_signatures.py",
    "tests/models/test_hazards.py",
    "tests/models/test_flagship_equations.py",
)
"""Tried in this order, the next only where the one before it passes."""


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


def main() -> int:
    lines, survivors = [], []
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "thrombojax"
        shutil.copytree(ROOT / "thrombojax", package)
        for mechanism, name, old, new in (mutation.values() for mutation in MUTATIONS):
            file = package / "models" / "feedback" / f"{name}.py"
            text = file.read_text(encoding="utf-8")
            assert old in text, f"{mechanism}: {name}.py does not hold {old!r}"
            if "--list" in sys.argv:
                continue
            file.write_text(text.replace(old, new), encoding="utf-8")
            found: list[str] = []
            for tests in TESTS:
                found = killers(package, str(ROOT / tests))
                if found:
                    break
            file.write_text(text, encoding="utf-8")
            first = found[0].replace("test_signature[", "[").strip("[]") if found else "NONE"
            lines.append(f"| {mechanism} | `{name}.py` | {len(found)} | {first} |")
            survivors += [] if found else [mechanism]
            print(lines[-1], flush=True)
    if lines:
        head = (
            "# Mechanisms taken out, one by one\n\nEach line is a mechanism that was taken out of the code, how many tests then "
            "fail, and the first of them: a row of\nthe [signature matrix](signatures.md), or a test by its name. Made by "
            "`tests/validation/mutations.py`.\n\n| mechanism | file | tests that fail | the first |\n|---|---|---|---|\n"
        )
        (ROOT / "docs" / "mutations.md").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main())
