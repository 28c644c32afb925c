"""From a recipe to a model that learns to refer: the small one, or saved models of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import SamImageProcessor, SamModel

from regiontok.model.mini import mini_language_model
from regiontok.model.saved_processor import load_processor
from regiontok.model.vlm import RegionVLM
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.refer.batches import SamCanvas
from regiontok.probe.refer.grid_masks import GridMasks
from regiontok.probe.refer.mask_head import SamMasks, tiny_sam
from regiontok.probe.refer.model import ReferringModel
from regiontok.probe.refer.recipes import ReferRecipe, set_learning
from regiontok.probe.refer.talk import MINI, Talk, mini_words, with_seg
from regiontok.segment.prompted.promptable import sam_processor
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.checkpoint import locate
from regiontok.system.pretrained import load_pretrained
from regiontok.system.shipped_models import local_folder

IMAGE_ID = 3  # of the small tokenizer


@dataclass(frozen=True)
class SmallSizes:
    """Sizes of the small model.

    Attributes:
        width: of its language model; of SAM's decoder's prompts, where there is one, half of it.
        layers: of its language model.
        heads: of its language model.
        side: side of a tiny SAM's own canvas in pixels, where it has an image encoder.
    """

    width: int = 96
    layers: int = 2
    heads: int = 4
    side: int = 128


@dataclass(frozen=True)
class Built:
    """A model that learns to refer, and what makes its batches.

    Attributes:
        model: the model; the parts that the recipe names learn.
        talk: makes rows of expressions.
        canvas: lays pictures on SAM's canvas; None where its image encoder is left out.
        features: the frozen encoder; None where the encoder learns.
    """

    model: ReferringModel
    talk: Talk
    canvas: SamCanvas | None
    features: FrozenFeatures | None


def build_small(
    recipe: ReferRecipe,
    features: FrozenFeatures,
    *,
    regions: str = "",
    segmenter: str = "",
    seed: int = 0,
    sizes: SmallSizes | None = None,
) -> Built:
    """A language model and a SAM of random weights on an encoder's frozen features.

    Args:
        recipe: how it learns.
        features: the encoder.
        regions: the steps that make regions of patches; "" shows every patch.
        segmenter: the segmenter that these steps need, if they do.
        seed: seed of all weights.
        sizes: how large it is.
    """
    sizes = sizes or SmallSizes()
    visual = TokenizerSettings(
        encoder=features.spec,
        segmenter=segmenter,
        regions=regions,
        norm="rms",
        # a pooled region has no row and column
        pool="mean" if regions else "select",
        place_tokens="" if regions else "posenc('sin2d')",
        seed=seed,
    )
    language_model = mini_language_model(
        seed, width=sizes.width, layers=sizes.layers, heads=sizes.heads
    )
    if recipe.hidden == "words":  # as `nn.Embedding` begins: .02 is too little to tell words apart
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            embeddings: Any = language_model.get_input_embeddings()
            embeddings.reset_parameters()
    vlm = RegionVLM.from_parts(language_model, visual, image_token_id=IMAGE_ID)
    masks, canvas = _masks(
        recipe,
        lambda: tiny_sam(seed, side=sizes.side, width=sizes.width // 2),
        features.width,
        seed,
        lambda: small_canvas(sizes.side),
    )
    talk = Talk(mini_words(), MINI, IMAGE_ID)  # its tokenizer knows no other words
    model = _model(recipe, vlm, masks, seed)
    return Built(model, talk, canvas, features)


def build_saved(recipe: ReferRecipe, vlm: Path, sam: str, *, device: str, seed: int = 0) -> Built:
    """A region VLM of one's own, with [SEG] in its vocabulary, and a SAM checkpoint.

    Args:
        recipe: how it learns.
        vlm: the folder of a trained `RegionVLM`, or the name of a shipped one.
        sam: hub name or folder of a SAM checkpoint.
        device: where a frozen encoder runs.
        seed: seed of what starts fresh.

    Raises:
        ValueError: If a model cannot be read, or its encoder cannot learn where it should.
    """
    vlm = local_folder(vlm) or vlm
    loaded: Any = RegionVLM.from_pretrained(vlm)
    processor = load_processor(vlm)
    tokenizer: Any = processor.tokenizer
    with_seg(tokenizer)
    embedding = loaded.get_input_embeddings().weight
    if len(tokenizer) > len(embedding):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            loaded.language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tunes = bool(loaded.config.tune_encoder)
    if "encoder" in recipe.learns and not tunes:
        raise ValueError(
            f"the recipe {recipe.name} trains the encoder, and {vlm} holds none: train that model "
            "with the encoder among the parts that learn, or take the recipe lisa"
        )
    folder = locate(sam)
    masks, canvas = _masks(
        recipe,
        lambda: load_pretrained(SamModel, folder, sam, dtype=torch.float32),
        loaded.config.visual_width,
        seed,
        lambda: SamCanvas(sam_processor(folder)),
    )
    talk = Talk(tokenizer, recipe.wording, loaded.config.image_token_id)
    model = _model(recipe, loaded, masks, seed)
    settings = loaded.config.settings
    features = None if tunes else FrozenFeatures(settings.encoder, device=device)
    return Built(model, talk, canvas, features)


def small_canvas(side: int) -> SamCanvas:
    """The canvas of a tiny SAM."""
    return SamCanvas(
        SamImageProcessor(
            size={"longest_edge": side},
            pad_size={"height": side, "width": side},
        )
    )


def _masks(
    recipe: ReferRecipe,
    sam: Callable[[], SamModel],
    width: int,
    seed: int,
    canvas: Callable[[], SamCanvas],
) -> tuple[SamMasks | GridMasks, SamCanvas | None]:
    if recipe.image == "sam":
        return SamMasks(sam()), canvas()
    return GridMasks(width, seed=seed), None


def _model(
    recipe: ReferRecipe, vlm: RegionVLM, masks: SamMasks | GridMasks, seed: int
) -> ReferringModel:
    model = ReferringModel(vlm, masks, hidden=recipe.hidden, weights=recipe.weights, seed=seed)
    return set_learning(model, recipe, seed=seed)
