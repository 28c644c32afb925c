"""Features of a frozen encoder, kept on disk: one file a picture, with all its views.

A file's name and folder follow from everything that decides its features.

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
from regiontok.system.strict_json import parse_json
from regiontok.tokenizer.regionizer import Regionizer

_TENSOR_FIELDS = ("features", "values", "prefix", "cls_attention")
_PLAIN_FIELDS = ("summaries", "padding", "key", "view")


@dataclass
class CacheCounts:
    """How many pictures one process has loaded and encoded.

    Attributes:
        loaded: pictures whose features came from disk.
        encoded: pictures that were encoded and kept.
        corrupt: damaged files that were found; their pictures are encoded again.
    """

    loaded: int = 0
    encoded: int = 0
    corrupt: int = 0


class FeatureCache:
    """Patch grids of pictures, loaded from a folder, or encoded and kept in it.

    Any number of processes may share the folder.

    Args:
        folder: the folder; in it there is one for every encoder (with its segmenter's masks, if
            some step reads them).
        settings: settings of the region tokenizer; steps, pool and norm do not matter.
        device: device that encodes pictures which are not in the folder yet. Worker processes of a
            GPU run should find all of them there: see `fill`.
    """

    def __init__(
        self, folder: str | Path, settings: TokenizerSettings, *, device: str = "cpu"
    ) -> None:
        self.settings, self.device, self.counts = settings, device, CacheCounts()
        self._regionizer: Regionizer | None = None
        fingerprint = json.loads(self.regionizer.fingerprint)
        del fingerprint["steps"]
        self.identity = json.dumps({**fingerprint, "form": 1})
        self.folder = Path(folder) / sha256(self.identity.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing_shared(self.folder / "what.json") as temporary:
            temporary.write_text(self.identity + "\n", encoding="utf-8")

    @property
    def regionizer(self) -> Regionizer:
        """The regionizer that encodes; it is built at its first use in a process."""
        if self._regionizer is None:
            self._regionizer = Regionizer.of(self.settings, device=self.device)
        return self._regionizer

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_regionizer": None}

    def views(self, images: Sequence[str | Picture]) -> list[PatchGrid]:
        """The views of several images, image by image; without tiles there is one an image.

        A file whose grids are kept is hashed, not decoded. All others are encoded together.

        Raises:
            PictureError: If an image has to be decoded and cannot be.
        """
        views_by_image: list[list[PatchGrid] | None] = []
        missing: list[tuple[int, Picture]] = []
        for index, image in enumerate(images):
            key, content = _key_and_content(image)
            grids = self.load(key)
            views_by_image.append(grids)
            if grids is None:
                missing.append((index, _decoded(content, image)))
        if missing:
            fresh_grids = self.regionizer.see([picture for _, picture in missing])
            owners = images_of(fresh_grids)
            for number, (index, picture) in enumerate(missing):
                grids = [
                    grid for grid, owner in zip(fresh_grids, owners, strict=True) if owner == number
                ]
                self._save(picture.key, grids)
                views_by_image[index] = grids
        return [grid for grids in views_by_image for grid in grids or []]

    def fill(self, images: Iterable[str], *, batch: int = 16) -> list[tuple[str, str]]:
        """Encode and keep all images that are not in the folder yet.

        Returns:
            (image, reason) of each image that cannot be decoded.
        """
        failures: list[tuple[str, str]] = []
        waiting: list[Picture] = []
        for image in images:
            try:
                key, content = _key_and_content(image)
                if self.load(key) is None:
                    waiting.append(_decoded(content, image))
            except PictureError as error:
                failures.append((image, str(error)))
            if len(waiting) >= batch:
                self.views(waiting)
                waiting = []
        if waiting:
            self.views(waiting)
        return failures

    def load(self, key: str) -> list[PatchGrid] | None:
        """The views kept under a picture's key.

        Returns:
            None if there is no file, or if it is damaged; damaged files are counted.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            grids = _read_grids(path)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            self.counts.corrupt += 1
            return None
        self.counts.loaded += 1
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

    def _save(self, key: str, grids: Sequence[PatchGrid]) -> None:
        tensors = _tensors_of(grids)
        views = [
            {name: getattr(grid, name) for name in _PLAIN_FIELDS} | {"frame": asdict(grid.frame)}
            for grid in grids
        ]
        # masks are the picture's, so they are the same for all its views
        masks = _masks_as_json(grids[0].masks)
        about = {"views": views, "check": _checksum(tensors), "masks": masks}
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        with replacing_shared(path) as temporary:
            save_file(tensors, temporary, metadata={"about": json.dumps(about)})
        self.counts.encoded += 1


def _tensors_of(grids: Sequence[PatchGrid]) -> dict[str, Tensor]:
    """The tensors of all views, by "view.field".

    They are copies: safetensors refuses tensors that share memory, and values may be a view of
    features.
    """
    values = {
        f"{view}.{name}": getattr(grid, name)
        for view, grid in enumerate(grids)
        for name in _TENSOR_FIELDS
    }
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in values.items()
        if value is not None
    }


def _masks_as_json(masks: PixelMasks | None) -> dict[str, Any] | None:
    if masks is None:
        return None
    return {
        "size": masks.size,
        "counts": [code.decode("ascii") for code in masks.counts],
        "scores": None if masks.scores is None else masks.scores.tolist(),
        "names": masks.names,
    }


def _masks_from_json(stored: dict[str, Any] | None) -> PixelMasks | None:
    if stored is None:
        return None
    return PixelMasks(
        tuple(stored["size"]),
        tuple(code.encode("ascii") for code in stored["counts"]),
        None if stored["scores"] is None else np.array(stored["scores"], np.float64),
        None if stored["names"] is None else tuple(stored["names"]),
    )


def _read_grids(path: Path) -> list[PatchGrid]:
    with safe_open(path, framework="pt") as file:
        about = parse_json(file.metadata()["about"])
        names = file.keys()  # the file is no mapping and cannot be iterated itself
        tensors = {name: file.get_tensor(name) for name in names}
    if about["check"] != _checksum(tensors):
        raise ValueError(f"{path} is damaged")
    masks = _masks_from_json(about["masks"])
    grids = []
    for view, plain in enumerate(about["views"]):
        frame = Frame(**{name: tuple(value) for name, value in plain.pop("frame").items()})
        fields: dict[str, Any] = {name: tensors.get(f"{view}.{name}") for name in _TENSOR_FIELDS}
        grids.append(PatchGrid(frame=frame, masks=masks, **fields, **plain))
    return grids


def _checksum(tensors: dict[str, Tensor]) -> int:
    """A checksum: safetensors notices a file that is too short, not one with a flipped bit."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes(), total)
    return total


def _key_and_content(image: str | Picture) -> tuple[str, Picture | bytes]:
    """(key, picture or its undecoded bytes)."""
    if isinstance(image, str) and not is_generated(image):
        try:
            data = Path(image).read_bytes()
        except OSError as error:
            raise PictureError(f"{image}: cannot be read ({error.strerror})") from None
        return key_of(data), data
    picture = image if isinstance(image, Picture) else open_picture(image)
    return picture.key, picture


def _decoded(content: Picture | bytes, image: str | Picture) -> Picture:
    return content if isinstance(content, Picture) else Picture.of(content, str(image))
