"""What earlier runs left in an image's folder, and what is still to be made there.

A folder holds the tokens of one picture by one encoder. Region specs stand beside one another, and
a file that `tokenize` did not write is never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regiontok.draw.sheet import FORMATS
from regiontok.jobs.tokenize.made_by import (
    difference,
    made_by,
    shared_settings,
    spec_settings,
)
from regiontok.jobs.tokenize.names import DRAWING, REGIONS, TOKENS, slug, spec_names
from regiontok.jobs.tokenize.report import REPORT, is_report, read_report
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.system.errors import RegiontokError


class OtherOutput(RegiontokError, ValueError):
    """What stands in an output folder is of another picture, of other settings, or no output."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a run writes.

    Attributes:
        rle: also write each region's pixels as COCO run lengths.
        picture: ending of the picture's file: ".webp", ".jpg" or ".png"; "" draws none.
        resume: leave what is whole as it is.
        overwrite: replace what other settings made, or what was made of another picture.

    Raises:
        ValueError: If the picture's ending is none that can be written.
    """

    rle: bool = False
    picture: str = ".webp"
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.picture and self.picture not in FORMATS:
            raise ValueError(f"a drawing is written as {', '.join(FORMATS)}; got {self.picture!r}")


USUAL = Writing()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a run wants of each image.

    Attributes:
        shared: the settings that all region specs have in common.
        by_spec: the settings of each region spec.
        extras: what the tables hold beside the regions: "rle", "names".
        drawing: name of the picture's file; "" for none.
        resume: True leaves what is whole as it is.
        overwrite: True replaces what other settings made, or what was made of another picture.
    """

    shared: Mapping[str, Any]
    by_spec: Mapping[str, Mapping[str, Any]]
    extras: frozenset[str] = frozenset()
    drawing: str = ""
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be made of one image.

    Attributes:
        specs: region specs that are computed.
        draw: whether the picture is drawn.
        report: the report that stands, which the new one goes on with; empty if there is none.
        stale: names of files that are removed: another picture's, or another encoder's.
    """

    specs: tuple[str, ...]
    draw: bool
    report: dict[str, Any] = field(default_factory=dict)
    stale: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """True if nothing is to be made."""
        return not self.specs and not self.draw


def wanted_of(
    tokenizers: TokenizerSet, writing: Writing, clip_sampling: Mapping[str, Any] | None = None
) -> Wanted:
    """What a run of some tokenizers wants of each image.

    Args:
        tokenizers: one for each region spec.
        writing: how it is written.
        clip_sampling: which frames of a source make the clip; None for images.

    Raises:
        ValueError: If two of the specs would have files of one name.
    """
    spec_by_slug: dict[str, str] = {}
    for spec in tokenizers.specs:
        if (first := spec_by_slug.setdefault(slug(spec), spec)) != spec:
            raise ValueError(
                f"the files of {first} and of {spec} would have one name, {slug(spec)}: run them "
                "with an --out each"
            )
    settings = {
        tokenizer.regionizer.spec: made_by(tokenizer, clip_sampling)
        for tokenizer in tokenizers.tokenizers
    }
    extras = {"rle": writing.rle, "names": tokenizers.name_regions}
    return Wanted(
        shared=shared_settings(next(iter(settings.values()))),
        by_spec={spec: spec_settings(values) for spec, values in settings.items()},
        extras=frozenset(name for name, is_wanted in extras.items() if is_wanted),
        drawing=DRAWING + writing.picture if writing.picture else "",
        resume=writing.resume,
        overwrite=writing.overwrite,
    )


def task_for(folder: Path, image: str, key: str, wanted: Wanted) -> Task:
    """What is to be made of an image whose output goes to a folder.

    Args:
        folder: the folder.
        image: the image's path, for messages.
        key: hash of the image's bytes.
        wanted: what the run wants.

    Raises:
        OtherOutput: If something else stands there that may not be replaced.
    """
    report = _own_report(folder, image)
    specs = tuple(wanted.by_spec)
    if not report:
        return Task(specs=specs, draw=bool(wanted.drawing))
    if reason := _other_folder(report, key, wanted):
        _refuse(folder, image, reason, wanted)
        return Task(specs=specs, draw=bool(wanted.drawing), stale=_listed_files(report))
    for entry in report["settings"]:
        if reason := _other_spec(entry, wanted):
            _refuse(folder, image, reason, wanted)
    if wanted.resume:
        specs = tuple(spec for spec in specs if not _is_whole(folder, report, spec, wanted))
    draw = bool(specs) or not _is_drawn(folder, report, wanted)
    return Task(specs=specs, draw=bool(wanted.drawing) and draw, report=report)


def _own_report(folder: Path, image: str) -> dict[str, Any]:
    """The report of an earlier output; {} if there is none.

    Raises:
        OtherOutput: If something stands there that is no output of `tokenize`.
    """
    if not folder.exists():
        return {}
    report = read_report(folder)
    if is_report(report):
        return report
    if report is None and _is_free(folder):
        return {}
    raise OtherOutput(
        f"{image}: {folder} is there and is no output of tokenize; choose another output folder"
    )


def _is_free(folder: Path) -> bool:
    """True if a folder has nothing but folders of other images and what a killed run left."""
    return folder.is_dir() and all(
        path.is_dir()
        or path.name.startswith(".")
        or path.name.endswith((REPORT, TOKENS, REGIONS))
        or path.stem == DRAWING
        for path in folder.iterdir()
    )


def _other_folder(report: Mapping[str, Any], key: str, wanted: Wanted) -> str:
    """Why the whole folder is of something else; "" if it is not."""
    if "made_by" not in report:
        return "was written by an older release, which did not say what made it"
    if report["key"] != key:
        return f"holds the tokens of another picture, {report.get('image')}"
    if other := difference(report["made_by"], wanted.shared):
        return f"was made with other settings: {other}"
    return ""


def _other_spec(entry: Mapping[str, Any], wanted: Wanted) -> str:
    """Why the files of a spec may not be replaced; "" if they may, or need not be."""
    spec = entry["spec"]
    if spec in wanted.by_spec:
        other = difference(entry["made_by"], wanted.by_spec[spec])
        return f"has {spec} with other settings: {other}" if other else ""
    for name in wanted.by_spec:
        if slug(name) == slug(spec):
            return f"has {spec}, whose files have the names of those of {name}"
    return ""


def _refuse(folder: Path, image: str, reason: str, wanted: Wanted) -> None:
    if not wanted.overwrite:
        raise OtherOutput(
            f"{image}: {folder} {reason}; replace it with --overwrite, or choose another --out"
        )


def _is_whole(folder: Path, report: Mapping[str, Any], spec: str, wanted: Wanted) -> bool:
    """True if a spec was done with the same settings, and its files are as they were written."""
    return any(
        entry["spec"] == spec
        and entry["made_by"] == wanted.by_spec[spec]
        and wanted.extras <= set(entry["extras"])
        and all(is_as_written(folder, report, name) for name in spec_names(spec))
        for entry in report["settings"]
    )


def _is_drawn(folder: Path, report: Mapping[str, Any], wanted: Wanted) -> bool:
    """True if the picture shows all that is wanted; without --resume it is always drawn again."""
    shown = report.get("drawn", [])
    return (
        wanted.resume
        and set(wanted.by_spec) <= set(shown)
        and is_as_written(folder, report, wanted.drawing)
    )


def is_as_written(folder: Path, report: Mapping[str, Any], name: str) -> bool:
    """True if a file has the size and the hash that the report says."""
    entry = report["files"].get(name)
    try:
        return bool(entry) and entry == file_entry(folder / name, entry["bytes"])
    except (OSError, TypeError, KeyError):
        return False


def file_entry(path: Path, size: int | None = None) -> dict[str, Any]:
    """What a report says of a file: its size and hash.

    Args:
        path: the file.
        size: size from which on the hash is worth computing; None computes it.
    """
    length = path.stat().st_size
    if size is not None and length != size:
        return {"bytes": length}
    return {"bytes": length, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _listed_files(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the files that an output consists of, its report among them."""
    names = list(report.get("files", ()))
    if "made_by" not in report:  # an older release: the names follow from the specs
        names = [f"{DRAWING}.png", *_older_names([entry["spec"] for entry in report["settings"]])]
    return (REPORT, *(name for name in names if name == Path(name).name))


def _older_names(specs: Sequence[str]) -> list[str]:
    """The names that an older release gave the files of some specs."""
    stems = [slug(spec, always_plain=True) for spec in specs]
    hashes = [hashlib.sha256(spec.encode()).hexdigest()[:8] for spec in specs]
    return [
        (f"{stem}~{digest}" if stems.count(stem) > 1 else stem) + ending
        for stem, digest in zip(stems, hashes, strict=True)
        for ending in (TOKENS, REGIONS)
    ]
