"""`regiontok tokenize` on videos and folders of frames: a clip becomes regions in space and time.

Each clip gets the folder that an image gets; its drawing is a strip of frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from regiontok.core import video
from regiontok.core.animation import SUFFIXES, is_animated
from regiontok.core.clip import MOST, Clip, Cut
from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.data.collect import NamedPath, NoImages, expand_stdin, with_distinct_names
from regiontok.draw.regions import Style
from regiontok.draw.sheet import Panel, column_width, contact_sheet
from regiontok.draw.strip import FRAMES, draw_strip, frame_title, spread_frames
from regiontok.jobs.tokenize.images import TokenizeOutcome, finished_report
from regiontok.jobs.tokenize.output import (
    check_target,
    grid_boxes,
    pixel_masks,
    regions_table,
    write_folder,
)
from regiontok.jobs.tokenize.panels import COLOURED, caption, scaled
from regiontok.jobs.tokenize.report import image_report
from regiontok.jobs.tokenize.tokenizer_set import SpecResult, TokenizerSet

NUMBERED = 40  # regions of a strip: up to so many with numbers, which are small there


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a source make the clip; see `Clip.of`.

    Attributes:
        fps: frames a second to take; None takes all.
        rate: frames a second that a folder of frames holds; None if it is not known.
        most: frames of a clip at most; more are an error.
        cut: "keep" takes the whole frames of a video that is cut off, "error" refuses it.
    """

    fps: float | None = None
    rate: float | None = None
    most: int = MOST
    cut: Cut = "error"


def separate_clips(
    words: Sequence[str], *, all_clips: bool = False, stdin: TextIO | None = None
) -> tuple[list[NamedPath], list[str]]:
    """The words of a command line that are clips, and the others, which `collect` reads.

    A file with a video's suffix is a clip, and so is a GIF or WebP of more than one frame that is
    named by itself; in a folder of images its first frame counts as an image.

    Args:
        words: files, folders, globs, or "-".
        all_clips: take every word as a clip: a video, or a folder of frames.
        stdin: with `all_clips`, where "-" reads one word a line.

    Raises:
        NoImages: If a clip is not there.
    """
    words = list(expand_stdin(words, stdin)) if all_clips else list(words)
    clips = [word for word in words if all_clips or _is_video(Path(word))]
    for word in clips:
        if not Path(word).exists():
            raise NoImages(f"{word}: no such file or folder")
    by_path = {Path(word): NamedPath(Path(word), Path(word).resolve().name) for word in clips}
    return with_distinct_names(by_path.values()), [word for word in words if word not in clips]


def _is_video(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return is_animated(path)
    return path.suffix.lower() in video.SUFFIXES and not path.is_dir()


def tokenize_clips(
    tokenizers: TokenizerSet,
    clips: Sequence[NamedPath],
    out: Path,
    sampling: Sampling = Sampling(),
    *,
    resume: bool = False,
    rle: bool = False,
    picture: bool = True,
) -> Iterator[TokenizeOutcome]:
    """Tokenize clips one by one, and yield each when its folder is written.

    A bad clip is set aside with its reason, and the others go on.

    Args:
        tokenizers: one for each region spec.
        clips: where the clips lie, and the names of their folders below `out`.
        out: folder of the results.
        sampling: which frames make a clip.
        resume: skip a clip whose report says the same settings and the same frames.
        rle: also write each region's pixels on each frame as COCO run lengths.
        picture: also draw a strip of frames.
    """
    fingerprint = tokenizers.fingerprint(rle, picture, asdict(sampling))
    for source in clips:
        start = time.perf_counter()
        try:
            check_target(out / source.name)
            clip = Clip.of(source.path, **asdict(sampling))
            decode_seconds = time.perf_counter() - start
            report = finished_report(out / source.name, fingerprint, clip.key) if resume else None
            if report:
                yield TokenizeOutcome(source, report=report, resumed=True)
                continue
            tokenizers.warm_up()
            results = tokenizers.with_names(tokenizers.run([clip]), 0)
        except ValueError as error:
            yield TokenizeOutcome(source, error=str(error))
            continue
        report = {
            "image": str(source.path),
            "key": clip.key,
            "fingerprint": fingerprint,
            **_frames_entry(clip),
            **image_report(results, 0, decode_seconds),
        }
        write_clip(out / source.name, results, report, rle=rle, picture=picture)
        yield TokenizeOutcome(source, report=report)


def _frames_entry(clip: Clip) -> dict[str, Any]:
    return {
        "frames": len(clip),
        "fps": clip.fps,
        "times": [round(seconds, 4) for seconds in clip.times],
        "damage": clip.damage,
    }


def write_clip(
    folder: Path, results: Sequence[SpecResult], report: dict[str, Any], *, rle: bool, picture: bool
) -> None:
    """Write the folder of one clip: whole, or not at all.

    It has what an image's folder has, and for each region its place on each frame.

    Args:
        folder: the folder of this clip.
        results: one result a region spec, over this clip alone.
        report: what `report.json` holds.
        rle: also write each region's pixels as COCO run lengths, a list a region with one entry a
            frame (null where the region is not).
        picture: also draw the strip.
    """
    write_folder(
        folder,
        tokens=[result.run.tokens[0] for result in results],
        tables=[_clip_table(result, rle) for result in results],
        drawing=strip(results) if picture else None,
        report=report,
    )


def strip(results: Sequence[SpecResult], most: int = FRAMES) -> Image.Image:
    """Frames from left to right; under the photos one row a region spec, each region in one colour.

    Args:
        results: one result a region spec, over one clip.
        most: frames on the strip at most.
    """
    clip = results[0].run.pictures[0]
    assert isinstance(clip, Clip)
    frame = results[0].run.grids[0].frame
    photos = [
        Panel(scaled(clip.frames[index], column_width(FRAMES)), frame_title(clip, index))
        for index in spread_frames(len(clip), most)
    ]
    rows = [photos]
    for result in results:
        regions = result.run.regions[0]
        style: Style = "colours" if len(regions) <= COLOURED * len(clip) else "borders"
        first, *others = draw_strip(
            clip, frame, regions, style=style, numbers=len(regions) <= NUMBERED, most=most
        )
        rows.append([replace(first, caption=f"{result.spec}: {caption(result, 0)}"), *others])
    rate = f" · {clip.fps:g} frames a second" if clip.fps else ""
    return contact_sheet(
        rows,
        title=Path(clip.name).name,
        subtitle=f"{len(clip)} frames{rate} · a region has one colour on all frames",
    )


def _clip_table(result: SpecResult, rle: bool) -> dict[str, Any]:
    """The regions of one clip, as they stand in its JSON."""
    regions, frame = result.run.regions[0].to("cpu"), result.run.grids[0].frame
    table = regions_table(result, regions, frame)
    for row, boxes in zip(table["regions"], _boxes_by_frame(regions, frame), strict=True):
        row["boxes"] = boxes
    if rle:
        table |= {"size": list(frame.image), "masks": _masks_by_frame(regions, frame)}
    return table


def _boxes_by_frame(regions: Regions, frame: Frame) -> list[dict[str, list[float]]]:
    """For each region its box, xyxy in pixels, by the number of each frame where it lies."""
    boxes: list[dict[str, list[float]]] = [{} for _ in range(len(regions))]
    for number in range(regions.grid[0]):
        on_frame, indices = regions.on_frame(number)
        corners = frame.boxes_to_pixels(grid_boxes(on_frame)).tolist()
        for index, box in zip(indices.tolist(), corners, strict=True):
            boxes[index][str(number)] = [round(side, 2) for side in box]
    return boxes


def _masks_by_frame(regions: Regions, frame: Frame) -> list[list[Any]]:
    """For each region its COCO run lengths on every frame; None where it does not lie."""
    masks: list[list[Any]] = [[None] * regions.grid[0] for _ in range(len(regions))]
    for number in range(regions.grid[0]):
        on_frame, indices = regions.on_frame(number)
        coded = pixel_masks(on_frame, frame).to_coco()
        for index, mask in zip(indices.tolist(), coded, strict=True):
            masks[index][number] = mask
    return masks
