"""COCO's JSON files: instances, results and panoptic."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.segment._catalogue import Entry, Size, fits
from regiontok.segment._labelmaps import panoptic_masks

REACH = 10  # a polygon may leave its picture, but not by more than so many longer sides


def read_json(path: Path) -> Any:
    """What the file says.

    Raises:
        ValueError: not JSON; the message names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def instances(path: Path, data: Any) -> Iterator[Entry]:
    """A data set's instances: one entry an image, also an image without annotations. Crowd regions are masks like any other."""
    pictures, categories = _images(path, data), _categories(data)
    yield from _listed(path, pictures, _field(path, data, "annotations"), categories)


def results(path: Path, data: Any, images: Path | None) -> Iterator[Entry]:
    """A list of results. It names images by number only, so `images`, the JSON it was made for, must say their file names."""
    if images is None:
        raise ValueError(
            f"{path}: a result list names images by number only; say images='...json', the file that lists their file names"
        )
    known = read_json(images)
    if not isinstance(data, list):
        raise ValueError(f"{path}: expected a list of results, got {type(data).__name__}")
    yield from _listed(path, _images(images, known), data, _categories(known))


def panoptic(path: Path, data: Any, pngs: Path | None) -> Iterator[Entry]:
    """Panoptic annotations: ids in PNGs, R + 256 G + 65536 B. Without `pngs` they lie in the folder beside it of the same name."""
    folder = pngs or path.with_suffix("")
    if not folder.is_dir():
        raise ValueError(f"{path}: no folder {folder} with its PNGs; say pngs='...'")
    pictures, categories = _images(path, data), _categories(data)
    for one in _field(path, data, "annotations"):
        image, png = pictures.get(_get(path, one, "image_id")), folder / _get(path, one, "file_name")
        if image is None:
            raise ValueError(f"{path}: the annotation of {png.name} has image_id {one['image_id']!r}, which `images` does not list")
        segments = _get(path, one, "segments_info")
        ids = [_get(path, segment, "id") for segment in segments]
        names = _names(segments, categories)
        yield Entry(_file_name(path, image), str(png), partial(panoptic_masks, png, ids, names))


def coded(annotations: Iterable[Mapping[str, Any]], size: Size) -> tuple[bytes, ...]:
    """The run-length code of each annotation's `segmentation`.

    Raises:
        ValueError: one that is missing, of another size, or cannot be read; the message says which.
    """
    counts = []
    for place, one in enumerate(annotations):
        try:
            _sound(one["segmentation"], size)
            counts.extend(PixelMasks.from_coco([one["segmentation"]], size).counts)
        except KeyError:
            raise ValueError(f"annotation {one.get('id', place)} has no segmentation") from None
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            which = one.get("id", place) if isinstance(one, Mapping) else place
            raise ValueError(f"annotation {which}: {error}") from error
    return tuple(counts)


def _sound(value: Any, size: Size) -> None:
    """Refuse what pycocotools crashes on: a polygon with NaN or a corner at 1e9 ends the process (measured, 2.0.11)."""
    if isinstance(value, list):
        limit = REACH * max(size)
        for ring in value:
            if not isinstance(ring, list) or len(ring) % 2 or not all(isinstance(at, int | float) for at in ring):
                raise ValueError("expected polygons [[x, y, x, y, ...], ...] of numbers")
            if not all(math.isfinite(at) and abs(at) <= limit for at in ring):
                raise ValueError(f"a polygon has a corner farther than {limit} pixels from the picture, or none at all (NaN)")
    elif isinstance(value, Mapping) and isinstance(value.get("counts"), list):
        if not all(isinstance(run, int) and run >= 0 for run in value["counts"]):
            raise ValueError("run lengths must be whole numbers from 0 on")
    elif isinstance(value, Mapping) and not isinstance(value.get("counts"), str):
        raise ValueError(f"expected counts as text or a list, got {type(value.get('counts')).__name__}")


def _listed(path: Path, pictures: Mapping[Any, Any], annotations: Any, categories: Mapping[Any, str]) -> Iterator[Entry]:
    grouped = defaultdict(list)
    for one in annotations:
        grouped[_get(path, one, "image_id")].append(one)
    if grouped and not grouped.keys() & pictures.keys():
        raise ValueError(
            f"{path}: no annotation belongs to a listed image: image_id is {next(iter(grouped))!r}, images have {next(iter(pictures), None)!r}"
        )
    for number, image in pictures.items():
        yield Entry(_file_name(path, image), str(path), partial(_masks, image, grouped.get(number, ()), categories))


def _masks(image: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]], categories: Mapping[Any, str], size: Size) -> PixelMasks:
    if "height" in image and "width" in image:
        fits((image["height"], image["width"]), size)
    scores = scores_of(annotations, "score")
    return PixelMasks(size, coded(annotations, size), scores, _names(annotations, categories))


def _images(path: Path, data: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for image in _field(path, data, "images"):
        number = _get(path, image, "id")
        if number in found:
            raise ValueError(f"{path}: two images have the id {number!r}")
        found[number] = image
    return found
