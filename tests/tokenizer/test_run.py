"""A run shows itself: in one line, in a notebook as pictures beside a table, and as a drawing."""

from __future__ import annotations

import base64
import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.tokenizer.display import MAX_ROWS, MAX_WEBP
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.pictures import noise, noise_frames, noise_pixels


def run_of(*pictures, regions="merge(k=5)", **options):
    """Pictures through a small tokenizer."""
    return RegionTokenizer("filters(size=112)", regions, **options).run(list(pictures))


def drawing_in(html: str) -> tuple[int, Image.Image]:
    """The bytes of the picture in a page, and the picture."""
    data = base64.b64decode(re.search(r"data:image/webp;base64,([^\"]+)", html)[1])
    return len(data), Image.open(io.BytesIO(data))


def test_one_line_names_the_sizes():
    run = run_of(noise(60, 80), noise(80, 60, seed=1), whole=True)
    assert re.fullmatch(
        r"Run\(pictures=2, views=2, patches=128, regions=10, tokens=12, width=\d+, "
        r"milliseconds=\d+\)",
        repr(run),
    )


def test_the_table_has_a_row_a_picture_and_the_time_of_each_stage():
    named = Picture.of(noise_pixels(60, 80), "a<b>.png")
    html = run_of(named, noise(80, 60, seed=1), whole=True)._repr_html_()
    assert "<td>a&lt;b&gt;.png</td><td>60 × 80 px</td><td>8 × 8</td><td>5</td><td>6</td>" in html
    assert html.count("<tr>") == 3
    times = r"milliseconds: decode \d+, segment \d+, encode \d+, regions \d+, pool \d+"
    assert re.search(times, html)
    assert "more pictures" not in html


@pytest.mark.slow
def test_the_drawing_in_the_table_is_small_even_of_noise():
    pictures = [noise(400, 600, seed) for seed in range(6)]
    size, image = drawing_in(run_of(*pictures, regions="")._repr_html_())
    assert 1000 < size <= MAX_WEBP
    assert image.width > image.height / 3  # a photo and its regions, four rows


@pytest.mark.slow
def test_many_pictures_have_some_rows_and_the_number_of_the_others():
    html = run_of(*(noise(20, 20, seed) for seed in range(MAX_ROWS + 3)))._repr_html_()
    assert html.count("<tr>") == 1 + MAX_ROWS
    assert "and 3 more pictures" in html


def test_show_puts_each_photo_beside_its_regions():
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:, 45:] = (250, 60, 60)
    image = run_of(Picture.of(pixels), noise(90, 60), regions="merge(k=2)").show(longest=300)
    assert image.size == (300 + 8 + 300, 200 + 8 + 300)
    red = np.asarray(image)[100, 200].tolist()
    assert red == pytest.approx([250, 60, 60], abs=12)
    assert not np.array_equal(np.asarray(image)[:200, :300], np.asarray(image)[:200, 308:])


def test_every_view_of_tiles_is_drawn():
    run = run_of(noise(60, 60), tiles="2x2")
    assert run.show(longest=100).width == 3 * 100 + 2 * 8
    assert repr(run).startswith("Run(pictures=1, views=2")


def test_of_a_clip_the_middle_frame_is_drawn():
    run = run_of(Clip.of(noise_frames(3)))
    assert run.show(longest=96).size == (96 + 8 + 96, 72)
    assert "<td>3 × 48 × 64 px</td><td>3 × 8 × 8</td>" in run._repr_html_()


def test_in_a_notebook_it_is_displayed_and_not_returned(monkeypatch):
    displayed = []
    notebook = SimpleNamespace(get_ipython=lambda: object())
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=displayed.append))
    run = run_of(noise(60, 80))
    assert run.show() is None
    assert [image.size for image in displayed] == [(480 + 8 + 480, 360)]
    monkeypatch.setattr(notebook, "get_ipython", lambda: None)
    assert run.show().size == displayed[0].size


def test_a_tokenizer_names_encoder_regions_and_pool_in_a_line():
    tokenizer = RegionTokenizer("filters(size=112)", "merge(k=5) | sort('com')", pool="select")
    line = "encoder=filters(112), regions='merge(k=5) | sort', pool=select"
    assert line in repr(tokenizer)
