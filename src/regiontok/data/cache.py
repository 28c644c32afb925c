"""What the frozen encoder said, kept on disk: one file a picture (all its views), named by
everything that decides its features.

After: nothing published; LLaVA-style training encodes every picture anew each epoch.
Differs: nothing known. Features are kept in the encoder's own type, so a grid from disk equals a
fresh one to the last bit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture, PictureError, key_of
from regiontok.data.generated import is_generated
from regiontok.data.records import open_picture
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.files import replacing_shared
from regiontok.tokenizer.regionizer import Regionizer

_TENSORS = ("features", "values", "prefix", "cls_attention")
_REST = ("summaries", "padding", "key", "view")


@dataclass
class Counts:
    """What one process did with a cache."""

    read: int = 0
    made: int = 0
    corrupt: int = 0


class FeatureCache:
    """Grids of pictures, read from a folder or made and kept there. Any number of processes may
    share the folder.

    Args:
        folder: where; it holds a folder for every encoder, with its segmenter's masks if some step
            reads them.
        settings: of the region tokenizer; steps, pool and norm do not matter.
        device: where pictures are encoded that are not there yet. Worker processes of a GPU run
            should find all: see `fill`.
    """

    def __init__(
        self, folder: str | Path, settings: TokenizerSettings, *, device: str = "cpu"
    ) -> None:
        self.settings, self.device, self.counts = settings, device, Counts()
        self._regionizer: Regionizer | None = None
        parts = json.loads(self.regionizer.fingerprint)
        del parts["steps"]
        self.what = json.dumps({**parts, "form": 1})
        self.folder = Path(folder) / sha256(self.what.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing_shared(self.folder / "what.json") as part:
            part.write_text(self.what + "\n", encoding="utf-8")

    @property
    def regionizer(self) -> Regionizer:
        """Built at its first use in a process."""
        if self._regionizer is None:
            self._regionizer = Regionizer.of(self.settings, device=self.device)
        return self._regionizer

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_regionizer": None}

    def views(self, images: Sequence[str | Picture]) -> list[PatchGrid]:
        """The views of several images, image by image (without tiles: one each); what is not kept
        yet is encoded together.

        A file whose grids are kept is hashed, not decoded.

        Raises:
            PictureError: an image that has to be decoded and cannot be.
        """
        found: list[list[PatchGrid] | None] = []
        fresh: list[tuple[int, Picture]] = []
        for place, image in enumerate(images):
            key, picture = _identified(image)
            grids = self.load(key)
            found.append(grids)
            if grids is None:
                fresh.append(
                    (
                        place,
                        picture
                        if isinstance(picture, Picture)
                        else Picture.of(picture, str(image)),
                    )
                )
        if fresh:
            made = self.regionizer.see([picture for _, picture in fresh])
            owners = images_of(made)
            for number, (place, picture) in enumerate(fresh):
                own = [grid for grid, owner in zip(made, owners, strict=True) if owner == number]
                self._keep(picture.key, own)
                found[place] = own
        return [grid for grids in found for grid in grids or []]

    def fill(self, images: Iterable[str], *, batch: int = 16) -> list[tuple[str, str]]:
        """Keep the grids of all images; gives (image, reason) of those that cannot be decoded."""
        bad: list[tuple[str, str]] = []
        waiting: list[Picture] = []
        for image in images:
            try:
                key, picture = _identified(image)
                if self.load(key) is None:
                    waiting.append(
                        picture if isinstance(picture, Picture) else Picture.of(picture, image)
                    )
            except PictureError as error:
                bad.append((image, str(error)))
            if len(waiting) >= batch:
                self.views(waiting)
                waiting = []
        if waiting:
            self.views(waiting)
        return bad

    def load(self, key: str) -> list[PatchGrid] | None:
        """The views kept under a picture's key; None if there is none, or its file is damaged
        (which is counted)."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            grids = _read(path)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            self.counts.corrupt += 1
            return None
        self.counts.read += 1
        return grids

    def size(self) -> tuple[int, int]:
        """(files, bytes) of this encoder's grids on disk."""
        sizes = [
            path.stat().st_size
            for path in self.folder.glob("??/*.safetensors")
            if not path.name.startswith(".")
        ]
        return len(sizes), sum(sizes)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _keep(self, key: str, grids: Sequence[PatchGrid]) -> None:
        found = [
            (f"{at}.{name}", getattr(grid, name))
            for at, grid in enumerate(grids)
            for name in _TENSORS
        ]
        # copies: safetensors refuses tensors that share memory, and values may be a view of
        # features
        plain = torch.contiguous_format
        tensors = {
            name: value.detach().cpu().clone(memory_format=plain)
            for name, value in found
            if value is not None
        }
        rest = [
            {name: getattr(grid, name) for name in _REST} | {"frame": asdict(grid.frame)}
            for grid in grids
        ]
        masks = grids[0].masks  # of the picture, so the same for all its views
        about: dict[str, Any] = {"views": rest, "check": _check(tensors), "masks": None}
        if masks is not None:
            scores = None if masks.scores is None else masks.scores.tolist()
            codes = [code.decode("ascii") for code in masks.counts]
            about["masks"] = {
                "size": masks.size,
                "counts": codes,
                "scores": scores,
                "names": masks.names,
            }
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        with replacing_shared(path) as part:
            save_file(tensors, part, metadata={"about": json.dumps(about)})
        self.counts.made += 1


def _read(path: Path) -> list[PatchGrid]:
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        # noqa: SIM118 - it is no mapping
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if about["check"] != _check(tensors):
        raise ValueError(f"{path} is damaged")
    masks = None
    if (own := about["masks"]) is not None:
        scores = None if own["scores"] is None else np.array(own["scores"], np.float64)
        names = None if own["names"] is None else tuple(own["names"])
        masks = PixelMasks(
            tuple(own["size"]), tuple(code.encode("ascii") for code in own["counts"]), scores, names
        )
    grids = []
    for at, rest in enumerate(about["views"]):
        frame = Frame(**{name: tuple(value) for name, value in rest.pop("frame").items()})
        parts: dict[str, Any] = {name: tensors.get(f"{at}.{name}") for name in _TENSORS}
        grids.append(PatchGrid(frame=frame, masks=masks, **parts, **rest))
    return grids


def _check(tensors: dict[str, Tensor]) -> int:
    """A checksum: safetensors notices a file that is too short, not one with a flipped bit."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes(), total)
    return total


def _identified(image: str | Picture) -> tuple[str, Picture | bytes]:
    """(key, picture or its undecoded bytes)."""
    if isinstance(image, str) and not is_generated(image):
        try:
            data = Path(image).read_bytes()
        except OSError as error:
            raise PictureError(f"{image}: cannot be read ({error.strerror})") from None
        return key_of(data), data
    picture = image if isinstance(image, Picture) else open_picture(image)
    return picture.key, picture
