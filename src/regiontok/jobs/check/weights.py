"""`regiontok check --weights`: do checkpoints give the numbers that were published for them?

A damaged download, or a version of a library that reads a checkpoint differently, shows nowhere
else: tokens still come out, and they are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from regiontok.core.decoding import stored_size
from regiontok.core.picture import Picture, PictureError
from regiontok.jobs.check.runners import RUNNERS
from regiontok.jobs.check.slices import SLICES, OutputSlice, SlicePhoto
from regiontok.system.errors import first_line
from regiontok.system.hub import availability, cached_folder
from regiontok.system.need import need

SliceState = Literal["holds", "fails", "not here", "broken"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
# what is fetched: with the tokenizer's files, which `locate` leaves out
DOWNLOADED = ("*.json", "*.txt", "*.model", "model*.safetensors")


@dataclass(frozen=True)
class Verdict:
    """What became of one slice.

    Attributes:
        slice: the published numbers.
        state: "holds" within the tolerance; "fails" beyond it; "not here" without weights or photo;
            "broken" if it could not be run.
        off: the largest absolute difference of any number; None if there is nothing to compare.
        why: what is missing, or went wrong.
    """

    slice: OutputSlice
    state: SliceState
    off: float | None = None
    why: str = ""


def check_weights(
    slices: Iterable[OutputSlice] = SLICES,
    *,
    photos: Path | None = None,
    checkpoints: Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Iterator[Verdict]:
    """Hold checkpoints against their published outputs, one slice after the other.

    Args:
        slices: the published numbers.
        photos: folder in which, however deep, the photos lie.
        checkpoints: folder of local checkpoints, `ORG/NAME` or `NAME`; the hub's cache is looked up
            after it.
        download: fetch from the hub what is not on this machine.
        device: where the models run.
    """
    for published in slices:
        folder, missing = _checkpoint(published, checkpoints, download)
        paths = [_find_photo(photo, photos) for photo in published.photos]
        absent = [
            photo for photo, path in zip(published.photos, paths, strict=True) if path is None
        ]
        if absent:
            missing = "; ".join(filter(None, [missing, _no_photos(absent, photos)]))
        if missing or folder is None:
            yield Verdict(published, "not here", why=missing)
            continue
        pictures = [Picture.of(path) for path in paths if path is not None]
        try:
            with torch.no_grad():
                outputs = RUNNERS[published.runner](folder, pictures, published.prompts, device)
            yield compare(published, outputs)
        except (ValueError, TypeError, RuntimeError, OSError, ImportError, AttributeError) as error:
            # Whatever a foreign checkpoint or another version of the library raises is this slice's
            # result, not the command's end.
            yield Verdict(published, "broken", why=f"{type(error).__name__}: {first_line(error)}")


def compare(published: OutputSlice, outputs: Mapping[str, Tensor]) -> Verdict:
    """Whether outputs are within the tolerance of the published numbers.

    >>> published = OutputSlice(model="a/b", runner="features", expected={"x": (1.0, 2.0)})
    >>> compare(published, {"x": torch.tensor([1.0, 2.5])}).state
    'fails'
    """
    off, holds = 0.0, True
    for name, numbers in published.expected.items():
        expected = torch.tensor(numbers, dtype=torch.float64)
        output = outputs[name].double().cpu()
        if expected.shape != output.shape:
            why = f"{name}: shape {tuple(output.shape)} where {tuple(expected.shape)} was published"
            return Verdict(published, "fails", why=why)
        off = max(off, float((expected - output).abs().max()))
        holds &= torch.allclose(output, expected, rtol=published.rtol, atol=published.atol)
    return Verdict(published, "holds" if holds else "fails", off, "" if holds else published.note)


def weights_report(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One entry a slice, as the closing JSON line holds it."""
    return [
        {
            "model": verdict.slice.model,
            "outputs": list(verdict.slice.expected),
            "state": verdict.state,
            "off": verdict.off,
            "why": verdict.why,
        }
        for verdict in verdicts
    ]


def _checkpoint(
    published: OutputSlice, checkpoints: Path | None, download: bool
) -> tuple[Path | None, str]:
    """The folder of a model with all that the slice needs, or why there is none."""
    names = (published.model, published.model.split("/")[-1])
    for folder in (checkpoints / name for name in names) if checkpoints else ():
        if folder.is_dir():
            lacking = _lacking(folder, published)
            return (None, f"{folder} has no {lacking}") if lacking else (folder, "")
    in_cache = cached_folder(published.model)
    lacking = _lacking(in_cache, published) if in_cache else "weights"
    if not lacking:
        return in_cache, ""
    if not download:
        return None, f"its {lacking} are not on this machine (--download fetches them)"
    hub = need("huggingface_hub", extra="hub")
    try:
        folder = Path(hub.snapshot_download(published.model, allow_patterns=list(DOWNLOADED)))
    except (OSError, ValueError) as error:
        return None, f"could not be fetched: {first_line(error)}"
    lacking = _lacking(folder, published)
    return (None, f"the hub has no {lacking} of it on main") if lacking else (folder, "")


def _lacking(folder: Path, published: OutputSlice) -> str:
    """What the slice needs and a folder has not; "" if it has all.

    `locate` leaves tokenizers out, so the cache may hold weights without one.
    """
    if availability(folder) != "yes":
        return "config.json and safetensors"
    if "texts" in published.prompts and not any(
        (folder / name).is_file() for name in TOKENIZER_FILES
    ):
        return "tokenizer files"
    return ""


def _find_photo(photo: SlicePhoto, root: Path | None) -> Path | None:
    """The first file below `root` of one of the names and of the right size."""
    if root is None:
        return None
    for name in photo.names:
        for path in sorted(root.rglob(name)):
            with suppress(PictureError):  # a damaged file of that name is none of the photos
                if stored_size(path.read_bytes(), str(path))[0] == photo.size:
                    return path
    return None


def _no_photos(absent: Sequence[SlicePhoto], root: Path | None) -> str:
    names = ", ".join(
        f"{photo.names[0]} of {photo.size[1]} x {photo.size[0]} pixels" for photo in absent
    )
    return f"no photo {names} {f'under {root}' if root else '(name a folder: --photos)'}"
