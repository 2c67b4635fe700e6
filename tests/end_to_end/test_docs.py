"""The documentation agrees with the package: links, code blocks, commands, settings and messages.

What is in a fence is tried: bash and Python are run (those of the guides by `test_guides.py`), settings are
validated. Of `Colouriser` no weights come with the package; one that was not trained serves. Of indented
lines `astro-dist ...` is parsed, and of `python -m tests...` and `python jobs/...` the program and its
options are looked up, since they measure for minutes or need a run. Left alone are lines of other programs:
pip, apt-get, ray, apptainer, sbatch.
"""

import ast
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from astro_dist import pipelines
from astro_dist.cli import build_parser
from astro_dist.engine.config import load_yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "generated" not in path.parts)
TOP = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "slurm/README.md")
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def with_blocks(language, pages=PAGES):
    return [
        pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages if blocks(page, language)
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The generated pages."""
    sys.path.insert(0, str(DOCS))
    try:
        from pages import write_pages
    finally:
        sys.path.remove(str(DOCS))
    made = tmp_path_factory.mktemp("generated")
    write_pages(made)
    return made


def anchors(page):
    """Return the names of the places in a page, as GitHub and MyST make them from headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    made = {re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r"^\(([\w-]+)\)=$", text, re.M))


def links(page):
    text = BLOCK.sub("", page.read_text())
    found = re.findall(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", [*TOP, *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page, site):
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if DOCS / "generated" in target.parents:
            target = site / target.relative_to(DOCS / "generated")
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_link_of_the_generated_pages_leads_somewhere(site):
    pages = sorted(site.rglob("*.md"))
    names = {stage.name for name in pipelines.PIPELINES for stage in pipelines.load(name).stages}
    assert names <= {page.stem for page in pages}
    for page in pages:
        for link in links(page):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve()
            if not target.is_relative_to(site):
                target = (DOCS / "generated" / page.relative_to(site).parent / path).resolve()
            assert target.exists(), (page.name, link)
            assert not anchor or anchor in anchors(target), (page.name, link)


WEIGHTS = ROOT / "astro_dist" / "weights"
SMALL = {
    'Model.from_pretrained("RUN/models/unidiffuser")': 'Model.from_pretrained("flare", steps=2)',
    "RUN/models/unidiffuser": str(WEIGHTS / "flare" / "unidiffuser"),
    "num_samples=4": "num_samples=1",
    "num_samples=2": "num_samples=1",
    "samples=8": "samples=1",
}
"""Weights of the package in the place of those of a run, and less of everything."""


@pytest.mark.parametrize("page", [DOCS / "flare.md", DOCS / "enhance.md"], ids=lambda page: page.stem)
def test_every_program_with_weights_runs(page, tmp_path):
    # The import of torch takes seconds, which no other test of this file needs.
    from astro_dist.models.colouriser import ColourUNet

    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8))
    ColourUNet(4, 2).save_pretrained(tmp_path / "models" / "colourise")
    for text in blocks(page, "python"):
        for name, path in SMALL.items():
            text = text.replace(name, path)
        text = text.replace('"RUN"', f'"{tmp_path}"')
        names = {"picture": picture, "image": picture, "grey": picture.convert("L")}
        exec(compile(text, str(page), "exec"), names)
        made = names.keys() & {"large", "cleaned", "coloured", "pipe", "pictures", "variants"}
        assert made
        assert all(names[name] is not None for name in made)


@pytest.mark.parametrize("page", [*TOP, *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_program_of_the_clone_is_there_with_its_options(page):
    for line in re.findall(r"python (-m tests\.[^`\n]*|jobs/[^`\n]*|slurm/[^`\n]*)", page.read_text()):
        words = line.split("  ")[0].split()
        if "X" in words[1]:
            continue
        path = words[1].rstrip(".,;:)").replace(".", "/") + ".py" if words[0] == "-m" else words[0]
        assert (ROOT / path).is_file(), line
        for option in (word for word in words if re.fullmatch(r"--[a-z][a-z-]*", word)):
            assert f'"{option}"' in (ROOT / path).read_text(), line


@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_every_setting_of_the_pages_exists(page, tmp_path):
    # A block without its pipeline is of that of its page.
    default = page.stem if page.stem in pipelines.PIPELINES else pipelines.DEFAULT
    for text in "---\n".join(blocks(page, "yaml")).split("---\n"):
        path = tmp_path / "guide.yaml"
        path.write_text(text)
        tree = load_yaml(path)
        assert pipelines.load(tree.get("pipeline", default)).config.model_validate(tree)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_every_name_of_the_programs_is_there(page):
    """Programs that name networks nobody has trained here are not run: their syntax and imports are tried."""
    for text in blocks(page, "python"):
        imported = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imported, []), str(page), "exec"), {})


def test_every_block_is_of_a_language_that_is_tried():
    assert {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())} == {
        "bash",
        "python",
        "yaml",
    }


@pytest.mark.parametrize("page", [*PAGES, ROOT / "slurm" / "README.md"], ids=lambda page: page.stem)
def test_every_command_in_the_text_parses(page):
    shown = re.findall(r"`(astro-dist [a-z][^`\n\[]*)`", page.read_text())
    shown += re.findall(r"^    (astro-dist .+)$", page.read_text(), re.M)
    for line in shown:
        words = shlex.split(line.split("  ")[0].partition(" #")[0])[1:]
        # A command without its arguments is only spoken of; brackets hold what may be left out.
        if len(words) > 1 and "[" not in line:
            build_parser().parse_args(words)


def test_every_message_is_one_of_the_package():
    """The words of a message outside of its dots and numbers stand in the source."""
    source = "".join(path.read_text() for path in (ROOT / "astro_dist").rglob("*.py"))
    # A message may be broken over lines of the source; only its pieces are looked for.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    heads = re.findall(r"^`(.+)`\n: ", (DOCS / "reference" / "messages.md").read_text(), re.M)
    assert len(heads) > 12
    for head in heads:
        for message in head.split("`, `"):
            for piece in re.split(r"\.\.\.|'[^']*'", message):
                words = piece.strip(" ,:;")
                assert words in source, words
