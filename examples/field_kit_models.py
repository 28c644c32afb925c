"""What the field kit (`field_kit.py`) knows of models and of ways to make fewer visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = ("llava-hf/llava-1.5-7b-hf", "Qwen/Qwen2.5-VL-7B-Instruct")
# for the estimates of --dry-run: an A100 at these shares of its 312 TFLOP/s and 2 TB/s
FLOPS, BYTES = 0.4 * 312e12, 0.6 * 2e12
FEWEST, MOST = 4, 16_384  # tokens of a picture in Qwen's own processors
PICTURE_SECONDS, TEXT_TOKENS, REPLY_TOKENS, WORKING_BYTES = 0.05, 80, 8, 2e9


@dataclass(frozen=True)
class Reducer:
    """A way to make fewer visual tokens.

    Attributes:
        spec: its step, with {k} for the budget.
        needs_cls: True if it chooses by the attention of CLS, which not every tower has.
    """

    spec: str
    needs_cls: bool = False


METHODS = {
    "merge": Reducer("merge(k={k})"),
    "pooling": Reducer("windows({k}, shape='photo')"),
    "stride": Reducer("stride({k})"),
    "tome": Reducer("tome({k})"),
    "visionzip": Reducer("visionzip({k})", needs_cls=True),
}


@dataclass(frozen=True)
class Checkpoint:
    """What the plan must know of a model before it is loaded.

    Attributes:
        name: hub name or folder.
        weights: bytes of its weights; 0 if they are not known.
        cached: bytes of keys and values of one token.
        patches: visual tokens of every picture; 0 if they go by its size.
        cell: side in pixels of what a visual token sees, where they go by its size.
        has_cls: True if the vision tower has a CLS token.
    """

    name: str
    weights: float
    cached: int
    patches: int = 0
    cell: int = 28
    has_cls: bool = False

    @property
    def label(self) -> str:
        """What the report calls it."""
        return Path(self.name).name

    def tokens(self, size: tuple[int, int]) -> int:
        """About how many visual tokens of its own a picture of (height, width) pixels has."""
        height, width = (max(1, round(side / self.cell)) for side in size)
        return self.patches or min(max(height * width, FEWEST), MOST)

    def estimate(self, visual: Sequence[int], longest: int, batch: int) -> dict[str, float]:
        """Mean tokens of a picture, and what answers want of an A100-like GPU; not measured.

        Args:
            visual: visual tokens of each question.
            longest: tokens of a reply at most.
            batch: questions that go through the model together.
        """
        cached = self.cached * (max(visual) + TEXT_TOKENS + longest) * batch
        reading = self.weights * (sum(visual) + TEXT_TOKENS * len(visual)) / FLOPS
        replies = REPLY_TOKENS * self.weights / BYTES * len(visual) / batch
        return {
            "tokens": sum(visual) / len(visual),
            "gigabytes": (self.weights + cached + WORKING_BYTES) / 1e9,
            "hours": (reading + replies + PICTURE_SECONDS * len(visual)) / 3600,
        }

    def regions(self, reducer: Reducer, budget: int) -> str:
        """The spec for at most so many tokens of a picture."""
        spec = reducer.spec.format(k=budget)
        return f"{spec if self.patches else f'above({budget}, {spec!r})'} | sort('com')"


KNOWN = {
    one.name: one
    for one in (
        Checkpoint(MODELS[0], 14.1e9, 524_288, patches=576, has_cls=True),
        Checkpoint(MODELS[1], 16.6e9, 57_344),
        Checkpoint("Qwen/Qwen2.5-VL-3B-Instruct", 7.5e9, 36_864),
    )
}


def checkpoint_of(name: str) -> Checkpoint:
    """A known checkpoint, or one by its config.json.

    Raises:
        ValueError: If it is of a family whose pictures have several views.
    """
    if name in KNOWN:
        return KNOWN[name]
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    text, vision = config.get_text_config(), config.vision_config.to_dict()
    heads = text.num_key_value_heads or text.num_attention_heads
    width = text.to_dict().get("head_dim") or text.hidden_size // text.num_attention_heads
    facts: dict[str, Any] = {
        "weights": float(sum(path.stat().st_size for path in Path(name).glob("*.safetensors"))),
        "cached": 4 * text.num_hidden_layers * heads * width,  # two of two bytes
    }
    if "spatial_merge_size" in vision:
        return Checkpoint(name, **facts, cell=vision["patch_size"] * vision["spatial_merge_size"])
    if config.model_type != "llava":
        raise ValueError(
            f"{name} is a {config.model_type}: the field kit knows LLaVA-1.5 and Qwen's models, "
            "where a picture is one view; others go by `regiontok answer`"
        )
    has_cls = vision["model_type"] == "clip_vision_model"
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    return Checkpoint(name, **facts, patches=patches, has_cls=has_cls)
