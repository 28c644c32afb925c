"""Places inside a model: counts, generation, learning, saving, and a recipe's stages.

Delimiters of the vocabulary are among them.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.tokens import DELIMITER
from regiontok.data.visual_tokens import VisualTokens
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Lora, RecipeError, Stage, TokenizerSettings, resolve
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.train.build import build_model, meta_model
from regiontok.train.parts import merge_lora, set_trainable

IMAGE, WORD, H, W = 3, 11, 3, 4
V, T, N = H * W, 4 + 6 + 3, 3
MASKS = torch.zeros(N, H, W, dtype=torch.bool)
MASKS[0, :2, :2] = True
MASKS[1, 1:, 1:] = True
MASKS[2, :, 3] = True
IDS, MASK = (
    torch.tensor([[1, IMAGE, 40, 41], [1, 50, 0, 0]]),
    torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
)
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, T),
    "global": ({"whole": True}, V + T),
    "end": ({"place_features": "delimiter"}, T + N),
    "begin": ({"place_features": "delimiter('begin')"}, T + N),
    "fixed": ({"place_features": "delimiter(learned=False)"}, T + N),
    "after": ({"place_tokens": "delimiter"}, T + N),
    "word": ({"place_tokens": "delimiter(token='(')"}, T + N),
    "sin1d": ({"place_tokens": "posenc('sin1d')"}, T),
    "learn1d": ({"place_tokens": "posenc('learn1d', masks=3)"}, T),
    "sin2d": ({"place_tokens": "posenc('sin2d')"}, T),
    "learn2d": ({"place_tokens": "posenc('learn2d', grid=(3, 4))"}, T),
    "all": (
        {
            "whole": True,
            "place_features": "delimiter",
            "place_tokens": "posenc('learn1d') | posenc('sin2d')",
        },
        V + T + N,
    ),
}


def grid(seed: int = 0) -> PatchGrid:
    features = torch.randn(H, W, 320, generator=torch.Generator().manual_seed(seed))
    return PatchGrid(
        features, Frame.stretch((H, W), (H, W), (1, 1)), masks=PixelMasks.from_dense(MASKS)
    )


def vlm_with(variant: str, **options: Any) -> RegionVLM:
    settings, _ = VARIANTS[variant]
    visual = TokenizerSettings(
        encoder="filters(size=56)",
        segmenter="felzenszwalb",
        regions="segments(0.5)",
        pool="select",
        seed=1,
        **settings,
    )
    torch.manual_seed(0)
    if "word" in variant:
        options["delimiter_token_id"] = WORD
    language_model = mini_language_model(width=24, layers=2, heads=4)
    return RegionVLM.from_parts(language_model, visual, image_token_id=IMAGE, **options).eval()


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_counts_with_and_without_masks(variant):
    model = vlm_with(variant)
    assert len(model.see([grid()])) == VARIANTS[variant][1]
    assert len(model.see([grid()], regions="")) == V
    # the V rows are then LLaVA's own
    if variant in ("plain", "end", "begin", "fixed", "after", "word", "sin1d", "learn1d"):
        assert torch.equal(
            model.see([grid()], regions="").values,
            vlm_with("plain").see([grid()], regions="").values,
        )


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("positions", ["plain", "segment"])
def test_saved_loaded_and_answering(tmp_path, variant, positions):
    model = vlm_with(variant, positions=positions)
    options: dict[str, Any] = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    answer = model.generate(IDS, MASK, [grid()], **options)
    assert torch.equal(model.generate(IDS[:1], None, [grid()], **options)[0, -3:], answer[0, -3:])
    model.save_pretrained(tmp_path)
    loaded = RegionVLM.from_pretrained(tmp_path)
    assert loaded.config.settings == model.config.settings
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert torch.equal(model.see([grid()]).values, loaded.see([grid()]).values)
    assert torch.equal(
        loaded.generate(IDS, MASK, [grid()], num_beams=2, **options),
        model.generate(IDS, MASK, [grid()], num_beams=2, **options),
    )


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_that_learns_gets_a_gradient_with_masks_and_without_a_picture(variant):
    model = vlm_with(variant).train()
    model(
        IDS, MASK, [grid()], labels=IDS.masked_fill((IDS == IMAGE) | (MASK == 0), -100)
    ).loss.backward()
    assert [
        name for name, value in model.head.named_parameters() if not bool(value.grad.any())
    ] == []
    model.zero_grad()
    text = IDS[1:]
    model(text, MASK[1:], None, labels=text.masked_fill(text == 0, -100)).loss.backward()
    assert all(
        value.grad is not None and not bool(value.grad.any()) for value in model.head.parameters()
    )


def test_one_mask_that_covers_all_patches_is_the_patches():
    model = vlm_with("plain")
    covered = grid().but(masks=PixelMasks.from_dense(torch.ones(1, H, W, dtype=torch.bool)))
    assert torch.equal(model.see([covered]).values, model.see([covered], regions="").values)
    assert vlm_with("end").see([covered]).kind.tolist() == [0] * V + [DELIMITER]


def test_a_delimiter_of_the_vocabulary_is_its_embedding_and_learns_as_it_does():
    model = vlm_with("word").train()
    tokens = model.see([grid()])
    row = model.get_input_embeddings().weight[WORD]
    assert torch.equal(tokens.values[tokens.kind == DELIMITER], row.expand(N, -1))
    model.language_model.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    tokens.values[tokens.kind == DELIMITER].sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient.abs().sum(1).nonzero()[:, 0].tolist() == [WORD]
    assert gradient[WORD].tolist() == [float(N)] * 24


def test_a_delimiter_of_the_vocabulary_needs_its_id():
    with pytest.raises(
        ValueError,
        match=r"the delimiter '\(' needs its id in the vocabulary of 260: delimiter_token_id is "
        r"260",
    ):
        RegionVLM.from_parts(
            mini_language_model(width=24, layers=1, heads=4),
            vlm_with("word").config.settings,
            image_token_id=IMAGE,
            delimiter_token_id=260,
        )
    with pytest.raises(
        ValueError, match="delimiter_token_id is 5, but place_tokens names no token"
    ):
        vlm_with("end", delimiter_token_id=5)


RECIPE: dict[str, Any] = {
    "what": "x",
    "tokenizer": {
        "encoder": "filters(size=56)",
        "regions": "windows(3)",
        "pool": "select",
        "place_tokens": "delimiter(token='(')",
    },
    "model": {"language_model": "mini(width=24, layers=2, heads=4)"},
    "stage": [{"name": "one", "data": [{"records": "miniworld(4)"}]}],
}


def test_a_recipe_names_the_token():
    recipe = resolve(RECIPE, name="x")
    model = build_model(recipe).model
    assert model.config.delimiter_token_id == mini_tokenizer().convert_tokens_to_ids("(")
    assert meta_model(recipe).config.settings == model.config.settings
    with pytest.raises(ValueError, match="x: the delimiter '<eom>' is no token of mini"):
        build_model(
            resolve(RECIPE, name="x", overrides=["tokenizer.place_tokens=delimiter(token='<eom>')"])
        )
    with pytest.raises(RecipeError, match=r"unknown place 'delimeter' \(did you mean 'delimiter'"):
        resolve(RECIPE, name="x", overrides=["tokenizer.place_features=delimeter"])
    with pytest.raises(
        RecipeError,
        match=r"inference\.tokenizer\.place_features is 'delimiter', but the model is trained "
        r"with ''",
    ):
        resolve({**RECIPE, "inference": {"tokenizer": {"place_features": "delimiter"}}}, name="x")


def test_lora_trains_the_row_of_the_delimiter():
    pytest.importorskip("peft")
    model = build_model(resolve(RECIPE, name="x")).model
    stage = Stage(
        name="two", data=[], train=["language_model"], lora=Lora(rank=2, alpha=4), precision="fp32"
    )
    before = model.get_input_embeddings().weight.detach().clone()
    learner = set_trainable(model, stage).train()
    learning = [value for value in learner.parameters() if value.requires_grad]
    patches = grid().but(masks=None)
    step = torch.optim.SGD(learning, 1.0)
    learner(
        IDS, MASK, [patches], labels=IDS.masked_fill((IDS == IMAGE) | (MASK == 0), -100)
    ).loss.backward()
    step.step()
    logits = learner.eval()(IDS, MASK, [patches]).logits
    after = merge_lora(learner).get_input_embeddings().weight
    moved = (after != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [learner.config.delimiter_token_id]
    assert torch.allclose(learner(IDS, MASK, [patches]).logits, logits, rtol=0, atol=1e-5)


def test_the_tokenizer_alone_counts_them_and_is_saved_with_them(tmp_path):
    settings = TokenizerSettings(
        encoder="filters(size=56)", regions="windows(3)", pool="select", place_features="delimiter"
    )
    picture = torch.zeros(1, 56, 56, 3, dtype=torch.uint8).numpy()
    tokenizer = RegionTokenizer(**settings.model_dump())
    tokens = tokenizer(picture)
    assert (tokenizer.settings.place_features, tokenizer.settings.place_tokens) == ("delimiter", "")
    assert tokens.count("delimiter") == 3
    tokenizer.save_pretrained(tmp_path / "saved")
    again = RegionTokenizer.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(picture).values, tokens.values)
    word = settings.model_copy(
        update={"place_features": "", "place_tokens": "delimiter(token='(')"}
    )
    assert len(RegionTokenizer(**word.model_dump())(picture)) == len(tokens)
    fixed = settings.model_copy(update={"pool": "mean"})
    assert VisualTokens(fixed).fixed == 6
