"""The two kinds of model one can chat with, behind one face: a trained `RegionVLM`, and a released
model with regions inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from transformers import AutoTokenizer

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.core.tokens import REGION, Tokens, cat
from regiontok.model.config import RegionVLMConfig
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.vlm import ReleasedVLM, from_vlm
from regiontok.system.pretrained import quiet_transformers

if TYPE_CHECKING:
    from jaxtyping import Int

Message = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture as the model gets it.

    Attributes:
        picture: as decoded.
        tokens: of this picture; the values belong to the model.
        frames: of each view: how the picture lies under the grid.
        regions: gives the regions of each view; they are made when somebody asks.
    """

    picture: Picture
    tokens: Tokens
    frames: tuple[Frame, ...]
    regions: Callable[[], tuple[Regions, ...]]


@dataclass(frozen=True, eq=False)
class Prompt:
    """A conversation ready to be answered.

    Attributes:
        shown: the pictures, in their order.
        columns: `[t]` int64: where the visual tokens of all pictures stand in the row.
        length: tokens of the row, text and visual.
        generate: takes options of transformers' `generate`.
    """

    shown: tuple[Shown, ...]
    columns: Int[Tensor, "t"]
    length: int
    generate: Callable[..., Any]


class Speaker(Protocol):
    """A model that talks about pictures.

    Attributes:
        model: what `watch` takes.
        tokenizer: of the language model.
    """

    model: Any
    tokenizer: Any

    def prompt(
        self, messages: Sequence[Message], pictures: Sequence[Picture], seconds: dict[str, float]
    ) -> Prompt:
        """The conversation with its pictures in the order of their places; each picture is encoded
        once, and what that took is added to `seconds` (encode, regions)."""
        ...


def load_speaker(
    name: str, *, regions: str = "", segmenter: str = "", device: str = "cpu"
) -> Speaker:
    """A folder of a `RegionVLM`, or a released model by hub name or folder.

    Args:
        name: see above.
        regions, segmenter: specs, of a released model; a trained one has its own.
        device: where it runs.

    Raises:
        ValueError: no model there, one without tokenizer or chat template, regions for a model that
            has its own.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(
            f"{name} holds no config.json: give the folder of a model (save_pretrained), or a hub name"
        )
    if folder.is_dir() and _kind(folder) == RegionVLMConfig.model_type:
        if regions or segmenter:
            raise ValueError(
                f"{name} was trained with its own regions: leave out --regions and --segmenter"
            )
        processor = _processor(folder)
        with quiet_transformers():
            model = RegionVLM.from_pretrained(folder)
        return Trained(model.to(device).eval(), processor)
    return Released(from_vlm(name, regions=regions, segmenter=segmenter or None, device=device))


def _kind(folder: Path) -> str:
    try:
        return str(
            json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        )
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.json'} cannot be read ({error})") from None


def _processor(folder: Path) -> RegionVLMProcessor:
    """The folder's processor; without one, around its tokenizer."""
    try:
        if (folder / "processor_config.json").is_file():
            return RegionVLMProcessor.from_pretrained(folder)
        return RegionVLMProcessor(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:  # transformers promises no kind
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{folder} has no processor or tokenizer that can be read ({line}); save one there: save_pretrained"
        ) from None


class Trained:
    """A `RegionVLM` and its processor.

    Raises:
        ValueError: the tokenizer's placeholder is not the model's, or there is no chat template.
    """

    def __init__(self, model: RegionVLM, processor: Any) -> None:
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        if processor.image_token_id != model.config.image_token_id:
            raise ValueError(
                f"the processor's {processor.image_token} has the id {processor.image_token_id}, the model's placeholder "
                f"{model.config.image_token_id}: it is another model's processor"
            )
        if not processor.chat_template:
            raise ValueError(
                "the tokenizer has no chat template: save one with it (tokenizer.chat_template = ...)"
            )
        self._seen: dict[str, Shown] = {}

    def prompt(
        self, messages: Sequence[Message], pictures: Sequence[Picture], seconds: dict[str, float]
    ) -> Prompt:
        """See `Speaker`."""
        shown = tuple(self._see(picture, seconds) for picture in pictures)
        text = self.processor.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
        begins = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        ids = self.tokenizer(text, add_special_tokens=not begins, return_tensors="pt").input_ids.to(
            self.model.device
        )
        tokens = cat([one.tokens for one in shown]) if shown else None
        made = self.model.spliced(ids, None, tokens, side="left")

        def generate(**options: Any) -> Any:
            return self.model.generate(ids, None, tokens, **options)

        return Prompt(shown, (made.visual[0] >= 0).nonzero()[:, 0], made.mask.shape[1], generate)

    @torch.no_grad()
    def _see(self, picture: Picture, seconds: dict[str, float]) -> Shown:
        if picture.key not in self._seen:
            tuned = self.model.config.tune_encoder
            start = perf_counter()
            grids = self.model.regionizer.see([picture])
            encoded = perf_counter()
            tokens = self.model.see([picture] if tuned else grids)
            seconds["encode"] += encoded - start
            seconds["regions"] += perf_counter() - encoded
            frames = tuple(grid.frame for grid in grids)
            self._seen[picture.key] = Shown(
                picture, tokens, frames, cache(lambda: self._regions(grids))
            )
        return self._seen[picture.key]

    @torch.no_grad()
    def _regions(self, grids: Sequence[PatchGrid]) -> tuple[Regions, ...]:
        """The regions that `RegionVLM.see` made its tokens of: the same steps on the same
        features."""
        read = [grid.but(features=grid.features.to(self.model.device)) for grid in grids]
        if self.model.config.settings.partition_on == "normed":
            typed = [grid.features.to(self.model.head_dtype) for grid in read]
            read = [
                grid.but(features=self.model.head.norm(own), values=grid.pooled.to(own))
                for grid, own in zip(read, typed, strict=True)
            ]
        return tuple(trail[-1].to("cpu") for trail in self.model.regionizer.trails(read))


class Released:
    """A released model; the tower sees the pictures of a conversation once, until another is added
    (some models see several together).

    What `prepare` takes counts as encode, regions included.

    Raises:
        ValueError: its processor has no chat template.
    """

    def __init__(self, vlm: ReleasedVLM) -> None:
        self.model, self.tokenizer = vlm, vlm.processor.tokenizer
        if not getattr(vlm.processor, "chat_template", None):
            raise ValueError(
                "the model's processor has no chat template, so it is no model to chat with"
            )
        self._seen: dict[tuple[str, ...], Any] = {}
        self._see, vlm.see = vlm.see, self._once  # type: ignore[method-assign]  # prepare() asks for every picture each time

    def _once(self, inputs: Any, seen: Sequence[Picture]) -> Any:
        key = tuple(picture.key for picture in seen)
        if key not in self._seen:
            self._seen[key] = self._see(inputs, seen)
        return self._seen[key]

    def prompt(
        self, messages: Sequence[Message], pictures: Sequence[Picture], seconds: dict[str, float]
    ) -> Prompt:
        """See `Speaker`."""
        start = perf_counter()
        text = self.model.processor.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
        made = self.model.prepare([picture.pil for picture in pictures] or None, text)
        seconds["encode"] += perf_counter() - start
        shown = tuple(
            _shown(picture, own) for picture, own in zip(pictures, made.tokens, strict=True)
        )
        columns = (made.input_ids[0] == self.model.image_token_id).nonzero()[:, 0]

        def generate(**options: Any) -> Any:
            return self.model.generate(made, **options)

        return Prompt(shown, columns, made.input_ids.shape[1], generate)


def _shown(picture: Picture, own: Any) -> Shown:
    """The tokens of a released model. Its own ones are patches where one view has as many; else
    they belong to no region."""
    regions, region, view = own.regions, own.region, own.view
    if (
        not regions
        and len(own.frames) == 1
        and len(own) == own.frames[0].grid[0] * own.frames[0].grid[1]
    ):
        regions = (Regions.singletons(own.frames[0].grid),)
        region, view = torch.arange(len(own), device=region.device), torch.zeros_like(view)
    image, patch = torch.zeros_like(region), torch.full_like(region, -1)
    tokens = Tokens(
        own.values, image, view, region, patch, torch.full_like(region, REGION), images=1
    )
    return Shown(picture, tokens, own.frames, lambda: tuple(one.to("cpu") for one in regions))
