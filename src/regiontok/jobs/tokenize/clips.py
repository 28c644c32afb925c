"""Videos and folders of frames: a clip becomes regions in space and time.

Each clip gets the folder that an image gets; its drawing is a strip of frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from regiontok.core import video
from regiontok.core.animation import SUFFIXES, is_animated
from regiontok.core.clip import MOST, Clip, Cut
from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.data.collect import NamedPath, NoImages, expand_stdin
from regiontok.draw.regions import Style
from regiontok.draw.sheet import Panel, column_width, contact_sheet, scaled, side_by_side
from regiontok.draw.strip import FRAMES, draw_strip, frame_title, spread_frames
from regiontok.jobs.tokenize.earlier import USUAL, Wanted, Writing, task_for, wanted_of
from regiontok.jobs.tokenize.images import TokenizeOutcome
from regiontok.jobs.tokenize.output import SpecOutput, write_output
from regiontok.jobs.tokenize.panels import COLOURED, caption
from regiontok.jobs.tokenize.report import image_sizes, only_specs, sizes_of, spec_entry
from regiontok.jobs.tokenize.tables import grid_boxes, pixel_masks, regions_table, views_of
from regiontok.jobs.tokenize.tokenizer_set import SpecResult, TokenizerSet
from regiontok.system.drawn import mark_options
from regiontok.system.errors import UnusableModel
from regiontok.system.files import clear_name_errors

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


ALL_FRAMES = Sampling()


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
    return list(by_path.values()), [word for word in words if word not in clips]


def _is_video(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return is_animated(path)
    return path.suffix.lower() in video.SUFFIXES and not path.is_dir()


def tokenize_clips(
    tokenizers: TokenizerSet,
    clips: Sequence[NamedPath],
    out: Path,
    sampling: Sampling = ALL_FRAMES,
    *,
    writing: Writing = USUAL,
) -> Iterator[TokenizeOutcome]:
    """Tokenize clips one by one, and yield each when its folder is written.

    A bad clip is set aside with its reason, and the others go on. Nothing else may write below
    `out` meanwhile; `regiontok.jobs.tokenize.command` holds the lease for it.

    Args:
        tokenizers: one for each region spec.
        clips: where the clips lie, and the names of their folders below `out`.
        out: folder of the results.
        sampling: which frames make a clip.
        writing: how the folders are written.
    """
    decisive = {key: value for key, value in asdict(sampling).items() if key != "most"}
    wanted = wanted_of(tokenizers, writing, decisive)
    for source in clips:
        try:
            yield _tokenize_clip(tokenizers, source, out, sampling, wanted)
        except UnusableModel:
            raise
        except ValueError as error:
            yield TokenizeOutcome(source, error=str(error))


def _tokenize_clip(
    tokenizers: TokenizerSet, source: NamedPath, out: Path, sampling: Sampling, wanted: Wanted
) -> TokenizeOutcome:
    """One clip, when its folder is written.

    Raises:
        ValueError: If it cannot be read, or its regions cannot be made.
    """
    start = time.perf_counter()
    clip = Clip.of(source.path, **asdict(sampling))
    with clear_name_errors(out / source.name):
        task = task_for(out / source.name, str(source.path), clip.key, wanted)
    decode_seconds = time.perf_counter() - start
    if task.is_done:
        report = only_specs(task.report, list(wanted.by_spec))
        return TokenizeOutcome(source, report=report, resumed=True)
    results = _results_of(tokenizers.only(task.specs), clip)
    head = {
        "image": str(source.path),
        "key": clip.key,
        "frames": len(clip),
        "fps": clip.fps,
        "times": [round(seconds, 4) for seconds in clip.times],
        "damage": clip.damage,
        **(image_sizes(results, 0) if results else sizes_of(task.report)),
    }
    outputs = [
        SpecOutput(
            result.run.tokens[0],
            _clip_table(result, rle="rle" in wanted.extras),
            spec_entry(result, 0, decode_seconds),
        )
        for result in results
    ]
    report = write_output(
        out / source.name,
        task,
        wanted,
        head,
        outputs,
        partial(strip, clip),
        partial(save_video, clip),
    )
    return TokenizeOutcome(source, report=only_specs(report, list(wanted.by_spec)))


def _results_of(tokenizers: TokenizerSet, clip: Clip) -> list[SpecResult]:
    if not tokenizers.tokenizers:
        return []
    tokenizers.warm_up()
    return tokenizers.with_names(tokenizers.run([clip]), 0)


def strip(
    clip: Clip,
    tables: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    most: int = FRAMES,
) -> Image.Image:
    """Frames from left to right; under the photos one row a region spec, each region in one colour.

    Args:
        clip: the clip.
        tables: the regions of each spec, see `regiontok.jobs.tokenize.tables`.
        report: the counts of each spec, see `regiontok.jobs.tokenize.report`.
        most: frames on the strip at most.
    """
    photos = [
        Panel(scaled(clip.frames[index], column_width(FRAMES)), frame_title(clip, index))
        for index in spread_frames(len(clip), most)
    ]
    rows = [photos]
    for table in tables:
        ((frame, regions, _),) = views_of(table)
        style: Style = "colours" if len(regions) <= COLOURED * len(clip) else "borders"
        first, *others = draw_strip(
            clip, frame, regions, style=style, numbers=len(regions) <= NUMBERED, most=most
        )
        text = f"{table['spec']}: {caption(report, table['spec'])}"
        rows.append([replace(first, caption=text), *others])
    rate = f" · {clip.fps:g} frames a second" if clip.fps else ""
    return contact_sheet(
        rows,
        title=Path(clip.name).name,
        subtitle=f"{len(clip)} frames{rate} · a region has one colour on all frames"
        + _left_out(len(clip), spread_frames(len(clip), most)),
    )


def _left_out(count: int, shown: Sequence[int]) -> str:
    """Which frames a strip does not show, in words; "" if it shows all of them."""
    runs: list[list[int]] = []
    for index in sorted(set(range(count)) - set(shown)):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    names = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    if not names:
        return ""
    return f" · {count - len(shown)} frames are left out here: {', '.join(names)}"


def save_video(clip: Clip, tables: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write all frames as an animated WebP: the photo, and beside it the regions of each spec.

    It is as long as the clip; one without times shows four frames a second.

    Args:
        clip: the clip.
        tables: the regions of each spec, see `regiontok.jobs.tokenize.tables`.
        path: the file.
    """
    strips = []
    for table in tables:
        ((frame, regions, _),) = views_of(table)
        style: Style = "colours" if len(regions) <= COLOURED * len(clip) else "borders"
        panels = draw_strip(clip, frame, regions, style=style, most=len(clip))
        strips.append([panel.image for panel in panels])
    drawn = []
    for index, photo in enumerate(clip.frames):
        images = [scaled(photo, column_width(FRAMES)), *(frames[index] for frames in strips)]
        drawn.append(side_by_side([Panel(image, "") for image in images]))
    ends = [*clip.times[1:], clip.times[-1] + 1 / (clip.fps or 4)] if clip.times else []
    milliseconds = [
        max(20, round(1000 * (end - start))) for start, end in zip(clip.times, ends, strict=True)
    ] or [250] * len(drawn)
    first, *others = drawn
    options = {"duration": milliseconds, "quality": 70, **mark_options("WEBP")}
    first.save(path, "WEBP", save_all=True, append_images=others, **options)


def _clip_table(result: SpecResult, *, rle: bool) -> dict[str, Any]:
    """The regions of one clip, as they stand in its JSON.

    With `rle`, each region has a list with one entry a frame, null where it is not.
    """
    regions, grid = result.run.regions[0].to("cpu"), result.run.grids[0]
    frame = grid.frame
    table = regions_table(result, regions, grid)
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
