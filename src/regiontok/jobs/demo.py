"""`regiontok demo`: real photos cut into regions four ways by a real encoder; needs no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import skimage.data

from regiontok.core.picture import Picture
from regiontok.draw.sheet import column_width, contact_sheet, save_image, side_by_side
from regiontok.jobs.tokenize.earlier import Wanted, Writing, task_for, wanted_of
from regiontok.jobs.tokenize.output import SpecOutput, write_output
from regiontok.jobs.tokenize.panels import panels
from regiontok.jobs.tokenize.report import image_sizes, only_specs, spec_entry
from regiontok.jobs.tokenize.tables import image_table
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.lease import folder_lease

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
    out: str | Path, *, device: str = "cpu", tick: Callable[[], None] = lambda: None
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
    out = Path(out)
    settings = TokenizerSettings(encoder="lite", segmenter="felzenszwalb")
    tokenizers = TokenizerSet(settings, list(SPECS.values()), name_regions=True, device=device)
    pictures = [Picture.of(load(), name=name) for name, load in PHOTOS.items()]
    tokenizers.warm_up()
    titles = ("photo", *SPECS)
    wanted = wanted_of(tokenizers, Writing(overwrite=True))
    reports, rows = [], []
    out.mkdir(parents=True, exist_ok=True)
    with folder_lease(out):
        for picture in pictures:
            report, tables = _tokenize(tokenizers, picture, out / picture.name, wanted)
            row = panels(picture, tables, report, longest=column_width(len(titles)))
            titled = zip(row, titles, strict=True)
            rows.append([replace(panel, title=title) for panel, title in titled])
            reports.append({"name": picture.name, **report})
            tick()
        sheet = contact_sheet(rows, title=TITLE, subtitle=SUBTITLE, row_titles=list(PHOTOS))
        save_image(sheet, out / "contact_sheet.png")
    return reports


def _tokenize(
    tokenizers: TokenizerSet, picture: Picture, folder: Path, wanted: Wanted
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write the folder of one photo; the report, and the regions of each spec."""
    results = tokenizers.with_names(tokenizers.run([picture]), 0)
    outputs = [
        SpecOutput(result.run.tokens[0], image_table(result, 0, rle=False), spec_entry(result, 0))
        for result in results
    ]
    task = task_for(folder, picture.name, picture.key, wanted)
    head = {"image": picture.name, "key": picture.key, **image_sizes(results, 0)}
    report = write_output(
        folder,
        task,
        wanted,
        head,
        outputs,
        lambda tables, report: side_by_side(panels(picture, tables, report)),
    )
    return only_specs(report, tokenizers.specs), [output.table for output in outputs]
