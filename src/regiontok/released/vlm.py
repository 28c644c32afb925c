"""Region tokens inside a released model: its own tower, regions, its own projector, its own
language model. Nothing is trained.

After: diagnostic study, section 5, training-free use (rows D14, D17).
Differs: the tokens enter by `mm_encoder_outputs` of transformers instead of a patched model file.
Newline tokens, which end the rows of a grid, are kept where the pipeline is empty and dropped where
there are regions: a region lies in no row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.methods import Pool, RegionStep, Segmenter, Transform
from regiontok.released.door import check_door, rewrapped, visual_outputs
from regiontok.released.family import Cut, Family, ImageTokens, Seen
from regiontok.released.loading import check_kind, load
from regiontok.settings import registry
from regiontok.system.choices import check_choice
from regiontok.tokenizer.pipeline import RegionPipeline
from regiontok.tokenizer.regionizer import pictures

if TYPE_CHECKING:
    from jaxtyping import Float, Int

At = Literal["before", "after"]
Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Prompts with one placeholder a token, and the tokens that take their place.

    Attributes:
        input_ids, attention_mask: `[b s]` int64.
        tokens: one `ImageTokens` an image, in the order of the placeholders of the batch.
        more: what else the processor made for the language model.
    """

    input_ids: Int[Tensor, "b s"]
    attention_mask: Int[Tensor, "b s"]
    tokens: tuple[ImageTokens, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> list[int]:
        """Tokens of each image."""
        return [len(own) for own in self.tokens]

    def inputs(self) -> dict[str, Any]:
        """Arguments for the released model's `forward` or `generate`; fresh ones a call, because
        beams change the visual object."""
        made = {"input_ids": self.input_ids, "attention_mask": self.attention_mask, **self.more}
        return {**made, "mm_encoder_outputs": visual_outputs(self.tokens)} if self.tokens else made


class ReleasedVLM(nn.Module):
    """A released model that reads region tokens. Made by `from_vlm`.

    Attributes:
        model, processor: of transformers, untouched.
        family: what is known of the model's kind.
        pipeline: segmenter, transforms and steps; the grids come from the model's own tower.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        regions: Sequence[RegionStep] | str = "",
        segmenter: Segmenter | str | None = None,
        transforms: Sequence[Transform] | str = "",
        pool: Pool | str = "mean",
        at: At = "before",
        cut: Cut = "stitched",
        padding: str = "drop",
    ) -> None:
        super().__init__()
        check_choice("at", at, ("before", "after"))
        check_choice("cut", cut, ("stitched", "tile"))
        check_door(model)
        self.family = family_of(model, processor)
        self.model, self.processor, self.at, self.cut = model, processor, at, cut
        self.pipeline = RegionPipeline(
            segmenter=segmenter, transforms=transforms, steps=regions, padding=padding
        )
        self._pool = registry.resolve("pool", pool)
        with torch.device("meta"):  # of a width that any number of heads divides, at no cost
            learns = next(self._pool.build(5040).parameters(), None) is not None
        if learns:
            raise ValueError(
                f"pool {registry.render(self._pool)!r} has weights to learn, and nothing is trained here: take 'mean' or 'select'"
            )

    def prepare(
        self, images: Any, prompts: str | Sequence[str], *, side: Side = "left"
    ) -> Prepared:
        """Images and prompts -> what the language model gets.

        Args:
            images: one or many, of any kind that `Picture.of` takes, in the order of their
                placeholders; or a list a prompt (empty for text alone); None for text alone.
            prompts: texts with one placeholder (`processor.image_token`) an image.
            side: where the padding goes: "left" for generation.

        Raises:
            ValueError: more or fewer placeholders than images; both counts are said.
            PictureError: an image that cannot be decoded.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        seen, nested = self._check_counts(images, texts)
        processor, made = copy.copy(self.processor), _Expansion(self, seen)
        # the one place that expands placeholders: on a copy, so that the processor of others goes
        # on as it was
        processor.replace_image_token = made.of(self.processor.replace_image_token)
        given = None
        if seen:
            each = iter([picture.pil for picture in seen])
            given = (
                [[next(each) for _ in range(n)] for n in nested if n]
                if nested and self.family.nested
                else list(each)
            )
        options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
        out = processor(images=given, text=texts, **options)
        return self._prepared(out, made.tokens)

    def _prepared(self, out: Mapping[str, Any], tokens: Sequence[ImageTokens]) -> Prepared:
        device = self.model.device
        left = {name: value for name, value in out.items() if name not in self.family.consumed}
        left = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in left.items()
        }
        ids, mask = left.pop("input_ids"), left.pop("attention_mask")
        positions = self.family.positions(ids, mask, tokens)
        return Prepared(
            ids,
            mask,
            tuple(tokens),
            left if positions is None else {**left, "position_ids": positions},
        )

    def _check_counts(self, images: Any, texts: list[str]) -> tuple[list[Picture], list[int]]:
        """All pictures, and how many each prompt has if they came prompt by prompt."""
        token = self.processor.image_token
        wanted = [text.count(token) for text in texts]
        nested = [list(own) for own in images] if _is_nested(images) else []
        groups = nested or [[] if images is None else images]
        seen: list[Any] = [
            one
            for group in groups
            if not isinstance(group, list) or group
            for one in pictures(group)
        ]
        if nested and len(nested) != len(texts):
            raise ValueError(
                f"images came for {len(nested)} prompts, but there are {len(texts)} prompts"
            )
        if any(isinstance(one, Clip) for one in seen):
            raise ValueError(
                "a clip has no placeholder here: give its frames as images, one placeholder each"
            )
        if sum(wanted) != len(seen):
            raise ValueError(
                f"the prompts hold {sum(wanted)} {token} (by prompt: {wanted}), but {len(seen)} images were given"
            )
        if nested and [len(own) for own in nested] != wanted:
            raise ValueError(
                f"the prompts hold {wanted} {token}, but {[len(own) for own in nested]} images were given, prompt by prompt"
            )
        return seen, [len(own) for own in nested]

    @torch.no_grad()
    def see(self, inputs: Mapping[str, Any], seen: Sequence[Picture]) -> list[ImageTokens]:
        """Tokens of each image, from the tensors that the processor's image part made of these
        pictures."""
        moved = {name: self._moved(inputs[name]) for name in self.family.consumed if name in inputs}
        found = self.family.see(moved, [picture.size for picture in seen], self.cut)
        if len(found) != len(seen):
            raise ValueError(
                f"the processor's tensors hold {len(found)} images, but {len(seen)} pictures were given"
            )
        if not self.pipeline.steps:
            return [_own(image) for image in found]
        views = [
            view.grid.but(view=number, key=f"{picture.key}/{number}" if number else picture.key)
            for image, picture in zip(found, seen, strict=True)
            for number, view in enumerate(image.views)
        ]
        grids = self.pipeline.transformed(views, self.pipeline.masks(seen))
        last = iter([trail[-1] for trail in self.pipeline.trails(grids)])
        return [self._pooled(image, [next(last) for _ in image.views]) for image in found]

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return (
            value.to(self.model.device, self.model.dtype)
            if value.is_floating_point()
            else value.to(self.model.device)
        )

    def _pooled(self, image: Seen, regions: list[Regions]) -> ImageTokens:
        """The regions of one image as tokens, level by level (the projector's, then the
        deep-stacked ones'), all by the same regions."""
        members = Members.of(regions, [0] * len(regions))
        levels = []
        for level in range(len(image.own)):
            source = [getattr(view, self.at)[level].flatten(0, 1) for view in image.views]
            # sums run in float32; what then goes through the projector, or into the language model,
            # has the model's type again
            made = self._pool.build(source[0].shape[1])(torch.cat(source).float(), members)
            rows = made.values.to(source[0].dtype)
            levels.append(self.family.project(rows, level) if self.at == "before" else rows)
        return ImageTokens(
            levels[0],
            tuple(levels[1:]),
            made.view,
            made.region,
            _at(regions, members, made),
            tuple(view.grid.frame for view in image.views),
            tuple(regions),
        )

    def forward(
        self,
        prepared: Prepared | None = None,
        *,
        images: Any = None,
        prompts: Any = None,
        **options: Any,
    ) -> Any:
        """The released model's output over the expanded rows; from `prepare`'s answer, or from
        images and prompts.

        Options go to the model's own `forward`.
        """
        return self.model(**{**self._given(prepared, images, prompts).inputs(), **options})

    @torch.no_grad()
    def generate(
        self,
        prepared: Prepared | None = None,
        *,
        images: Any = None,
        prompts: Any = None,
        **options: Any,
    ) -> Any:
        """What transformers' `generate` gives: ids `[b s + new]` with the expanded prompts in
        front. Options go to it.

        Without a cache every step reads all ids again, and a generated placeholder would want a
        visual token: it is suppressed. With `past_key_values` of an earlier turn, `prepared` is the
        whole conversation; what the cache holds is not read again.

        Raises:
            ValueError: padding on the right; a cache that is not of a beginning of these prompts; a
                prompt that ends with an image in a family with positions of its own.
        """
        made = self._given(prepared, images, prompts)
        self._check_ends(made)
        if (past := options.get("past_key_values")) is not None:
            made = self._beyond(made, past.get_seq_length())
        if options.get("use_cache") is False:
            options.setdefault("suppress_tokens", [self.image_token_id])
        return self.model.generate(**{**made.inputs(), **options})

    def _check_ends(self, made: Prepared) -> None:
        """Decoding goes on from the last column: it must be text, and no padding."""
        if not made.attention_mask[:, -1].all():
            raise ValueError(
                "generation goes on from the last column, which is padding here: prepare(..., side='left')"
            )
        if "position_ids" in made.more and (made.input_ids[:, -1] == self.image_token_id).any():
            raise ValueError(
                "a prompt ends with an image, where this model would go on at a wrong position: end it with text"
            )

    def _beyond(self, made: Prepared, length: int) -> Prepared:
        """Without the images whose tokens are in the cache."""
        if length >= made.input_ids.shape[1]:
            raise ValueError(
                f"the cache holds {length} tokens, the prompts {made.input_ids.shape[1]}: prepare the whole conversation, what is cached "
                "and what is new"
            )
        stands = (made.input_ids == self.image_token_id) & made.attention_mask.bool()
        new = [bool((own >= length).any()) for own in stands.nonzero()[:, 1].split(made.counts)]
        cached = [bool((own < length).any()) for own in stands.nonzero()[:, 1].split(made.counts)]
        if any(one and other for one, other in zip(new, cached, strict=True)):
            raise ValueError(
                f"the cache ends inside an image (after {length} tokens): it is of another conversation"
            )
        return replace(
            made, tokens=tuple(own for own, kept in zip(made.tokens, new, strict=True) if kept)
        )

    def answer(self, images: Any, prompts: str | Sequence[str], **options: Any) -> list[str]:
        """The new text of each prompt, special tokens left out. Options go to `generate`."""
        made = self.prepare(images, prompts)
        new = self.generate(made, **options)[:, made.input_ids.shape[1] :]
        return self.processor.batch_decode(new, skip_special_tokens=True)

    @property
    def image_token_id(self) -> int:
        """The placeholder of a visual token."""
        return int(self.model.config.image_token_id)

    def _given(self, prepared: Prepared | None, images: Any, prompts: Any) -> Prepared:
        if (prepared is None) == (prompts is None):
            raise ValueError("give either what prepare() made, or images=... and prompts=...")
        made = self.prepare(images, prompts) if prepared is None else prepared
        if "position_ids" in made.more:
            self.family.started(made.input_ids, made.attention_mask, made.tokens)
        return made


def from_vlm(
    model: Any,
    processor: Any = None,
    *,
    regions: Sequence[RegionStep] | str = "",
    segmenter: Segmenter | str | None = None,
    transforms: Sequence[Transform] | str = "",
    pool: Pool | str = "mean",
    at: At = "before",
    cut: Cut = "stitched",
    padding: str = "drop",
    device: str = "cpu",
    dtype: str = "auto",
    attention: str | None = None,
    revision: str | None = None,
) -> ReleasedVLM:
    """A released vision-language model with region tokens in the place of its patches.

    Args:
        model: a hub name ("llava-hf/llava-1.5-7b-hf") or a folder: safetensors, no remote code. Or
            a model that is loaded.
        processor: of a loaded model.
        regions, segmenter, transforms: specs, or built methods, as `RegionTokenizer` takes them.
            The empty pipeline gives the model's own tokens, and so its own output.
        pool: "mean" (one token a region) or "select" (its patches).
        at: "before" pools what the model's projector reads and projects the regions; "after"
            projects every patch and pools.
        cut: where an image has tiles: "stitched" cuts regions over all of them as one grid, "tile"
            in each by itself. The low-resolution view of the whole image has its own regions in
            front of either.
        padding: "drop" keeps patches that see only padding out of every region.
        device, dtype, attention, revision: of a model that is loaded here; attention is "sdpa",
            "eager" or "flash_attention_2".

    Raises:
        ValueError: no such model, damaged, with pickled weights only, of a family that is not
            known, or a transformers that would ignore ready-made tokens.
    """
    if isinstance(model, str | Path):
        if processor is not None:
            raise ValueError(
                "a processor belongs to a model that is loaded; a name or folder brings its own"
            )
        model, processor = load(
            str(model),
            registry.names("family"),
            device=device,
            dtype=dtype,
            attention=attention,
            revision=revision,
        )
    elif processor is None:
        raise ValueError(
            f"{type(model).__name__} is loaded already: give its processor as the second argument"
        )
    return ReleasedVLM(
        model,
        processor,
        regions=regions,
        segmenter=segmenter,
        transforms=transforms,
        pool=pool,
        at=at,
        cut=cut,
        padding=padding,
    )


def family_of(model: Any, processor: Any) -> Family:
    """The family of a released model, built around it.

    Raises:
        ValueError: If no family is registered for the model's `model_type`.
    """
    kind = check_kind(model.config.model_type, registry.names("family"))
    family: Family = registry.load("family", kind)(model, processor)
    return family


class _Expansion:
    """The processor's own text of each image, with as many placeholders as the image has tokens;
    what stands around them is kept."""

    def __init__(self, vlm: ReleasedVLM, seen: Sequence[Picture]) -> None:
        self.vlm, self.seen = vlm, seen
        self.tokens: list[ImageTokens] = []

    def of(self, own: Callable[..., str]) -> Callable[..., str]:
        """The processor's method anew. Its first call sees all images: their counts are needed from
        then on."""

        def replace_image_token(
            image_inputs: Mapping[str, Any], image_idx: int, **options: Any
        ) -> str:
            if not self.tokens:
                self.tokens = self.vlm.see(image_inputs, self.seen)
            text = own(image_inputs, image_idx=image_idx, **options)
            return rewrapped(text, self.vlm.processor.image_token, len(self.tokens[image_idx]))

        return replace_image_token


def _own(image: Seen) -> ImageTokens:
    """The model's own tokens: the empty pipeline."""
    count, device = len(image.own[0]), image.own[0].device
    none = torch.full((count,), -1, dtype=torch.int64, device=device)
    at = torch.zeros(count, 2, dtype=torch.float64, device=device) if image.at is None else image.at
    return ImageTokens(
        image.own[0],
        tuple(image.own[1:]),
        none,
        none,
        at,
        tuple(view.grid.frame for view in image.views),
    )


def _at(regions: Sequence[Regions], members: Members, tokens: Any) -> Float[Tensor, "t 2"]:
    """(y, x) of each token: its patch, or its region's centroid."""
    centroids = torch.cat([own.centroids for own in regions])[
        members.regions[tokens.view] + tokens.region
    ]
    wide = torch.tensor([own.grid[1] for own in regions], device=tokens.view.device)[tokens.view]
    patch = torch.stack([tokens.patch // wide, tokens.patch % wide], 1).double()
    return torch.where((tokens.patch >= 0)[:, None], patch, centroids)


def _is_nested(images: Any) -> bool:
    return (
        isinstance(images, list | tuple)
        and bool(images)
        and all(isinstance(own, list | tuple) for own in images)
    )
