"""COCO's JSON files of many images: instances, results and panoptic annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.segment.formats.catalogue import Size, UnreadMasks, check_size
from regiontok.segment.formats.labelmaps import panoptic_masks
from regiontok.segment.formats.rle import codes_of, read_json, scores_of

Record = Mapping[str, Any]
Id = int | str


def coco_instances(path: Path, data: Any) -> Iterator[UnreadMasks]:
    """The masks of a data set's instances: an entry for every image, also one without annotations.

    Crowd regions are masks like any other.

    Raises:
        ValueError: If the JSON is of another form.
    """
    annotations = _records(path, data, "annotations")
    yield from _entries(path, _images_by_id(path, data), annotations, _categories(path, data))


def coco_results(path: Path, data: Any, images: Path | None) -> Iterator[UnreadMasks]:
    """The masks of a list of results, which knows images by number only.

    Args:
        path: the list, for messages.
        data: what it says.
        images: the JSON that the results were made for, which says the file names of its images.

    Raises:
        ValueError: If there is no such JSON, or one of the two is of another form.
    """
    if images is None:
        raise ValueError(
            f"{path}: a list of results knows images by number only; say images='...', "
            "the JSON that lists their file names"
        )
    listing = read_json(images)
    results = _records(path, {"results": data}, "results")
    categories = _categories(images, listing)
    yield from _entries(path, _images_by_id(images, listing), results, categories)


def coco_panoptic(path: Path, data: Any, pngs: Path | None) -> Iterator[UnreadMasks]:
    """The masks of panoptic annotations, whose ids are colours of PNGs.

    Args:
        path: the JSON.
        data: what it says.
        pngs: the folder of the PNGs; by default the folder of the JSON's own name beside it.

    Raises:
        ValueError: If there is no such folder, or the JSON is of another form.
    """
    folder = pngs or path.with_suffix("")
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {folder} with its PNGs; say pngs='...'")
    images, categories = _images_by_id(path, data), _categories(path, data)
    for annotation in _records(path, data, "annotations"):
        image_id = _id(path, annotation, "image_id")
        if not isinstance(annotation.get("file_name"), str):
            raise ValueError(f"{path}: an annotation of image_id {image_id!r} names no PNG")
        png = folder / annotation["file_name"]
        if image_id not in images:
            raise ValueError(
                f"{path}: {png.name} belongs to image_id {image_id!r}, which `images` does not list"
            )
        segments = _records(path, annotation, "segments_info")
        ids = [_id(path, segment, "id") for segment in segments]
        if not all(isinstance(segment_id, int) for segment_id in ids):
            raise ValueError(f"{path}: segments of {png.name} have ids that are no numbers")
        read = partial(panoptic_masks, png, ids, _names(segments, categories))
        yield UnreadMasks(_file_name(path, images[image_id]), str(png), read)


def _entries(
    path: Path, images: Mapping[Id, Any], annotations: Sequence[Any], categories: Mapping[Id, str]
) -> Iterator[UnreadMasks]:
    """One entry for every image, with the annotations that name it."""
    by_image = defaultdict(list)
    for annotation in annotations:
        by_image[_id(path, annotation, "image_id")].append(annotation)
    if by_image and not by_image.keys() & images.keys():
        annotated, listed = next(iter(by_image)), next(iter(images), "none")
        raise ValueError(
            f"{path}: no annotation belongs to a listed image "
            f"(image_id {annotated!r} and so on; ids {listed!r} and so on)"
        )
    _check_types(path, by_image, images)
    for image_id, image in images.items():
        read = partial(_instance_masks, image, by_image.get(image_id, []), categories)
        yield UnreadMasks(_file_name(path, image), str(path), read)


def _instance_masks(
    image: Record, annotations: Sequence[Any], categories: Mapping[Id, str], size: Size
) -> PixelMasks:
    if image.get("height") is not None and image.get("width") is not None:
        check_size((_whole(image["height"]), _whole(image["width"])), size)
    codes = codes_of(annotations, size)
    return PixelMasks(size, codes, scores_of(annotations, "score"), _names(annotations, categories))


def _images_by_id(path: Path, data: Any) -> dict[Id, Any]:
    images: dict[Id, Any] = {}
    for image in _records(path, data, "images"):
        image_id = _id(path, image, "id")
        if image_id in images:
            raise ValueError(f"{path}: two images have the id {image_id!r}")
        images[image_id] = image
    return images


def _categories(path: Path, data: Any) -> dict[Id, str]:
    """Names by number; a category without a number (PixMMVP's have null) names nothing."""
    categories = _records(path, data, "categories") if data.get("categories") else []
    return {
        category["id"]: str(category.get("name"))
        for category in categories
        if isinstance(category.get("id"), int | str)
    }


def _names(annotations: Sequence[Any], categories: Mapping[Id, str]) -> tuple[str, ...] | None:
    """The category's name of each annotation; None where the file names no categories at all.

    A category that the file does not name gives its number.
    """
    if not categories:
        return None
    ids = [annotation.get("category_id") for annotation in annotations]
    return tuple(
        categories.get(number, str(number)) if isinstance(number, int | str) else ""
        for number in ids
    )


def _file_name(path: Path, image: Record) -> str:
    name = image.get("file_name") or image.get("coco_url")  # LVIS has the address only
    if not isinstance(name, str) or not name:
        raise ValueError(f"{path}: image {image['id']!r} has no file_name")
    return name


def _records(path: Path, data: Any, key: str) -> list[Any]:
    records = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(records, list) or not all(isinstance(item, Mapping) for item in records):
        raise ValueError(f"{path}: expected a list of objects as {key!r}")
    return records


def _id(path: Path, record: Record, key: str) -> Id:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{path}: expected a number or text as {key!r}, got {value!r:.60}")
    return value


def _check_types(path: Path, annotated: Iterable[Id], listed: Mapping[Id, Any]) -> None:
    """Refuse annotations that would be passed over because one id is a number and one a text."""
    for image_id in annotated:
        other: Id = str(image_id)
        if isinstance(image_id, str) and image_id.isascii() and image_id.isdigit():
            other = int(image_id[:20])
        if image_id not in listed and other in listed:
            raise ValueError(
                f"{path}: annotations of image_id {image_id!r}, but the image is listed with the "
                f"id {other!r}: write both as numbers, or both as text"
            )


def _whole(value: Any) -> int:
    """A size as a whole number, which some tools write as text.

    Raises:
        ValueError: If it is none.
    """
    try:
        if float(value) == int(float(value)):
            return int(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"expected height and width as whole numbers, got {value!r:.60}")
