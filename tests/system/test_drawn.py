"""Pictures that this project draws carry a mark, in every format."""

from __future__ import annotations

import pytest
from PIL import Image

from regiontok.draw.sheet import FORMATS, save_image
from regiontok.system.drawn import check_drawing_place, is_drawn


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_drawing_is_known_and_a_photo_is_not(tmp_path, suffix):
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    drawing, photo = tmp_path / f"drawing{suffix}", tmp_path / f"photo{suffix}"
    save_image(image, drawing)
    image.save(photo)
    assert (is_drawn(drawing), is_drawn(photo)) == (True, False)
    check_drawing_place(drawing)
    check_drawing_place(tmp_path / f"new{suffix}")
    with pytest.raises(ValueError, match="is there and was not drawn by regiontok"):
        check_drawing_place(photo)
    with Image.open(drawing) as opened:  # the mark hurts nobody
        assert opened.size == (300, 200)


def test_what_is_no_file_was_not_drawn(tmp_path):
    (tmp_path / "empty.png").touch()
    assert not any(map(is_drawn, (tmp_path, tmp_path / "gone.png", tmp_path / "empty.png")))
