"""What README and docs show is run, what they name exists, and every page can be reached."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from page_blocks import blocks_of, run_page
from PIL import Image
from skimage import data as photographs

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.settings import registry, spec

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def runs(path: Path, *, slow: bool) -> bool:
    """True if a page has blocks to run; with `slow`, if it has some that only slow tests run."""
    blocks = [block for block in blocks_of(text_of(path)) if "notest" not in block.words]
    ran = [block for block in blocks if block.language == "python" or "run" in block.words]
    return any("slow" in block.words or not slow for block in ran)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the photos that pages speak of."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # what a page registers is gone after it
    registered = {kind: dict(targets) for kind, targets in registry._REGISTERED.items()}
    monkeypatch.setattr(registry, "_REGISTERED", registered)
    (tmp_path / "photos").mkdir()
    for name, photo in (("cat", photographs.chelsea()), ("coffee", photographs.coffee())):
        Image.fromarray(photo).resize((300, 200)).save(tmp_path / "photos" / f"{name}.jpg")
    Image.fromarray(photographs.chelsea()).save(tmp_path / "photo.jpg")
    return tmp_path


FIRST_PAGES = ("README.md", "docs/start/first_minute.md")


def pages_with_blocks(*, slow: bool) -> list[Any]:
    """Pages whose blocks run; all but a newcomer's first ones run with the slow tests."""
    return [
        pytest.param(
            path,
            id=name_of(path),
            marks=[] if name_of(path) in FIRST_PAGES else [pytest.mark.slow],
        )
        for path in PAGES
        if runs(path, slow=slow)
    ]


@pytest.mark.parametrize("path", pages_with_blocks(slow=False))
def test_blocks_of_a_page_run_and_print_what_it_says(path, folder):
    assert list(run_page(path, folder, slow=False))


@pytest.mark.slow
@pytest.mark.parametrize("path", pages_with_blocks(slow=True))
def test_slow_blocks_of_a_page_run_too(path, folder):
    pytest.importorskip("accelerate")
    assert list(run_page(path, folder, slow=True))


def test_a_block_that_prints_something_else_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 2 prints\n1\n\nand not\n2"):
        list(run_page(page, tmp_path, slow=False))


def test_the_step_of_contributing_works_from_its_spec(tmp_path, monkeypatch):
    """All classes of the page pass the battery when the page is run; this one has its text too."""
    code = next(
        block.code
        for block in blocks_of(text_of(ROOT / "CONTRIBUTING.md"))
        if block.language == "python" and "class Largest" in block.code
    )
    (tmp_path / "largest_example.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._REGISTERED["step"], "largest", "largest_example:Largest")
    step = registry.build("step", "largest(2)")
    regions = Regions.from_labels(torch.tensor([[0, 1, 1], [2, 2, 2]]))
    frame = Frame.stretch((2, 3), (2, 3), (1, 1))
    largest = step.one(regions, PatchGrid(torch.zeros(2, 3, 1), frame))
    assert largest.sizes.tolist() == [2, 3]
    assert registry.render(step) == "largest(2)"
    with pytest.raises(spec.SpecError, match="needs at least one region, got k=0"):
        registry.build("step", "largest(0)")
    sys.modules.pop("largest_example", None)


# Command lines


@cache
def program() -> Any:
    import typer

    from regiontok.cli.app import app

    return typer.main.get_command(app)


def command_lines(path: Path) -> list[str]:
    """The lines of a page's bash blocks, without comments, continuations joined."""
    lines = []
    for block in blocks_of(text_of(path)):
        if block.language == "bash":
            lines += block.code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def arguments_of(line: str) -> list[str] | None:
    """What is behind `regiontok` in a line of a shell; None if the line runs something else."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;")
    lexer.whitespace_split = True
    words = list(lexer)
    for start, word in enumerate(words):
        if word == "regiontok" or words[start - 1 : start + 1] == ["-m", "regiontok.cli.app"]:
            rest = words[start + 1 :]
            end = next((i for i, word in enumerate(rest) if set(word) <= set("|<>&;")), len(rest))
            return rest[:end]
    return None


def parse(arguments: list[str]) -> None:
    """Parse a command line with the real program, and run nothing.

    Raises:
        Exception: What Typer raises for an unknown command or option, or a missing argument.
    """
    command, name = program(), "regiontok"
    context = command.context_class(command, info_name=name)
    while hasattr(command, "commands"):
        parsed = command.make_context(name, list(arguments), resilient_parsing=True)
        rest = [*getattr(parsed, "_protected_args", []), *parsed.args]
        name, command, arguments = command.resolve_command(context, rest)
        assert command is not None, f"no command {name}"
    command.make_context(name, list(arguments))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_command_lines_can_be_parsed(path, monkeypatch):
    # a page names devices that this machine need not have
    monkeypatch.setattr("regiontok.system.devices.resolve_device", lambda name: name)
    for line in command_lines(path):
        arguments = arguments_of(line)
        if arguments is not None:
            try:
                parse(arguments)
            except Exception as error:
                pytest.fail(f"{name_of(path)}: {line.strip()}\n{error}")


@pytest.mark.parametrize(
    "line",
    [
        "regiontok tokenise photo.jpg",
        "regiontok tokenize photo.jpg --regoins patches",
        "regiontok tokenize",
        "regiontok masks verify store --deep",
        "regiontok train a --keep no",
    ],
)
def test_a_command_line_that_does_not_exist_is_found(line):
    with pytest.raises(Exception):  # noqa: B017 - Typer's own classes have moved between versions
        parse(arguments_of(line))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_other_commands_run_files_and_targets_that_exist(path):
    targets = set(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for line in command_lines(path):
        for script in re.findall(r"python ((?:bench|examples|docs|tests)/[\w/.]+)", line):
            assert (ROOT / script).is_file(), f"{name_of(path)}: {line}"
        for target in re.findall(r"^make ([\w-]+)", line):
            assert target in targets, f"{name_of(path)}: {line}"


# Links and mentions


@cache
def generated() -> set[str]:
    """Pages of the site that are no files."""
    from site_hooks import generated_pages

    return set(generated_pages())


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text_of(path)):
        linked = (path.parent / target).resolve()
        made = linked.is_relative_to(DOCS) and linked.relative_to(DOCS).as_posix() in generated()
        assert linked.exists() or made, f"{name_of(path)} links to {target}"


MENTION = r"\b((?:docs|tests|bench)/[\w/-]+\.(?:md|py|webp))\b"


def test_pages_and_tests_that_files_mention_exist():
    """A docstring, an error message or a comment sends nobody to a page that was moved."""
    folders = [ROOT / folder for folder in ("src", "tests", "bench", "examples", "docs")]
    files = [path for each in folders for path in each.rglob("*") if path.suffix in (".py", ".md")]
    for path in [*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        if path == Path(__file__):
            continue
        for mention in re.findall(MENTION, text_of(path)):
            shown = mention in ("tests/steps/test_largest.py",)  # CONTRIBUTING's example
            assert shown or (ROOT / mention).exists(), f"{name_of(path)} mentions {mention}"


def navigation(entries: Any) -> list[str]:
    """All paths in a (part of a) navigation."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [path for entry in values for path in navigation(entry)]


def test_every_page_stands_in_the_navigation():
    from site_hooks import on_config

    settings = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))
    listed = navigation(on_config(SimpleNamespace(nav=settings["nav"])).nav)
    assert len(listed) == len(set(listed))
    files = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(listed) == files | generated()


def test_prose_is_wrapped():
    for path in PAGES:
        if path.name == "encoders.md":  # written by a command
            continue
        inside = False
        for number, line in enumerate(text_of(path).splitlines(), 1):
            inside ^= line.lstrip().startswith("```")
            if not inside and not line.lstrip().startswith(("|", "![", "```", "#")):
                assert len(line) <= 100, f"{name_of(path)}, line {number} has {len(line)} columns"


def test_specs_in_the_docs_can_be_built():
    text = "\n".join(map(text_of, PAGES)).replace("\\|", "|")
    specs = set(re.findall(r"`((?:segments|merge|windows)\([^`]*\))`", text))
    specs |= set(re.findall(r'--regions "([^"]+)"', text))
    assert len(specs) >= 6
    for text in specs - {"merge(0.5) | largest(20)"}:
        registry.build_pipeline("step", text.replace("{k}", "64"))  # the viewer's slider


def test_recipes_and_plans_in_the_docs_load(tmp_path):
    from regiontok.jobs.study.plan import load_plan
    from regiontok.settings.recipe import load_recipe

    loaded, plans = [], []
    for path in PAGES:
        for block in blocks_of(text_of(path)):
            table = tomllib.loads(block.code) if block.language == "toml" else {}
            if "what" not in table:
                continue
            (tmp_path / "own.toml").write_text(block.code, encoding="utf-8")
            if "finding" in table:
                plans.append(load_plan(tmp_path / "own.toml"))
            else:
                loaded.append(load_recipe(tmp_path / "own.toml"))
    assert [len(plan.setting) for plan in plans] == [3]
    assert [stage.name for recipe in loaded for stage in recipe.stage] == ["align", "colour"]


def test_every_method_has_its_paragraph():
    text = text_of(DOCS / "papers" / "methods.md")
    for kind in ("encoder", "segmenter", "transform", "step", "pool", "place", "connector"):
        for name in registry.names(kind):
            assert re.search(rf"^###.*`{name}`", text, re.MULTILINE), (
                f"docs/papers/methods.md has no paragraph on the {kind} {name}"
            )


# What the site writes from the package


def test_the_page_of_the_command_line_has_every_command_and_option():
    from command_line_page import page

    text = page()
    for command in ("tokenize", "masks build", "masks verify", "train", "chat"):
        assert f"## regiontok {command} " in text
    assert "| `--regions STR` |" in text
    assert re.search(r"\| `--out PATH` \| [^|]+ \| `run` \|", text)
    assert 'regiontok tokenize photos/ --regions patches --regions "merge(k=64)' in text


def test_the_pages_of_the_interface_have_every_room_and_public_name():
    from api_pages import pages

    import regiontok

    made = pages()
    for name in set(regiontok.__all__) - {"__version__"}:
        assert f"| [`{name}`](api/" in made["reference/index.md"]
    assert "::: regiontok.steps.merge" in made["reference/api/steps.md"]
    assert "::: regiontok.steps._tiling" not in made["reference/api/steps.md"]


@pytest.mark.slow
def test_the_pages_of_the_recipes_have_every_recipe():
    from recipe_pages import pages

    from regiontok.settings.shipped import shipped_recipes

    made = pages()
    for name, path in shipped_recipes().items():
        folder, _, own = name.partition("/")
        assert f"### {own} " in made[f"reference/recipes/{folder}.md"]
        assert f'??? example "{path.name}"' in made[f"reference/recipes/{folder}.md"]


def test_links_between_files_become_links_between_pages():
    from site_hooks import with_links

    text = "[plan](docs/concepts/design.md#floors), [code](src/x.py), [out](https://x.org)"
    wanted = "[plan](../concepts/design.md#floors), code, [out](https://x.org)"
    assert with_links(text, "", "about/contributing.md") == wanted
    assert with_links("[to](../../CONTRIBUTING.md)", "docs/how-to", "how-to/a.md") == (
        "[to](../about/contributing.md)"
    )


def test_docstrings_become_markdown():
    from readable_docstrings import as_markdown

    text = "Line.\n\nAfter: a paper.\nDiffers: b.\n\n>>> f(1)\n2\n\nExample::\n\n    x = 1"
    assert as_markdown(text) == (
        "Line.\n\n\n**After:** a paper.\n\n**Differs:** b.\n\n```pycon\n>>> f(1)\n2\n```\n\n"
        "Example:\n\n    x = 1"
    )
