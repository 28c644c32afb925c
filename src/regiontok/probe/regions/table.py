"""The rows of a whole labelled set, made once by an encoder and kept on disk.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from regiontok.measures.knn import LabelledRegions
from regiontok.probe.regions.features import ImageRows, Subject
from regiontok.probe.regions.labelled import LabelledImage, LabelledSet
from regiontok.system.errors import first_line
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json
from regiontok.system.tensor_files import read_metadata, save_file

if TYPE_CHECKING:
    from jaxtyping import Float, Int

FORM = 1  # raise it with every change of what rows are


@dataclass(frozen=True, eq=False)
class RowTable:
    """Rows of all images of a set.

    Attributes:
        rows: `[n d]`, one a region.
        labels: `[n]`, the class of each row, an index into `classes`.
        images: `[n]`, the image of each row.
        patches: `[p d]`, patch tokens.
        patch_labels: `[p]`, the class of each.
        patch_images: `[p]`, the image of each.
        classes: names of the classes.
        left_out: regions that are not used, by reason.
        failed: images that could not be read, each with `image` and `error`.
    """

    rows: Float[Tensor, "n d"]
    labels: Int[Tensor, "n"]
    images: Int[Tensor, "n"]
    patches: Float[Tensor, "p d"]
    patch_labels: Int[Tensor, "p"]
    patch_images: Int[Tensor, "p"]
    classes: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def regions(self) -> LabelledRegions:
        """The rows of regions."""
        return LabelledRegions(self.rows, self.labels, self.images)

    @property
    def tokens(self) -> LabelledRegions:
        """The patch tokens."""
        return LabelledRegions(self.patches, self.patch_labels, self.patch_images)


def kept_table(
    subject: Subject,
    data: LabelledSet,
    *,
    cache: Path | None = None,
    most: int = 32,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> RowTable:
    """The rows of a set, from the cache where they are there.

    Args:
        subject: what makes the rows.
        data: the labelled set.
        cache: a folder in which tables are kept; None keeps none.
        most: patch tokens of an image at most.
        seed: by which they are drawn.
        tick: called with each image.

    Raises:
        ValueError: If no region of the set can be used.
    """
    key = json.dumps([FORM, subject.fingerprint, data.identity, most, seed])
    path = cache and cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    if path and (table := _read(path)):
        for _ in range(len(data)):
            tick()
        return table
    table = _made(subject, data, most, seed, tick)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(table, path)
    return table


def _made(
    subject: Subject, data: LabelledSet, most: int, seed: int, tick: Callable[[], None]
) -> RowTable:
    left_out: Counter[str] = Counter(data.set_aside)
    failed: list[dict[str, str]] = []
    numbers: dict[str, int] = {}
    parts: list[tuple[ImageRows, Tensor, int]] = []
    for index in range(len(data)):
        try:
            image = data.read(index, left_out)
        except ValueError as error:
            failed.append({"image": data.name(index), "error": first_line(error)})
        else:
            if image.labels:
                rows = subject.rows(image, np.random.default_rng([seed, index]), most)
                left_out["outside what the encoder sees"] += len(image.labels) - len(rows.of_region)
                parts.append((rows, _numbers(image, numbers), index))
        tick()
    if not sum(len(rows.of_region) for rows, _, _ in parts):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise ValueError(
            f"no labelled region among {len(data)} images ({reasons or 'none has any'}; "
            f"{len(failed)} images cannot be read{': ' + failed[0]['error'] if failed else ''})"
        )
    return _joined(parts, tuple(numbers), {k: n for k, n in left_out.items() if n}, failed)


def _numbers(image: LabelledImage, numbers: dict[str, int]) -> Int[Tensor, "k"]:
    """The number of each region's class; new classes are added."""
    return torch.tensor([numbers.setdefault(label, len(numbers)) for label in image.labels])


def _joined(
    parts: list[tuple[ImageRows, Tensor, int]],
    classes: tuple[str, ...],
    left_out: dict[str, int],
    failed: list[dict[str, str]],
) -> RowTable:
    def images(of: str) -> Tensor:
        return torch.cat([torch.full((len(getattr(rows, of)),), index) for rows, _, index in parts])

    return RowTable(
        rows=torch.cat([rows.rows for rows, _, _ in parts]),
        labels=torch.cat([labels[rows.of_region] for rows, labels, _ in parts]),
        images=images("of_region"),
        patches=torch.cat([rows.patches for rows, _, _ in parts]),
        patch_labels=torch.cat([labels[rows.of_patch] for rows, labels, _ in parts]),
        patch_images=images("of_patch"),
        classes=classes,
        left_out=left_out,
        failed=failed,
    )


def joined_tables(train: RowTable, test: RowTable, images: int) -> RowTable:
    """One table of a training and a test set: classes go by name, test images are counted on.

    Args:
        train: the rows to train on.
        test: the rows to test on, of the same subject.
        images: number of images of the training set, bad ones among them.
    """
    numbers = {name: number for number, name in enumerate(train.classes)}
    order = torch.tensor([numbers.setdefault(name, len(numbers)) for name in test.classes])
    return RowTable(
        rows=torch.cat([train.rows, test.rows]),
        labels=torch.cat([train.labels, order[test.labels]]),
        images=torch.cat([train.images, test.images + images]),
        patches=torch.cat([train.patches, test.patches]),
        patch_labels=torch.cat([train.patch_labels, order[test.patch_labels]]),
        patch_images=torch.cat([train.patch_images, test.patch_images + images]),
        classes=tuple(numbers),
        left_out=dict(Counter(train.left_out) + Counter(test.left_out)),
        failed=train.failed + test.failed,
    )


_TENSORS = ("rows", "labels", "images", "patches", "patch_labels", "patch_images")


def _write(table: RowTable, path: Path) -> None:
    about: dict[str, Any] = {
        "classes": table.classes,
        "left_out": table.left_out,
        "failed": table.failed,
    }
    tensors = {name: getattr(table, name).contiguous() for name in _TENSORS}
    with replacing_shared(path) as temporary:
        save_file(tensors, temporary, {"about": json.dumps(about)})


def _read(path: Path) -> RowTable | None:
    """The table of a file; None if there is none, or a damaged one, which is made anew."""
    metadata = read_metadata(path) if path.is_file() else None
    if metadata is None:
        return None
    try:
        about = parse_json(metadata["about"])
        tensors = load_file(path)
        return RowTable(
            **{name: tensors[name] for name in _TENSORS},
            classes=tuple(about["classes"]),
            left_out=about["left_out"],
            failed=about["failed"],
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
