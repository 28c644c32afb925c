"""Recipes of referring segmentation: LISA's, that of RICE's authors, and a small one.

After: LISA (Lai et al., CVPR 2024) and its published settings: SAM's mask decoder, the embeddings
and LoRA on q and v learn at 3e-4, 10 x 500 steps of 2 x 10 x 8 rows. MLCD-Seg (deepglint/unicom,
`mlcd_vl/downstream`; RICE, Table 2): everything learns, the tower at a tenth of 2e-5, one epoch of
128 rows a step.
Differs: `mlcd` takes LISA's words and weights of losses and LLaVA's cosine with a warm-up of 3 %,
which its notes do not fix. LISA mixes in semantic segmentation and questions (9:3:3:1); here all
rows are referring expressions. `mini` is ours, for generated scenes on two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from regiontok.probe.optimisation import Optimisation
from regiontok.probe.refer.model import Hidden, LossWeights, ReferringModel
from regiontok.probe.refer.talk import LISA, MINI, Wording
from regiontok.probe.schedule import Schedule, Shape
from regiontok.settings.recipe import Lora
from regiontok.system.choices import check_choice
from regiontok.system.need import need

# A part's parameters by the start of their name in `ReferringModel`.
PARTS = {
    "encoder": "vlm.vision.",
    "connector": "vlm.head.",
    "language_model": "vlm.language_model.",
    "sam_encoder": "masks.sam.vision_encoder.",
    "sam_prompts": "masks.sam.prompt_encoder.",
    "sam_positions": "masks.sam.shared_image_embedding.",
    "mask_decoder": "masks.sam.mask_decoder.",
    "neck": "masks.neck.",
    "to_prompt": "to_prompt.",
}
SAM_PARTS = ("sam_encoder", "sam_prompts", "sam_positions", "mask_decoder")


@dataclass(frozen=True, kw_only=True)
class ReferRecipe:
    """How a model learns to refer.

    Attributes:
        name: its name.
        hidden: which hidden state becomes the prompt; see `ReferringModel`.
        image: "sam" takes SAM's image encoder and mask decoder, "features" the probed encoder's
            frozen features and `GridMasks`.
        learns: the parts that learn, names of `PARTS`; those of them that a model has.
        embeddings: whether the language model's embeddings learn although it has adapters.
        lora: adapters of the language model's q and v; None trains it in full, where it learns.
        wording: the words of questions and answers.
        weights: of the losses.
        rate: the highest learning rate.
        factors: (part, factor) by which parts learn at another rate.
        betas: of AdamW.
        shape: of the learning rate.
        warmup: share of the steps in which it rises.
        steps: steps; 0 stands for one epoch.
        rows: rows of a batch.
        together: expressions about one picture that share a row, at most.
        batches: batches of a step, over all processes.
        clip: largest norm of all gradients; 0 does not clip.
        bfloat16: whether losses are computed in bfloat16 where a GPU is.
    """

    name: str
    hidden: Hidden
    image: Literal["sam", "features"]
    learns: tuple[str, ...]
    embeddings: bool = False
    lora: Lora | None = None
    wording: Wording = LISA
    weights: LossWeights = field(default_factory=LossWeights)
    rate: float
    factors: tuple[tuple[str, float], ...] = ()
    betas: tuple[float, float] = (0.9, 0.95)
    shape: Shape
    warmup: float
    steps: int
    rows: int
    together: int = 1
    batches: int
    clip: float = 1.0
    bfloat16: bool = True

    def steps_of(self, samples: int) -> int:
        """The steps of a training on so many expressions."""
        return self.steps or max(1, samples // (self.rows * self.batches))

    def optimisation(self, samples: int, seed: int, *, bfloat16: bool) -> Optimisation:
        """How a training on so many expressions is optimised.

        Args:
            samples: expressions of the training set.
            seed: seed of all that is drawn at a step.
            bfloat16: whether the device computes in bfloat16.
        """
        steps = self.steps_of(samples)
        return Optimisation(
            schedule=Schedule(
                steps, warmup=min(round(self.warmup * steps), steps - 1), shape=self.shape
            ),
            rate=self.rate,
            betas=self.betas,
            factors=tuple((PARTS[part], factor) for part, factor in self.factors),
            clip=self.clip,
            batches=self.batches,
            bfloat16=self.bfloat16 and bfloat16,
            seed=seed,
        )

    def but(self, **changes: Any) -> ReferRecipe:
        """The recipe with some values changed; None leaves a value as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given)


RECIPES = {
    "lisa": ReferRecipe(
        name="lisa",
        hidden="before",
        image="sam",
        learns=("mask_decoder", "to_prompt"),
        embeddings=True,
        lora=Lora(rank=8, alpha=16, dropout=0.05),
        rate=3e-4,
        shape="linear",
        warmup=0.02,
        steps=5000,
        rows=2,
        batches=80,
    ),
    "mlcd": ReferRecipe(
        name="mlcd",
        hidden="at",
        image="sam",
        learns=("encoder", "connector", "language_model", *SAM_PARTS, "to_prompt"),
        rate=2e-5,
        factors=(("encoder", 0.1),),
        betas=(0.9, 0.999),
        shape="cosine",
        warmup=0.03,
        steps=0,
        rows=4,
        batches=32,
    ),
    "mini": ReferRecipe(
        name="mini",
        hidden="words",
        image="features",
        learns=("connector", "language_model", "neck", "to_prompt"),
        wording=MINI,
        weights=LossWeights(words=0.1, dice=1.0),
        rate=3e-3,
        shape="linear",
        warmup=0.05,
        steps=300,
        rows=4,
        together=8,
        batches=1,
        factors=(("language_model", 0.3), ("connector", 0.3)),
        bfloat16=False,
    ),
}


def recipe_of(name: str) -> ReferRecipe:
    """The recipe of a name.

    Raises:
        ValueError: If there is none; the nearest is named.
    """
    check_choice("recipe", name, tuple(RECIPES))
    return RECIPES[name]


def set_learning(model: ReferringModel, recipe: ReferRecipe, *, seed: int = 0) -> ReferringModel:
    """Let a recipe's parts learn, and nothing else.

    Raises:
        ValueError: If the recipe adapts the language model, and it has no such matrices.
    """
    model.requires_grad_(False)
    if recipe.lora is not None:
        _add_adapters(model, recipe.lora, seed)
    prefixes = tuple(PARTS[part] for part in recipe.learns)
    for name, parameter in model.named_parameters():
        if name.startswith(prefixes) or "lora_" in name:
            parameter.requires_grad_(True)
            parameter.data = parameter.data.float()
    if recipe.embeddings:
        for module in (model.vlm.get_input_embeddings(), model.vlm.get_output_embeddings()):
            module.requires_grad_(True).float()
    return model


def parameter_counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Part -> (parameters that learn, all its parameters), for the parts that the model has."""
    counts = {}
    for part, prefix in PARTS.items():
        sizes = [
            (value.numel() * value.requires_grad, value.numel())
            for name, value in model.named_parameters()
            if name.startswith(prefix)
        ]
        if sizes:
            learns, total = (sum(column) for column in zip(*sizes, strict=True))
            counts[part] = (learns, total)
    return counts


def _add_adapters(model: ReferringModel, lora: Lora, seed: int) -> None:
    """LoRA around the q and v of every layer of the language model."""
    peft = need("peft", extra="train")
    language_model: Any = model.vlm.language_model
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapted = peft.get_peft_model(language_model, config)
    except ValueError:
        raise ValueError(
            f"{type(language_model).__name__} has no matrices q_proj and v_proj, which this "
            "recipe adapts: take the recipe mlcd, which trains it in full"
        ) from None
    model.vlm.language_model = adapted
