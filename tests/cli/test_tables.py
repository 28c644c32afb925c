"""Tables on a terminal hold every result."""

from __future__ import annotations

import subprocess
import sys

import pytest

from regiontok.cli.tables import (
    encoder_table,
    finding_tables,
    frontier_table,
    set_aside_tables,
    tokenize_tables,
    verdict_table,
)
from regiontok.cli.terminal import print_tables
from regiontok.jobs.check.machine import Finding
from regiontok.jobs.check.slices import SLICES
from regiontok.jobs.check.weights import Verdict
from regiontok.jobs.ls import encoder_rows
from regiontok.tokenizer.clock import STAGES


@pytest.fixture
def printed(capsys):
    """The function that prints tables as commands do, and returns the text."""

    def text_of(tables):
        print_tables(tables)
        return capsys.readouterr().out

    return text_of


def report(name, grid=(4, 8, 8)):
    """What `tokenize` reports of one image or clip."""
    ms = dict.fromkeys(STAGES, 1.0)
    entry = {"spec": "merge(k=3)", "regions": 3, "tokens": 3, "kept": 0.01, "ms": ms}
    return {
        "name": name,
        "size": [64, 96],
        "grid": list(grid),
        "patches": 256,
        "settings": [entry],
    }


def test_a_clip_is_titled_as_an_image_is():
    (table,) = tokenize_tables([report("walk")])
    assert table.title == "walk: 96 × 64 px, grid 4 × 8 × 8, 256 patches"


def test_a_name_is_no_markup_and_moves_no_cursor(printed):
    text = printed(tokenize_tables([report("[bold]x[/y]\x1b[2J\n\udce9.png")]))
    assert text.startswith("[bold]x[/y]\\x1b[2J\\n\\xe9.png: 96 × 64 px")


def test_many_images_are_summed_up_in_one_table():
    assert len(list(tokenize_tables([report(str(n)) for n in range(12)]))) == 12
    (table,) = tokenize_tables([report(str(n)) for n in range(13)])
    assert (table.title, table.row_count) == ("13 images: means; median ms", 1)
    assert list(tokenize_tables([])) == []


def test_images_that_were_set_aside_have_their_reasons(printed):
    assert list(set_aside_tables([])) == []
    text = printed(set_aside_tables([{"image": "a[0].png", "error": "a[/0].png: empty"}]))
    assert "set aside: 1" in text
    assert "a[/0].png: empty" in text
    text = printed(set_aside_tables([{"image": "a.png", "error": "no regions"}]))
    assert "a.png: no regions" in text


def test_a_missing_covering_and_an_inexact_budget_are_marked():
    numbers = {"explained": 0.5, "covering": None, "ms": 1.0, "encode_ms": 2.0, "images": 2}
    table = frontier_table(
        [
            {"source": "merge", "budget": 4, "tokens": 4.0, "exact": True, **numbers},
            {"source": "merge", "budget": 8, "tokens": 7.5, "exact": False, **numbers},
            {"source": "segments", "budget": None, "tokens": 6.0, "exact": False, **numbers},
        ]
    )
    source, budget, tokens, _, covering, *_ = (list(column.cells) for column in table.columns)
    assert source == ["merge", "", "segments"]
    assert budget == ["4", "8", "free"]
    assert tokens == ["4", "7.5 *", "6"]
    assert covering == ["-", "-", "-"]


def test_encoders_have_grid_width_and_tokens(printed):
    text = printed([encoder_table(encoder_rows(), "cache")])
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert lines["clip-l14-336"].split()[1:4] == ["24×24", "1024", "577"]
    assert "transformers('openai/clip-vit-large-patch14-336')" in lines["clip-l14-336"]
    assert lines["radio-l-384"].split()[1:4] == ["24×24", "1024", "576+"]
    assert lines["lite"].split()[4] == "yes"
    assert "photo's" in lines["siglip2-so400m-naflex"]


def test_the_table_of_encoders_loads_nothing_heavy():
    code = (
        "from regiontok.cli.tables import encoder_table\n"
        "from regiontok.jobs.ls import encoder_rows\n"
        "import sys\n"
        "encoder_table(encoder_rows(), '')\n"
        "heavy = {'torch', 'transformers', 'timm', 'huggingface_hub', 'requests', 'httpx'}\n"
        "print(heavy & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_findings_stand_in_their_groups(printed):
    findings = [
        Finding("one", "a", "1.0"),
        Finding("two", "b[x]", "gone:", "broken", "pip install 'b[x]'"),
    ]
    text = printed(finding_tables(findings))
    for word in ("one", "two", "ok", "broken", "b[x]", "pip install 'b[x]'"):
        assert word in text


def test_verdicts_have_difference_tolerance_and_reason(printed):
    verdicts = [
        Verdict(SLICES[0], "fails", 0.25, "why not"),
        Verdict(SLICES[3], "not here", None, "no photo"),
    ]
    text = printed([verdict_table(verdicts)])
    for word in (
        "openai/clip-vit-base-patch32",
        "fails",
        "0.25",
        "0.001 + 0.001 x",
        "why not",
        "not here",
        "no photo",
    ):
        assert word in text
