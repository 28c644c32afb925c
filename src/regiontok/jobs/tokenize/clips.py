"""`regiontok tokenize` on videos and folders of frames: a clip becomes space-time regions, their
tokens, a strip and a table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch
from PIL import Image

from regiontok.core import video
from regiontok.core.animation import SUFFIXES, is_animated
from regiontok.core.clip import MOST, Clip, Cut
from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.data.collect import Item, NoImages, distinct, listed
from regiontok.draw.regions import Style
from regiontok.draw.sheet import Panel, column_width, contact_sheet
from regiontok.draw.strip import FRAMES, draw_strip, shown, title
from regiontok.jobs.tokenize.images import Done, Job, report_of
from regiontok.jobs.tokenize.output import (
    COLOURED,
    Setting,
    caption,
    check_target,
    grid_boxes,
    pixel_masks,
    read_report,
    regions_table,
    scaled,
    write_folder,
)
from regiontok.measures.naming import name_regions

NUMBERED = 40  # regions of a strip: up to so many with numbers, which are small there


@dataclass(frozen=True)
class Sampling:
    """Which frames of a source make the clip; see `Clip.of`."""

    fps: float | None = None
    rate: float | None = None
    most: int = MOST
    cut: Cut = "error"


def divide(
    paths: Sequence[str], *, clips: bool = False, stdin: TextIO | None = None
) -> tuple[list[Item], list[str]]:
    """The words of a command line that are clips, and the rest, which `collect` takes.

    A file with a video's suffix is a clip, and so is a GIF or WebP of more than one frame that is
    named by itself (in a folder of images its first frame counts as one); with `clips` every word
    is one: a video, or a folder of frames.

    Raises:
        NoImages: with `clips`, a word that leads nowhere.
    """
    words = list(listed(paths, stdin)) if clips else list(paths)
    chosen = [word for word in words if clips or _is_video(Path(word))]
    for word in chosen:
        if not Path(word).exists():
            raise NoImages(f"{word}: no such file or folder")
    items = {Path(word): Item(Path(word), Path(word).resolve().name) for word in chosen}
    return distinct(items.values()), [word for word in words if word not in chosen]


def _is_video(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return is_animated(path)
    return path.suffix.lower() in video.SUFFIXES and not path.is_dir()


def tokenize_clips(
    job: Job,
    items: Sequence[Item],
    out: Path,
    sampling: Sampling = Sampling(),
    *,
    resume: bool = False,
    rle: bool = False,
    picture: bool = True,
) -> Iterator[Done]:
    """Do the clips one by one, and yield each when its folder is written.

    A bad clip is set aside with its reason and the rest go on. With `resume`, a clip whose report
    says the same settings and the same frames is not done again.
    """
    fingerprint = job.fingerprint(rle, picture, asdict(sampling))
    for item in items:
        start = time.perf_counter()
        try:
            check_target(out / item.name)
            clip = Clip.of(item.path, **asdict(sampling))
            decode = time.perf_counter() - start
            before = read_report(out / item.name) if resume else None
            if (
                before
                and before.get("fingerprint") == fingerprint
                and before.get("key") == clip.key
            ):
                yield Done(item, report=before, resumed=True)
                continue
            job.warm()
            settings = _named(job, job.run([clip]))
        except ValueError as error:
            yield Done(item, error=str(error))
            continue
        own = {"image": str(item.path), "key": clip.key, "fingerprint": fingerprint}
        told = {
            "frames": len(clip),
            "fps": clip.fps,
            "times": [round(at, 4) for at in clip.times],
            "damage": clip.damage,
        }
        report = own | told | report_of(settings, 0, decode)
        write_clip(out / item.name, settings, report, rle=rle, picture=picture)
        yield Done(item, report=report)


def _named(job: Job, settings: list[Setting]) -> list[Setting]:
    if not job.naming:
        return settings
    logits = torch.stack(job.encoder.logits(list(settings[0].run.pictures[0].frames)))
    return [
        replace(s, names=name_regions(logits, s.run.regions[0], job.encoder.classes))
        for s in settings
    ]


def write_clip(
    folder: Path, settings: Sequence[Setting], report: dict[str, Any], *, rle: bool, picture: bool
) -> None:
    """Write the folder of one clip: whole, or not at all. What an image's has, but for each region
    where it is on each frame.

    Args:
        folder: of this clip.
        settings: one a region spec.
        report: what `report.json` says.
        rle: also write each region's pixels as COCO run lengths, a list a region with one entry a
            frame (null where it is not).
        picture: also draw the strip.
    """
    tables = [_regions_json(setting, rle) for setting in settings]
    drawing = strip(settings) if picture else None
    write_folder(
        folder, [setting.run.tokens[0] for setting in settings], tables, drawing, report
    )


def strip(settings: Sequence[Setting], most: int = FRAMES) -> Image.Image:
    """Frames from left to right; under the photos one row a setting, each region in one colour."""
    clip: Clip = settings[0].run.pictures[0]
    frame = settings[0].run.grids[0].frame
    rows = [
        [
            Panel(scaled(clip.frames[at], column_width(FRAMES)), title(clip, at))
            for at in shown(len(clip), most)
        ]
    ]
    for setting in settings:
        regions = setting.run.regions[0]
        style: Style = "colours" if len(regions) <= COLOURED * len(clip) else "borders"
        row = draw_strip(
            clip, frame, regions, style=style, numbers=len(regions) <= NUMBERED, most=most
        )
        rows.append([replace(row[0], caption=f"{setting.spec}: {caption(setting, 0)}"), *row[1:]])
    rate = f" · {clip.fps:g} frames a second" if clip.fps else ""
    return contact_sheet(
        rows,
        title=Path(clip.name).name,
        subtitle=f"{len(clip)} frames{rate} · a region has one colour on all frames",
    )


def _regions_json(setting: Setting, rle: bool) -> dict[str, Any]:
    regions, frame = setting.run.regions[0].to("cpu"), setting.run.grids[0].frame
    boxes, masks = _over_time(regions, frame, rle)
    found = regions_table(setting, regions, frame)
    for row, own in zip(found["regions"], boxes, strict=True):
        row["boxes"] = own
    return found | ({"size": list(frame.image), "masks": masks} if rle else {})


def _over_time(
    regions: Regions, frame: Frame, rle: bool
) -> tuple[list[dict[str, list[float]]], list[list[Any]]]:
    """For each region: {frame: xyxy box in pixels} where it is, and (if asked for) its run lengths
    on each frame."""
    boxes: list[dict[str, list[float]]] = [{} for _ in range(len(regions))]
    masks: list[list[Any]] = [[None] * regions.grid[0] for _ in range(len(regions) if rle else 0)]
    for at in range(regions.grid[0]):
        own, ids = regions.on_frame(at)
        corners = frame.boxes_to_pixels(grid_boxes(own)).tolist()
        coded = pixel_masks(own, frame).to_coco() if rle else []
        for place, region in enumerate(ids.tolist()):
            boxes[region][str(at)] = [round(v, 2) for v in corners[place]]
            if rle:
                masks[region][at] = coded[place]
    return boxes, masks
