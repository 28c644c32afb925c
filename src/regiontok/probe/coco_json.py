"""COCO's JSON as every probe reads it: parsed once, its form checked, its entries by number.

After: COCO's file of instances (Lin et al. 2014, arXiv:1405.0312).
Differs: nothing known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.strict_json import parse_json

Record = Mapping[str, Any]
LISTS = ("images", "annotations", "categories")
SAME_BOX = 1.0  # pixels by which two sides of the same box differ at most


class CocoJsonError(RegiontokError, ValueError):
    """A file that is not in COCO's form; the message names it and says what is wrong."""


@dataclass(frozen=True, eq=False)
class CocoJson:
    """A file in COCO's form.

    Attributes:
        path: the file.
        content: what it holds; `images`, `annotations` and the other lists that were asked for are
            lists of objects.
    """

    path: Path
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: Path, lists: Iterable[str] = LISTS) -> CocoJson:
        """Read a file.

        Args:
            path: the file.
            lists: the lists that it must have.

        Raises:
            CocoJsonError: If it cannot be read, is no JSON, or lacks one of the lists.
        """
        try:
            content = parse_json(path.read_bytes())
        except OSError as error:
            raise CocoJsonError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CocoJsonError(f"{path} is no JSON: {first_line(error)}") from None
        wanted = tuple(lists)
        for name in wanted:
            if not isinstance(content, dict) or not _is_listed(content.get(name)):
                raise CocoJsonError(
                    f"{path} is not in COCO's form: expected an object with the lists "
                    f"{', '.join(wanted)}; it has not a list of objects as {name!r}"
                )
        return cls(path, content)

    @cached_property
    def images(self) -> Mapping[Any, Record]:
        """The entries of `images` by number."""
        return {image.get("id"): image for image in self.content["images"]}

    @cached_property
    def annotations(self) -> Mapping[Any, Record]:
        """The entries of `annotations` by number."""
        return {annotation.get("id"): annotation for annotation in self.content["annotations"]}

    @cached_property
    def by_image(self) -> Mapping[Any, list[Record]]:
        """The annotations of each image that has some."""
        listed: dict[Any, list[Record]] = defaultdict(list)
        for annotation in self.content["annotations"]:
            listed[annotation.get("image_id")].append(annotation)
        return dict(listed)

    def at_box(self, image: Any, box: Any) -> Record | None:
        """The annotation of an image whose box is this one; None if there is none.

        Args:
            image: number of the image.
            box: xyxy in pixels, or anything else, which no annotation has.
        """
        if not isinstance(box, list | tuple) or len(box) != 4:
            return None
        for annotation in self.by_image.get(image, ()):
            x, y, width, height = annotation.get("bbox") or (0, 0, 0, 0)
            corners = (x, y, x + width, y + height)
            if all(abs(a - b) <= SAME_BOX for a, b in zip(corners, box, strict=True)):
                return annotation
        return None


def _is_listed(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
