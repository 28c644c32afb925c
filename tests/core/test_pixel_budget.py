"""Pictures are held together by their pixels, which their heads announce."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from regiontok.core.pixel_budget import announced_pixels, in_groups


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_head_announces_the_pixels(form, tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (300, 20)).save(file, form)
    path = tmp_path / "a"
    path.write_bytes(file.getvalue())
    assert announced_pixels(path) == announced_pixels(file.getvalue()) == 6000
    assert announced_pixels(file.getvalue()[:5]) == announced_pixels(tmp_path / "absent") == 0


def test_no_more_is_taken_than_a_group_needs():
    taken = []

    def items():
        for item in (5, 5, 5):
            taken.append(item)
            yield item

    groups = in_groups(items(), lambda item: item, most=8, most_pixels=10)
    assert next(groups) == [5, 5] == taken
    assert next(groups) == [5]
