"""Fills the marked blocks of README.md and docs/*.md with what this tree prints: `.venv/bin/python docs/fill.py [NAME ...]`.

A block stands between `<!-- NAME -->` and `<!-- end -->`; `docs/blocks/` has a function of that name for each. All of them take
three quarters of an hour on two cores; the figure of the README is made by `make figures`.
"""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT / "tests" / "models")]

from blocks import howto, literature, models, records, studies  # noqa: E402

BLOCKS = {make.__name__: make for part in (models, studies, howto, literature, records) for make in part.BLOCKS}


def main() -> None:
    files = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
    for name in sys.argv[1:] or BLOCKS:
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        holding = [file for file in files if block.search(file.read_text(encoding="utf-8"))]
        assert holding, f"no file has a block {name}"
        made = BLOCKS[name]()
        for file in holding:
            text = file.read_text(encoding="utf-8")
            file.write_text(block.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
