"""`regiontok demo`: real photos cut into regions four ways by a real encoder; needs no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import skimage.data

from regiontok.core.picture import Picture
from regiontok.draw.sheet import column_width, contact_sheet, save_image
from regiontok.jobs.tokenize.output import write_image
from regiontok.jobs.tokenize.panels import panels
from regiontok.jobs.tokenize.report import image_report
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings

# Photos that lie inside scikit-image's own package: nothing is fetched.
PHOTOS: dict[str, Callable[[], Any]] = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "rocket": skimage.data.rocket,
}
TITLE = "Region tokens: what a language model would be given"
SUBTITLE = (
    "encoder lite (EfficientNet-Lite0, ImageNet weights), 24 x 24 patches; names: its own "
    "classifier averaged over a region"
)
# Masks are made disjoint: a drawing of overlaps is hard to read. DBSCAN's eps of 1.0 on unit
# vectors is a cosine of 0.5, which suits `lite` as the study's 0.7 suits its encoders.
SEGMENTED = "segments(0.07, resolve='smallest') | cover('rest')"
SPECS = {
    "patches": "patches",
    "clustering": "merge(k=64) | sort('com')",
    "segmentation": f"{SEGMENTED} | sort('com')",
    "combined": f"{SEGMENTED} | split(eps=1.0) | sort('com')",
}


def demo(
    out: Path, *, device: str = "cpu", tick: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Write a folder for each photo, and one contact sheet of all; return the photos' reports.

    The region specs are rows D2 (patches), D5 (clustering, at an exact budget), D4 with
    felzenszwalb for SAM, which needs weights (segmentation), and D6 (combined) of the diagnostic
    study. The encoder is `lite`; names are what its ImageNet classifier says of each region.

    Args:
        out: folder of the results; the sheet is `contact_sheet.png` in it.
        device: where the encoder runs.
        tick: called when a photo is done.
    """
    settings = TokenizerSettings(encoder="lite", segmenter="felzenszwalb")
    tokenizers = TokenizerSet(settings, list(SPECS.values()), name_regions=True, device=device)
    pictures = [Picture.of(load(), name=name) for name, load in PHOTOS.items()]
    tokenizers.warm_up()
    titles = ("photo", *SPECS)
    reports, rows = [], []
    for picture in pictures:
        results = tokenizers.with_names(tokenizers.run([picture]), 0)
        report = {
            "name": picture.name,
            "key": picture.key,
            "fingerprint": tokenizers.fingerprint(),
            **image_report(results, 0),
        }
        write_image(out / picture.name, results, 0, report, rle=False, picture=True)
        row = panels(results, 0, longest=column_width(len(titles)))
        rows.append([replace(panel, title=title) for panel, title in zip(row, titles, strict=True)])
        reports.append(report)
        tick()
    sheet = contact_sheet(rows, title=TITLE, subtitle=SUBTITLE, row_titles=list(PHOTOS))
    save_image(sheet, out / "contact_sheet.png")
    return reports
