"""docs/reference/ is what the simulator's data say today (`docs/pages.py` writes it), and every shipped study is valid."""

from pathlib import Path

import pytest

from thrombojax.report import pages
from thrombojax.sensitivity import problem
from thrombojax.study import plan, schema

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
NAMES = [(kind, name) for kind in ("mechanisms", "cohorts", "drugs") for name in pages.names(kind)]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=lambda word: word)
def test_a_page_is_up_to_date(kind, name):
    text = (REFERENCE / kind / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(pages.page(kind, name)), "run docs/pages.py"
    assert "From the simulator" in text
    assert (REFERENCE / kind / f"{name}.png").exists()


def test_no_page_is_left_over():
    found = {(page.parent.name, page.stem) for page in REFERENCE.glob("*/*.md")}
    assert found == set(NAMES)


@pytest.mark.parametrize("study", sorted((ROOT / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_study_is_valid(study):
    found = schema.load(study)
    assert found.head.question
    assert found.head.name == study.stem
    if found.sensitivity is None:
        assert plan.make(found).cells
    else:
        assert problem.problem(found).space.factors
