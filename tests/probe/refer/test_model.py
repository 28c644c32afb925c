"""A model that refers: which hidden state it takes, what learns, and that it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import SamModel

from regiontok.core.frame import Frame
from regiontok.miniworld.world import World
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.refer.batches import Batches, FrozenPictures
from regiontok.probe.refer.build import Built, SmallSizes, build_small
from regiontok.probe.refer.evaluate import found_masks
from regiontok.probe.refer.generated import generated_set
from regiontok.probe.refer.mask_head import FramePlacement, decoded, tiny_sam
from regiontok.probe.refer.metrics import scores
from regiontok.probe.refer.model import ReferringBatch, prompt_columns
from regiontok.probe.refer.recipes import RECIPES, SAM_PARTS, ReferRecipe, recipe_of
from regiontok.probe.refer.talk import LISA, SEG, Talk, Wording, mini_words

SIZES = SmallSizes(width=32, layers=2, heads=4, side=64)
DATA = generated_set(World("train", size=128), 2, 2)
CPU = torch.device("cpu")


def _built(recipe: ReferRecipe, sizes: SmallSizes = SIZES) -> Built:
    return build_small(recipe, FrozenFeatures("filters(size=64, patch=16)"), sizes=sizes)


def _batch(built: Built, *, places: bool = True) -> ReferringBatch:
    batches = Batches(DATA, built.talk, built.canvas, 3, 0)
    assert built.features is not None
    _, batch = next(batches.in_order())
    return FrozenPictures(built.features, CPU, places=places)(batch)


@pytest.mark.parametrize("hidden", ["before", "at"])
def test_hidden_state(hidden: Any) -> None:
    """The prompt is the state at [SEG], or at the token that predicts it, in every row."""
    built = _built(RECIPES["mini"].but(hidden=hidden))
    batch, model = _batch(built), built.model
    spliced = model.vlm.spliced(batch.rows.ids, batch.rows.mask, batch.pictures)
    columns = prompt_columns(spliced, batch.rows.row, batch.rows.seg, hidden)
    seg = mini_words().convert_tokens_to_ids(SEG)
    for row, column in enumerate(columns.tolist()):
        ids = batch.rows.ids[row]
        own = spliced.text[row, column]
        if hidden == "at":
            assert ids[own] == seg
        else:
            assert ids[own + 1] == seg
            assert spliced.text[row, column + 1] == own + 1
    # nothing behind the token changes the mask, [SEG] itself only if it is read at it
    with torch.no_grad():
        before = model(batch)[0]
        model.vlm.get_input_embeddings().weight[seg] += 1
        after = model(batch)[0]
    unchanged = all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert unchanged == (hidden == "before")


@pytest.mark.parametrize("hidden", ["before", "at", "words"])
def test_expressions_of_a_row_are_as_if_alone(hidden: Any) -> None:
    """Several expressions share a picture: their masks and the words' loss stay what they are."""
    built = _built(RECIPES["mini"].but(hidden=hidden))
    assert built.features is not None
    frozen = FrozenPictures(built.features, CPU, places=True)
    results = []
    for together in (1, 2):
        batches = Batches(DATA, built.talk, None, 4, 0, together)
        ((samples, batch),) = batches.in_order()
        assert [sample.id for sample in samples] == [sample.id for sample in DATA.samples]
        assert len(batch.pictures) == 4 // together
        with torch.no_grad():
            results.append(built.model(frozen(batch)))
    (alone, words), (shared, shared_words) = results
    for pair in zip(alone, shared, strict=True):
        torch.testing.assert_close(*pair)
    torch.testing.assert_close(words, shared_words)


def test_no_seg() -> None:
    built = _built(RECIPES["mini"])
    batch = _batch(built)
    spliced = built.model.vlm.spliced(batch.rows.ids, batch.rows.mask, batch.pictures)
    with pytest.raises(ValueError, match=r"a row has no token at \[SEG\]"):
        prompt_columns(spliced, batch.rows.row, torch.full((3,), 99), "at")


def test_gradient_reaches_seg() -> None:
    """By the mask alone: the words' loss would reach it anyhow."""
    built = _built(RECIPES["mini"])
    losses = built.model.losses(_batch(built))
    (losses["cross"] + losses["dice"]).backward()
    gradient = built.model.vlm.get_input_embeddings().weight.grad
    assert gradient is not None
    seg = mini_words().convert_tokens_to_ids(SEG)
    assert gradient[seg].abs().max() > 0
    assert gradient[5 + 60 :].abs().max() == 0  # ids that no row has


def test_lisa_learns() -> None:
    """LoRA on q and v, the embeddings, SAM's mask decoder and the projection; nothing else."""
    built = _built(RECIPES["lisa"])
    names = {name for name, value in built.model.named_parameters() if value.requires_grad}
    adapters = {name for name in names if "lora_" in name}
    assert len(adapters) == 2 * 2 * 2  # layers, q and v, A and B
    assert all(".q_proj." in name or ".v_proj." in name for name in adapters)
    others = {name.split(".")[0] if "embed_tokens" not in name else "embed" for name in names}
    assert others == {"vlm", "masks", "to_prompt", "embed"}
    assert all(n.startswith("masks.sam.mask_decoder.") for n in names if n.startswith("masks."))
    batch = _batch(built, places=False)
    losses = built.model.losses(batch)
    sum(losses.values()).backward()
    assert all(
        value.grad is not None for n, value in built.model.named_parameters() if n in adapters
    )
    optimisation = RECIPES["lisa"].optimisation(100, 0, bfloat16=True)
    assert (optimisation.schedule.steps, optimisation.batches, optimisation.rate) == (
        5000,
        80,
        3e-4,
    )
    assert optimisation.schedule.share(100) == 1.0
    assert optimisation.betas == (0.9, 0.95)


def test_mlcd_rates() -> None:
    """The tower at a tenth of the rate, SAM's image encoder among what learns."""
    recipe = recipe_of("mlcd")
    optimisation = recipe.optimisation(12_800, 0, bfloat16=True)
    assert (optimisation.schedule.steps, recipe.rows * optimisation.batches) == (100, 128)
    assert optimisation.factors == (("vlm.vision.", 0.1),)
    assert optimisation.rate == 2e-5
    built = _built(recipe)
    assert all(value.requires_grad for value in built.model.masks.sam.parameters())
    losses = built.model.losses(_batch(built, places=False))
    sum(losses.values()).backward()
    encoder = built.model.masks.sam.vision_encoder
    assert all(value.grad is not None for value in encoder.parameters())
    with pytest.raises(ValueError, match="lisa"):
        recipe_of("liza")


def test_decoder_equals_sam() -> None:
    """The same prompt through `SamModel` itself gives the same mask."""
    sam: SamModel = tiny_sam(side=64).eval()
    pixels = torch.rand(1, 3, 64, 64)
    points = torch.tensor([[[[20.0, 30.0]]]])
    with torch.no_grad():
        own = sam(pixel_values=pixels, input_points=points, multimask_output=False)
        embedding = sam.get_image_embeddings(pixels)
        prompts, _ = sam.prompt_encoder(points, torch.ones(1, 1, 1, dtype=torch.int), None, None)
        original = sam.mask_decoder.forward
        seen: dict[str, Any] = {}

        def spy(**kwargs: Any) -> Any:
            seen.update(kwargs)
            return original(**{**kwargs, "sparse_prompt_embeddings": prompts})

        sam.mask_decoder.forward = spy  # type: ignore[method-assign]
        ours = decoded(sam, embedding, torch.zeros(1, 64))
    assert seen["sparse_prompt_embeddings"].shape == (1, 1, 1, 64)
    torch.testing.assert_close(ours, own.pred_masks[:, 0, 0])


def test_frames() -> None:
    """A mask on the grid lies where the frame says, also on a padded canvas; a crop is refused."""
    logits = torch.full((1, 16, 16), -1.0)
    logits[:, :, 8:] = 1.0  # the right half of the canvas
    stretched = FramePlacement(Frame.stretch((40, 60), (64, 64), (16, 16))).full(logits)
    assert stretched.shape == (1, 40, 60)
    assert (stretched[0, :, 31:] > 0).all()
    assert (stretched[0, :, :29] < 0).all()
    tall = FramePlacement(Frame.letterbox((80, 40), (64, 64), (16, 16))).full(logits)
    assert tall.shape == (1, 80, 40)
    assert (tall[0, :, 21:] > 0).all()
    assert (tall[0, :, :19] < 0).all()
    uncovered = FramePlacement(Frame.stretch((70, 70), (70, 70), (16, 16))).full(logits)
    assert uncovered.shape == (1, 70, 70)
    assert (uncovered[0, :, 64:] > 0).all()
    with pytest.raises(ValueError, match="only a part of the picture"):
        FramePlacement(Frame.center_crop((40, 80), (64, 64), (16, 16)))


def test_words() -> None:
    """LISA's questions and answers in turn; an expression that says [SEG] keeps its answer's."""
    assert LISA.count == 20
    turns = [LISA.turns("red cup", draw) for draw in range(20)]
    assert len({(ask.text, answer.text) for ask, answer in turns}) == 20
    assert turns[0][0].text == "<image>\nCan you segment the red cup in this image?"
    talk = Talk(mini_words(), RECIPES["mini"].wording, 3)
    rows = talk(["the red circle", f"{SEG} circle"], [0, 0])
    assert rows.seg.tolist() == [5, 4]
    assert rows.mask.sum(1).tolist() == [7, 6]
    for wording in ({"questions": ("a",)}, {"answers": ("b",)}, {"answers": ()}):
        with pytest.raises(ValueError, match="expected"):
            replace(Wording(("{}",), (SEG,)), **wording)  # type: ignore[arg-type]


@pytest.mark.slow
def test_overfits_four_scenes() -> None:
    """A tiny SAM and a tiny language model learn four expressions to a cIoU above .9."""
    learns = (*RECIPES["mini"].learns, *SAM_PARTS)
    recipe = RECIPES["mini"].but(image="sam", hidden="at", learns=learns, factors=())
    built = _built(recipe, SmallSizes(width=64, layers=2, heads=4, side=96))
    data = generated_set(World("train", size=128), 4, 1)
    batches = Batches(data, built.talk, built.canvas, 4, 0)
    assert built.features is not None
    frozen = FrozenPictures(built.features, CPU, places=False)
    _, batch = next(batches.in_order())
    batch = frozen(batch)
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=2e-3)
    for _ in range(250):
        optimizer.zero_grad()
        sum(built.model.losses(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(built.model.parameters(), 1.0)
        optimizer.step()
    overlaps = [found.overlap for found in found_masks(built.model, batches, frozen)]
    assert scores(overlaps, ["a", "b", "c", "d"])["ciou"].value > 90
