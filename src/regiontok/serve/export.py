"""`regiontok export`: images -> region tokens of the language model's width, for a server.

The server takes them as image embeddings, or as rows of a prompt (`regiontok.serve.vllm_requests`,
`regiontok.serve.prompt_rows`).

After: vLLM's `image_embeds` (vllm/multimodal/parse.py) and `prompt_embeds`.
Differs: nothing known. Where vLLM joins the images of a step in one tensor `[n, k, e]`, all images
of an export have one k; as rows of prompts, and in Qwen-VL, they may have any number.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch

from regiontok.core.picture import Picture
from regiontok.core.pixel_budget import announced_pixels, in_groups
from regiontok.data.collect import NamedPath, separate_names
from regiontok.serve.earlier import (
    MANIFEST,
    TENSORS,
    TORCH,
    earlier_export,
    obstacle,
    standing_tokens,
)
from regiontok.serve.token_source import TokenSource
from regiontok.system.errors import UnusableModel
from regiontok.system.files import UnwritableName, clear_name_errors, replacing
from regiontok.system.lease import folder_lease
from regiontok.system.strict_json import json_bytes
from regiontok.system.tensor_files import save_file

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class ExportedImage:
    """What became of one image.

    Attributes:
        item: the image.
        entry: its entry in the manifest; None if it was set aside.
        error: why it was set aside; None if it was done.
        resumed: True if an earlier export had done it.
    """

    item: NamedPath
    entry: dict[str, Any] | None = None
    error: str | None = None
    resumed: bool = False


@dataclass
class Export:
    """One run; `manifest` is what stands in manifest.json once all images went through.

    Args:
        source: what makes the tokens, see `open_token_source`.
        out: the folder; NAME.safetensors (`image_embeds`) and NAME.pt (the bare tensor) an image,
            and manifest.json.
        k: tokens every image must have; None: as many as the first one has, or any number where
            `equal` is False.
        dtype: type of the tensors that are written.
        batch: number of pictures encoded together.
        overwrite: replace what other settings made, or what was made of another picture.
        equal: True sets images aside with another number of tokens than the first; None does so
            where the server needs it, see `ServerForm.mixed_counts`.
        resume: leave images as they are whose files an earlier run with the same settings wrote
            whole, also one that was stopped.
    """

    source: TokenSource
    out: Path  # text becomes one
    k: int | None = None
    dtype: Dtype = "bfloat16"
    batch: int = 8
    overwrite: bool = False
    resume: bool = False
    equal: bool | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    # entries of an earlier export in the folder, by the name of their file
    _earlier: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        if self.equal is None:
            self.equal = not self.source.form.mixed_counts

    def run(self, items: Sequence[NamedPath]) -> Iterator[ExportedImage]:
        """Each image when its files are written; the manifest is written last.

        A bad image is set aside and the others go on. Images that an earlier export with the same
        settings wrote stay, and stay in the manifest.

        Raises:
            FolderInUse: If another process writes into the folder.
            ValueError: If the folder holds an export with other settings.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with folder_lease(self.out):
            self.entries, self.failed, self._earlier = [], [], {}
            if manifest := earlier_export(self.out, self.manifest, overwrite=self.overwrite):
                self.k = self.k or manifest["k"]
                self._earlier = {entry["safetensors"]: entry for entry in manifest["images"]}
            separate, same_name = separate_names(items)
            for item, reason in same_name:
                yield self._entered(ExportedImage(item, error=reason))
            for group in in_groups(separate, lambda item: announced_pixels(item.path), self.batch):
                for image in self._export_batch(group):
                    yield self._entered(image)
            with replacing(self.out / MANIFEST) as path:
                path.write_bytes(json_bytes(self.manifest, indent=2))

    def _entered(self, image: ExportedImage) -> ExportedImage:
        """The same image, entered among those of this run."""
        if image.entry:
            self.entries.append(image.entry)
        else:
            self.failed.append({"image": str(image.item.path), "error": str(image.error)})
        return image

    @property
    def _made_by(self) -> str:
        return hashlib.sha256(self.source.identity.encode()).hexdigest()[:32]

    @property
    def manifest(self) -> dict[str, Any]:
        """What a server must know before it sees a tensor, and one entry an image."""
        source = self.source
        entries = self._earlier | {entry["safetensors"]: entry for entry in self.entries}
        return {
            "model": source.name,
            "model_type": source.model_type,
            "k": self.k,
            "equal": self.equal,
            "most": max((entry["shape"][0] for entry in entries.values()), default=0),
            "hidden_size": source.width,
            "levels": source.levels,
            "form": asdict(source.form),
            "placeholder": source.placeholder,
            "image_token_id": source.image_token_id,
            "vocabulary": source.vocabulary,
            "dtype": self.dtype,
            "longest": source.longest,
            "made_by": self._made_by,
            "regiontok": version("regiontok"),
            "settings": dict(source.settings),
            "images": list(entries.values()),
            "failed": self.failed,
        }

    def _export_batch(self, items: Sequence[NamedPath]) -> Iterator[ExportedImage]:
        decoded: list[tuple[NamedPath, Picture]] = []
        for item in items:
            try:
                picture = Picture.of(item.path)
            except ValueError as error:
                yield ExportedImage(item, error=str(error))
                continue
            if self.resume and (entry := self._standing(item, picture)):
                yield ExportedImage(item, entry, resumed=True)
            else:
                decoded.append((item, picture))
        yield from self._encode_and_write(decoded)

    def _encode_and_write(
        self, decoded: Sequence[tuple[NamedPath, Picture]]
    ) -> Iterator[ExportedImage]:
        """Export pictures together, or one by one if one of them spoils their batch."""
        if not decoded:
            return
        try:
            tokens = self.source.tokens_of([picture for _, picture in decoded])
        except UnusableModel:
            raise
        except ValueError as error:
            if len(decoded) == 1:
                yield ExportedImage(decoded[0][0], error=str(error))
                return
            for pair in decoded:
                yield from self._encode_and_write([pair])
            return
        for (item, picture), values in zip(decoded, tokens, strict=True):
            try:
                with clear_name_errors(self.out / f"{item.name}{TENSORS}"):
                    image = self._write(item, picture, values)
            except UnwritableName as error:
                image = ExportedImage(item, error=f"{item.path}: {error}")
            yield image

    def _write(
        self, item: NamedPath, picture: Picture, values: Float[Tensor, "k e"]
    ) -> ExportedImage:
        self._settle(values)
        values = values.detach().to("cpu", getattr(torch, self.dtype)).contiguous()
        if error := self._problem(values):
            return ExportedImage(item, error=f"{item.path}: {error}")
        tensors, torch_file = (self.out / f"{item.name}{suffix}" for suffix in (TENSORS, TORCH))
        if reason := obstacle(tensors, picture.key, self._made_by, overwrite=self.overwrite):
            return ExportedImage(item, error=f"{item.path}: {reason}")
        tensors.parent.mkdir(parents=True, exist_ok=True)
        provenance = {
            "key": picture.key,
            "made_by": self._made_by,
            "model": self.source.name,
            "regiontok": version("regiontok"),
            "settings": dict(self.source.settings),
        }
        metadata = {"format": "pt", "regiontok": json.dumps(provenance, sort_keys=True)}
        with replacing(tensors) as path:
            save_file({"image_embeds": values}, path, metadata=metadata)
        archive = io.BytesIO()  # the bytes do not name the file, as those of a path would
        torch.save(values.clone(), archive)
        with replacing(torch_file) as path:
            path.write_bytes(archive.getbuffer())
        return ExportedImage(item, self._entry(item, picture, values.shape))

    def _standing(self, item: NamedPath, picture: Picture) -> dict[str, Any] | None:
        """The entry of an image whose files are there and whole; None if they are not."""
        values = standing_tokens(self.out / f"{item.name}{TENSORS}", picture.key, self._made_by)
        if values is None or values.dtype != getattr(torch, self.dtype):
            return None
        self._settle(values)
        return None if self._problem(values) else self._entry(item, picture, values.shape)

    def _entry(self, item: NamedPath, picture: Picture, shape: Sequence[int]) -> dict[str, Any]:
        """What the manifest says of an image."""
        return {
            "image": str(item.path),
            "key": picture.key,
            "shape": list(shape),
            "safetensors": f"{item.name}{TENSORS}",
            "torch": f"{item.name}{TORCH}",
        }

    def _settle(self, values: Float[Tensor, "k e"]) -> None:
        """Let the first image that has tokens say how many all have, where they must be equal."""
        if self.equal and self.k is None and len(values):
            self.k = len(values)

    def _problem(self, values: Float[Tensor, "k e"]) -> str | None:
        """Why an image's tokens cannot be part of this export, if there is a reason."""
        if not len(values) or (self.k is not None and len(values) != self.k):
            return (
                f"{len(values)} tokens where every image must have {self.k or 'some'}: vLLM joins "
                "images in one tensor; take regions of an exact number, merge(k=...)"
            )
        if values.ndim != 2 or values.shape[1] != self.source.width:
            return f"tokens are {list(values.shape)}, not [k, {self.source.width}]"
        if not values.isfinite().all():
            return f"tokens are not finite in {self.dtype}: take bfloat16 or float32"
        return None


def check_dtype(text: str) -> Dtype:
    """The type itself.

    Raises:
        ValueError: If it is none that an export is written in.
    """
    if text not in get_args(Dtype):
        raise ValueError(f"dtype must be {', '.join(get_args(Dtype))}, not {text!r}")
    return cast(Dtype, text)
