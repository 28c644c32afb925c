"""The JSON beside a side-car: what was counted, what failed, and what made the side-car."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regiontok.shards.tar import ShardError
from regiontok.system.files import replacing_shared
from regiontok.system.storage import Location, read_file

FORMAT = "regiontok regions 2"  # of the side-car and its JSON
OLDER_FORMAT = "regiontok regions 1"  # without the images' places in the tar
REPORT_SUFFIX = ".regions.json"


@dataclass(frozen=True)
class FailedImage:
    """An image of a tar that has no row in the side-car.

    Attributes:
        index: the image's number among the images of its tar.
        key: its WebDataset name.
        reason: why it has no row.
    """

    index: int
    key: str
    reason: str


@dataclass(frozen=True)
class SidecarReport:
    """The JSON beside a side-car.

    Attributes:
        shard: name of the tar, without its suffix.
        bytes: number of bytes of the tar: a shorter one is cut off.
        images: number of rows.
        regions: number of regions of both kinds.
        texts: how many of them are text.
        masks: how many of them have a mask.
        errors: images of the tar without a row.
        config: settings of whatever found the regions.
        config_hash: the hash of `config`.
        classes: number of classes that the labels are of; None where it is not known.
        centroids: hash of the centroids by which images were labelled; "" for labels of another
            kind, such as human categories.
        offsets: whether the side-car holds the images' places in the tar.
    """

    shard: str
    bytes: int
    images: int
    regions: int
    texts: int
    masks: int
    errors: tuple[FailedImage, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    config_hash: str = ""
    classes: int | None = None
    centroids: str = ""
    offsets: bool = False


def config_hash(config: Mapping[str, Any]) -> str:
    """The hash of a configuration: the same for any order of its keys.

    >>> config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:32]


def write_report(path: Path, report: SidecarReport) -> None:
    """Write the JSON beside a side-car, whole or not at all."""
    stated = {
        "format": FORMAT if report.offsets else OLDER_FORMAT,
        **report.__dict__,
        "errors": [error.__dict__ for error in report.errors],
    }
    with replacing_shared(path) as temporary:
        temporary.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")


def report_path(folder: Path, shard: str) -> Path:
    """The path of the JSON beside a shard's side-car."""
    return folder / f"{shard}{REPORT_SUFFIX}"


def read_report(path: Location) -> SidecarReport:
    """Read the JSON beside a side-car.

    Raises:
        ShardError: If it is missing, damaged, or of another format.
    """
    try:
        stated = json.loads(read_file(path))
        if stated.pop("format") not in (FORMAT, OLDER_FORMAT):
            raise ShardError(f"{path}: of another format than {FORMAT!r}")
        errors = tuple(FailedImage(**error) for error in stated["errors"])
        return SidecarReport(**{**stated, "errors": errors})
    except ShardError:
        raise
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ShardError(f"{path}: damaged ({error})") from None
