"""`regiontok demo`: real photos cut into regions four ways by a real pretrained encoder, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import skimage.data

from regiontok.commands.output import panels, write_image
from regiontok.commands.tokenize import Job, report_of
from regiontok.core.picture import Picture
from regiontok.core.recipe import TokenizerSettings
from regiontok.draw.sheet import contact_sheet, save_image

# Photos that lie inside scikit-image's own package: nothing is fetched.
PHOTOS: dict[str, Callable[[], Any]] = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
}
SETTINGS = {
    "patches": "patches",
    "clustering": "merge({threshold}) | sort('com')",
    "segmentation": "segments(0.07) | cover('rest') | sort('com')",
    "combined": "segments(0.07) | cover('rest') | split(eps={eps}) | sort('com')",
}


def demo(out: Path, *, device: str = "cpu", tick: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """Write a folder a photo and one contact sheet, `contact_sheet.png`, under `out`; return the reports.

    Rows D2 (patches), D5 (clustering), D3/D4 with felzenszwalb for SAM (segmentation) and D6 (combined) of the diagnostic study, with
    the `lite` encoder; names are what its ImageNet classifier says of each region.
    """
    settings = TokenizerSettings(encoder="lite", segmenter="felzenszwalb")
    encoder_threshold = _threshold(settings)
    specs = [spec.format(threshold=encoder_threshold, eps=1.0) for spec in SETTINGS.values()]
    job = Job(settings, specs, name=True, device=device)
    reports, rows = [], []
    for name, photo in PHOTOS.items():
        picture = Picture.of(photo(), name=name)
        named = job.named(job.run([picture]), 0)
        report = {"name": name, "key": picture.key, "fingerprint": job.fingerprint, **report_of(named, 0)}
        write_image(out / name, 0, named, report, rle=False, picture=True)
        rows.append(panels(0, named))
        reports.append(report)
        tick()
    sheet = contact_sheet(rows, title="", subtitle="", row_titles=list(PHOTOS))
    save_image(sheet, out / "contact_sheet.png")
    return reports
