"""The pages keep up with the tree: their studies are valid, their sentences parse, their links and filled blocks are there."""

import importlib.util
import re
from pathlib import Path

import pytest

import thrombojax as tj
from thrombojax.models import registry
from thrombojax.study import catalogue, plan, schema

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def text(page):
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(page)):
        assert (page.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_into_a_page_name_one_of_its_headings(page):
    for target, heading in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", text(page)):
        heads = re.findall(r"^#+ (.*)$", text(page.parent / target if target else page), re.MULTILINE)
        assert heading in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_left_unfilled(page):
    """`docs/fill.py` fills them."""
    for name, filled in re.findall(r"<!-- (?!end)(\w+) -->\n(.*?)<!-- end -->", text(page), re.DOTALL):
        assert filled.strip(), name


SHOWN = (
    "published",
    "blocks",
    "structs",
    "functions",
    "model",
    "study",
    "kpd_structs",
    "kpd_functions",
    "kpd_model",
    "kpd_study",
)
"""Blocks of `docs/fill.py` that show what is in the tree, and need no run."""


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_page_shows_of_the_tree_is_what_it_is_now(name):
    spec = importlib.util.spec_from_file_location("docs_fill", ROOT / "docs" / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    shown = [
        m[1] for page in PAGES for m in re.finditer(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", text(page), re.DOTALL)
    ]
    assert shown
    assert set(shown) == {fill.BLOCKS[name]()}, f"run docs/fill.py {name}"


def test_the_study_in_the_reference_is_valid():
    blocks = [block for block in re.findall(r"```toml\n(.*?)```", text(ROOT / "docs" / "study-files.md"), re.DOTALL)]
    whole = [block for block in blocks if block.startswith("schema = 1")]
    assert whole
    for block in whole:
        study = schema.parse(block)
        assert catalogue.check_against(study, plan.catalogue(registry.Source())) == []


def test_the_sentences_of_the_reference_parse():
    part = text(ROOT / "docs" / "study-files.md").partition("## Regimen sentences")[2]
    sentences = re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)
    assert len(sentences) > 5
    for sentence in sentences:
        assert tj.regimen(str(tj.regimen(sentence))) == tj.regimen(sentence)


def test_every_key_of_a_study_is_in_the_reference():
    page = text(ROOT / "docs" / "study-files.md")
    for name, section in {**schema.TABLES, **schema.LISTS}.items():
        part = re.split(
            r"^###? ", page.partition(f"`[{name}]`" if name in schema.TABLES else f"`[[{name}]]`")[2], flags=re.M
        )[0]
        for key in schema.keys(section):
            assert f"`{key}`" in part, f"{name}.{key}"
