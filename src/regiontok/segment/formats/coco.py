"""COCO's JSON files of many images: instances, results and panoptic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.segment.formats.index import Entry, Size, fits
from regiontok.segment.formats.labelmaps import panoptic_masks
from regiontok.segment.formats.rle import coded, read_json, scores_of


def instances(path: Path, data: Any) -> Iterator[Entry]:
    """A data set's instances: an entry for every image, also one without annotations. Crowd regions
    are masks like any other."""
    yield from _listed(
        path, _images(path, data), _records(path, data, "annotations"), _categories(path, data)
    )


def results(path: Path, data: Any, images: Path | None) -> Iterator[Entry]:
    """A list of results. It knows images by number only: `images`, the JSON it was made for, says
    their file names."""
    if images is None:
        raise ValueError(
            f"{path}: a list of results knows images by number only; say images='...', the JSON that lists their file names"
        )
    known = read_json(images)
    yield from _listed(
        path,
        _images(images, known),
        _records(path, {"results": data}, "results"),
        _categories(images, known),
    )


def panoptic(path: Path, data: Any, pngs: Path | None) -> Iterator[Entry]:
    """Panoptic annotations: their ids are colours of PNGs in `pngs`, or in the folder of the JSON's
    own name beside it."""
    folder = pngs or path.with_suffix("")
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {folder} with its PNGs; say pngs='...'")
    images, categories = _images(path, data), _categories(path, data)
    for one in _records(path, data, "annotations"):
        number, png = _id(path, one, "image_id"), folder / str(_id(path, one, "file_name"))
        if number not in images:
            raise ValueError(
                f"{path}: {png.name} belongs to image_id {number!r}, which `images` does not list"
            )
        segments = _records(path, one, "segments_info")
        ids = [_id(path, segment, "id") for segment in segments]
        if not all(isinstance(each, int) for each in ids):
            raise ValueError(f"{path}: segments of {png.name} have ids that are no numbers")
        read = partial(panoptic_masks, png, ids, _names(segments, categories))
        yield Entry(_file_name(path, images[number]), str(png), read)


def _listed(
    path: Path, images: Mapping[Any, Any], annotations: Sequence[Any], categories: Mapping[Any, str]
) -> Iterator[Entry]:
    grouped = defaultdict(list)
    for one in annotations:
        grouped[_id(path, one, "image_id")].append(one)
    if grouped and not grouped.keys() & images.keys():
        ours, theirs = next(iter(grouped)), next(iter(images), "none")
        raise ValueError(
            f"{path}: no annotation belongs to a listed image (image_id {ours!r} and so on; ids {theirs!r} and so on)"
        )
    for number, image in images.items():
        read = partial(_instance_masks, image, grouped.get(number, []), categories)
        yield Entry(_file_name(path, image), str(path), read)


def _instance_masks(
    image: Mapping[str, Any], annotations: Sequence[Any], categories: Mapping[Any, str], size: Size
) -> PixelMasks:
    if image.get("height") is not None and image.get("width") is not None:
        fits((image["height"], image["width"]), size)
    counts = coded(annotations, size)
    return PixelMasks(
        size, counts, scores_of(annotations, "score"), _names(annotations, categories)
    )


def _images(path: Path, data: Any) -> dict[int | str, Any]:
    found: dict[int | str, Any] = {}
    for image in _records(path, data, "images"):
        number = _id(path, image, "id")
        if number in found:
            raise ValueError(f"{path}: two images have the id {number!r}")
        found[number] = image
    return found


def _categories(path: Path, data: Any) -> dict[int | str, str]:
    """Names by number; a category without a number (PixMMVP's have null) names nothing."""
    listed = _records(path, data, "categories") if data.get("categories") else []
    return {
        one["id"]: str(one.get("name")) for one in listed if isinstance(one.get("id"), int | str)
    }


def _names(annotations: Sequence[Any], categories: Mapping[Any, str]) -> tuple[str, ...] | None:
    """The category's name of each; its number where the file names no such category; None where it
    names none at all."""
    if not categories:
        return None
    ids = [one.get("category_id") for one in annotations]
    return tuple(categories.get(one, str(one)) if isinstance(one, int | str) else "" for one in ids)


def _file_name(path: Path, image: Mapping[str, Any]) -> str:
    name = image.get("file_name") or image.get("coco_url")  # LVIS has the address only
    if not isinstance(name, str) or not name:
        raise ValueError(f"{path}: image {image['id']!r} has no file_name")
    return name


def _records(path: Path, data: Any, key: str) -> list[Any]:
    found = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ValueError(f"{path}: expected a list of objects as {key!r}")
    return found


def _id(path: Path, record: Mapping[str, Any], key: str) -> int | str:
    if not isinstance(record.get(key), int | str):
        raise ValueError(
            f"{path}: expected a number or text as {key!r}, got {record.get(key)!r:.60}"
        )
    return record[key]
