"""`regiontok export`: images -> region tokens of the language model's width, for a server that
takes image embeddings (vLLM's LLaVA).

After: vLLM's `image_embeds` of LLaVA (vllm/model_executor/models/llava.py,
`LlavaImageEmbeddingInputs`; vllm/multimodal/parse.py).
Differs: nothing known. vLLM joins the images of a batch in one tensor `[n, k, e]`, so all images of
an export have one k.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.data.collect import NamedPath as Item
from regiontok.model.config import RegionVLMConfig
from regiontok.model.vlm import RegionVLM
from regiontok.released.vlm import from_vlm
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.checkpoint import locate, read_json
from regiontok.system.files import replacing

if TYPE_CHECKING:
    from jaxtyping import Float

MANIFEST = "manifest.json"
Dtype = Literal["float32", "float16", "bfloat16"]
See = Callable[[Sequence[Picture]], "list[Float[Tensor, 'k e']]"]


@dataclass(frozen=True, eq=False)
class Source:
    """A model's eyes: pictures in, projected tokens out.

    Attributes:
        name: of the model: a hub name or a folder.
        kind: its model_type.
        width: e, of the language model.
        identity: of what decides the tokens, as text: the settings, and hashes of the weights where
            a trained model keeps them.
        see: `[k e]` of each picture.
        longest: positions of the language model, None where it does not say.
    """

    name: str
    kind: str
    width: int
    identity: str
    see: See
    longest: int | None = None


@dataclass(frozen=True)
class Exported:
    """What became of one image: its entry in the manifest, or why it was set aside."""

    item: Item
    entry: dict[str, Any] | None = None
    error: str | None = None


@dataclass
class Export:
    """One run; `manifest` is what stands in manifest.json once all images went through.

    Args:
        source: see `open_source`.
        out: folder; NAME.safetensors (`image_embeds`) and NAME.pt (the bare tensor) an image, and
            manifest.json.
        k: tokens every image must have; None: as many as the first one has.
        dtype: of the tensors that are written.
        batch: pictures encoded together.
    """

    source: Source
    out: Path
    k: int | None = None
    dtype: Dtype = "bfloat16"
    batch: int = 8
    entries: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def run(self, items: Sequence[Item]) -> Iterator[Exported]:
        """Each image when its files are written; the manifest is written last. A bad image is set
        aside and the others go on."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / MANIFEST).unlink(missing_ok=True)  # a manifest speaks of a whole run
        self.entries, self.failed = [], []
        for start in range(0, len(items), self.batch):
            for done in self._batch(items[start : start + self.batch]):
                if done.entry:
                    self.entries.append(done.entry)
                else:
                    self.failed.append({"image": str(done.item.path), "error": str(done.error)})
                yield done
        with replacing(self.out / MANIFEST) as path:
            path.write_text(json.dumps(self.manifest, indent=2) + "\n", encoding="utf-8")

    @property
    def manifest(self) -> dict[str, Any]:
        """What a server must know before it sees a tensor, and one entry an image."""
        own = self.source
        head = {
            "model": own.name,
            "model_type": own.kind,
            "k": self.k,
            "hidden_size": own.width,
            "dtype": self.dtype,
        }
        made = hashlib.sha256(own.identity.encode()).hexdigest()[:32]
        return {
            **head,
            "longest": own.longest,
            "made_by": made,
            "images": self.entries,
            "failed": self.failed,
        }

    def _batch(self, items: Sequence[Item]) -> Iterator[Exported]:
        found: list[tuple[Item, Picture]] = []
        for item in items:
            try:
                found.append((item, Picture.of(item.path)))
            except ValueError as error:
                yield Exported(item, error=str(error))
        yield from self._seen(found)

    def _seen(self, found: list[tuple[Item, Picture]]) -> Iterator[Exported]:
        if not found:
            return
        try:
            values = self.source.see([picture for _, picture in found])
        except ValueError as error:
            if len(found) == 1:
                yield Exported(found[0][0], error=str(error))
                return
            for one in found:  # find the picture that spoils its batch
                yield from self._seen([one])
            return
        for (item, picture), own in zip(found, values, strict=True):
            yield self._write(item, picture, own)

    def _write(self, item: Item, picture: Picture, values: Float[Tensor, "k e"]) -> Exported:
        count = len(values)
        if self.k is None and count:
            self.k = count
        if count != self.k or not count:
            return Exported(
                item,
                error=f"{count} tokens where every image must have {self.k or 'some'}: vLLM joins images in one tensor; "
                "take regions of an exact number, merge(k=...)",
            )
        values = values.detach().to("cpu", getattr(torch, self.dtype)).contiguous()
        if not values.isfinite().all():
            return Exported(
                item, error=f"tokens are not finite in {self.dtype}: take bfloat16 or float32"
            )
        plain, torches = (self.out / f"{item.name}{suffix}" for suffix in (".safetensors", ".pt"))
        plain.parent.mkdir(parents=True, exist_ok=True)
        with replacing(plain) as path:
            save_file({"image_embeds": values}, path, metadata={"format": "pt", "key": picture.key})
        with replacing(torches) as path:
            torch.save(values.clone(), path)
        files = {
            "safetensors": plain.relative_to(self.out).as_posix(),
            "torch": torches.relative_to(self.out).as_posix(),
        }
        return Exported(
            item,
            {"image": str(item.path), "key": picture.key, "shape": list(values.shape), **files},
        )


def open_source(
    name: str, *, regions: str = "", segmenter: str = "", device: str = "cpu", dtype: str = "auto"
) -> Source:
    """The eyes of a `RegionVLM` folder or of a released LLaVA-1.5 (hub name or folder).

    Args:
        name: see above.
        regions: spec, say "merge(k=144) | sort('com')"; "" is a trained model's own, and a released
            model's own tokens.
        segmenter: spec, for regions that read masks.
        device, dtype: where and in what type the model computes.

    Raises:
        ValueError: no such model; a released one that is no LLaVA-1.5: other models of vLLM want
            more beside their tokens.
    """
    kind = str(read_json(locate(name) / "config.json").get("model_type"))
    if kind == RegionVLMConfig.model_type:
        return _trained(name, regions, segmenter, device, dtype)
    if kind != "llava":
        raise ValueError(
            f"{name} is a {kind!r}: vLLM takes bare image tokens in its LLaVA-1.5 ('llava') only; give one, or a RegionVLM's folder"
        )
    vlm = from_vlm(name, regions=regions, segmenter=segmenter or None, device=device, dtype=dtype)
    image = vlm.processor.image_token

    def see(pictures: Sequence[Picture]) -> list[Tensor]:
        return [own.values for own in vlm.prepare(list(pictures), [image] * len(pictures)).tokens]

    text = vlm.model.config.get_text_config()
    steps = json.dumps([name, regions, segmenter, vlm.model.config.to_json_string()])
    return Source(
        name, kind, text.hidden_size, steps, see, getattr(text, "max_position_embeddings", None)
    )


def _trained(name: str, regions: str, segmenter: str, device: str, dtype: str) -> Source:
    model = RegionVLM.from_pretrained(name, dtype=dtype).to(device).eval()
    other = {key: value for key, value in (("regions", regions), ("segmenter", segmenter)) if value}
    if other:
        model.config.visual = TokenizerSettings.model_validate(
            {**model.config.visual, **other}
        ).model_dump()

    @torch.no_grad()
    def see(pictures: Sequence[Picture]) -> list[Tensor]:
        return model.see(pictures).split()

    text = model.config.text_config.get_text_config()
    head = hashlib.sha256()
    learned = [model.head, *([model.vision] if model.config.tune_encoder else [])]
    for key, value in (pair for module in learned for pair in sorted(module.state_dict().items())):
        head.update(key.encode() + value.detach().cpu().float().numpy().tobytes())
    identity = json.dumps([model.config.visual, model.config.visual_identity, head.hexdigest()])
    return Source(
        name,
        model.config.model_type,
        text.hidden_size,
        identity,
        see,
        getattr(text, "max_position_embeddings", None),
    )


def check_dtype(text: str) -> Dtype:
    """The type itself.

    Raises:
        ValueError: it is none that an export is written in.
    """
    if text not in get_args(Dtype):
        raise ValueError(f"dtype must be {', '.join(get_args(Dtype))}, not {text!r}")
    return cast(Dtype, text)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export.

    Raises:
        ValueError: none there: the run did not end, or it is no export.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} has no {MANIFEST}: it is no export, or the run did not end")
    return read_json(path)


def serving(
    manifest: dict[str, Any], *, text: int = 512, images: int = 1, model: str | None = None
) -> dict[str, Any]:
    """Arguments of `vllm.LLM` (with dashes, of `vllm serve`) that an export needs.

    Embeddings are allowed; no raw image is, so that the vision tower is not loaded (embeddings are
    not counted against that limit); `max_model_len` are the positions of text and image tokens
    together.

    Args:
        manifest: see `read_manifest`.
        text: tokens of prompt and answer together.
        images: the most in one prompt.
        model: the checkpoint to serve, if it is not the one the tokens were made with; needed for a
            `RegionVLM`, see `write_llava`.

    Raises:
        ValueError: no image; more positions than the language model has; a RegionVLM itself, which
            vLLM does not know.
    """
    if not manifest["k"]:
        raise ValueError("the export holds no image: all were set aside, its manifest says why")
    if model is None and manifest["model_type"] != "llava":
        raise ValueError(
            f"vLLM does not know a {manifest['model_type']}: write its language model as a LLaVA and give that as model"
        )
    need, most = images * manifest["k"] + text, manifest["longest"]
    if most is not None and need > most:
        raise ValueError(
            f"{images} images of {manifest['k']} tokens and {text} of text are {need}, the language model takes {most}: "
            "take fewer regions (merge(k=...)), fewer images or less text"
        )
    return {
        "model": model or manifest["model"],
        "enable_mm_embeds": True,
        "limit_mm_per_prompt": {"image": 0},
        "max_model_len": need,
        "dtype": manifest["dtype"],
    }


def requests(
    folder: Path, prompt: str, *, placeholder: str = "<image>"
) -> Iterator[dict[str, Any]]:
    """One request an image for `vllm.LLM.generate`: the prompt, and `[1 k e]` as its image.

    Raises:
        ValueError: a prompt without exactly one placeholder; a tensor that is not what the manifest
            says.
    """
    if prompt.count(placeholder) != 1:
        raise ValueError(
            f"a prompt holds one {placeholder} for its image, this one {prompt.count(placeholder)}: {prompt!r}"
        )
    manifest = read_manifest(folder)
    for entry in manifest["images"]:
        values = torch.load(folder / entry["torch"], weights_only=True)
        if list(values.shape) != [manifest["k"], manifest["hidden_size"]]:
            raise ValueError(
                f"{entry['torch']} is {list(values.shape)}, the manifest says {entry['shape']}: export it anew"
            )
        yield {"prompt": prompt, "multi_modal_data": {"image": values[None]}}
