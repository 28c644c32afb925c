"""The encoder as a part of the model: tuned, saved, loaded.

The patch baseline equals transformers' own LLaVA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regiontok.encoders.transformers import Transformers
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.models import IMAGE, save_clip_tower, tiny_sizes
from samples.pictures import noise

hub = pytest.importorskip("transformers")

SIDE = 42
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 14,
}
TEXT = tiny_sizes(max_position_embeddings=256)
PICTURES = [noise(SIDE, SIDE, seed) for seed in range(3)]
IDS = torch.tensor([[1, IMAGE, 5, 6, 0], [1, IMAGE, IMAGE, 7, 8]])
MASK = IDS.ne(0).long()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A tiny CLIP tower with its processor, as a user would have it."""
    return save_clip_tower(tmp_path_factory.mktemp("clip"), side=SIDE, **VISION)


def tuned_vlm(
    clip: Path, *, layer: int = -2, regions: str = "merge(k=4)", tune: bool = True, **more: Any
) -> RegionVLM:
    torch.manual_seed(1)
    language_model = hub.LlamaForCausalLM(hub.LlamaConfig(**TEXT))
    visual = TokenizerSettings(
        encoder=f"transformers({str(clip)!r}, layer={layer})",
        regions=regions,
        padding="keep",
        **more,
    )
    return RegionVLM.from_parts(
        language_model, visual, image_token_id=IMAGE, tune_encoder=tune
    ).eval()


def change(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn_like(value) * 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("tune", [False, True])
def test_patches_equal_transformers_own_llava(clip, tune):
    model = tuned_vlm(clip, regions="", tune=tune)
    config = hub.LlavaConfig(
        vision_config=hub.CLIPVisionConfig(**VISION, image_size=SIDE),
        text_config=hub.LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    llava = hub.LlavaForConditionalGeneration(config).eval()
    llava.model.vision_tower.load_state_dict(hub.CLIPVisionModel.from_pretrained(clip).state_dict())
    llava.model.language_model.load_state_dict(model.language_model.model.state_dict())
    llava.lm_head.load_state_dict(model.language_model.lm_head.state_dict())
    for theirs, ours in (
        (llava.model.multi_modal_projector.linear_1, 0),
        (llava.model.multi_modal_projector.linear_2, 2),
    ):
        theirs.load_state_dict(model.head.connector[ours].state_dict())
    pixels = hub.CLIPImageProcessorPil.from_pretrained(clip)(
        [picture.pil for picture in PICTURES], return_tensors="pt"
    )
    counts = (SIDE // 14) ** 2
    for row, images in ((0, slice(0, 1)), (1, slice(1, 3))):
        ids = IDS[row][IDS[row] > 0][None]
        expanded = torch.cat(
            [token.repeat(counts if int(token) == IMAGE else 1) for token in ids[0].split(1)]
        )[None]
        options = {
            "max_new_tokens": 4,
            "min_new_tokens": 4,
            "do_sample": False,
            "suppress_tokens": [IMAGE],
        }
        theirs = llava(input_ids=expanded, pixel_values=pixels["pixel_values"][images])
        ours = model(ids, None, PICTURES[images])
        assert ours.logits.shape == theirs.logits.shape
        assert torch.allclose(ours.logits, theirs.logits, rtol=0, atol=2e-6)
        expected = llava.generate(
            input_ids=expanded, pixel_values=pixels["pixel_values"][images], **options
        )
        assert (
            model.generate(ids, None, PICTURES[images], **options)[0, -4:].tolist()
            == expected[0, -4:].tolist()
        )


def test_a_frozen_encoder_is_no_part_of_the_model(clip):
    model = tuned_vlm(clip, tune=False).train()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {
        "head",
        "language_model",
    }
    model(IDS, MASK, PICTURES, labels=IDS).loss.backward()
    assert all(value.grad is None for value in model.regionizer.encoder._module.parameters())


@pytest.mark.parametrize("pool", ["mean", "attend(heads=2)", "select"])
def test_gradients_reach_every_weight_of_a_tuned_encoder(clip, pool):
    model = tuned_vlm(clip, pool=pool).train()
    model(IDS, MASK, PICTURES, labels=IDS).loss.backward()
    # none is None
    moved = {name: bool(value.grad.any()) for name, value in model.vision.named_parameters()}
    behind = {name for name, learns in moved.items() if not learns}
    assert all(
        "layers.2." in name or "post_layernorm" in name or "k_proj.bias" in name for name in behind
    ), behind
    assert moved[next(name for name in moved if name.endswith("embeddings.patch_embedding.weight"))]


def test_a_tuned_encoders_gradient_is_right(clip):
    model = tuned_vlm(clip).train()
    name, weight = next(
        (n, p) for n, p in model.vision.named_parameters() if n.endswith("layers.0.mlp.fc1.weight")
    )
    model(IDS, MASK, PICTURES, labels=IDS).loss.backward()
    direction = weight.grad / weight.grad.norm()

    def loss(step: float) -> float:
        with torch.no_grad():
            weight.add_(direction * step)
            value = float(model(IDS, MASK, PICTURES, labels=IDS).loss)
            weight.sub_(direction * step)
        return value

    assert (loss(1e-2) - loss(-1e-2)) / 2e-2 == pytest.approx(
        float(weight.grad.norm()), rel=0.05
    ), name


def test_text_alone_gives_a_tuned_encoder_zero_gradients(clip):
    model = tuned_vlm(clip).train()
    model(IDS.clamp(min=4), labels=IDS.clamp(min=4)).loss.backward()
    assert all(
        value.grad is not None and not value.grad.any() for value in model.vision.parameters()
    )
    assert all(value.grad is not None and not value.grad.any() for value in model.head.parameters())


@pytest.mark.slow
def test_checkpointing_of_a_tuned_encoder_gives_equal_gradients(clip):
    gradients: list[dict[str, Tensor]] = []
    for checkpointed in (False, True):
        model = tuned_vlm(clip).train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(IDS, MASK, PICTURES, labels=IDS).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    assert all(
        torch.allclose(value, gradients[1][name], rtol=0, atol=1e-7)
        for name, value in gradients[0].items()
    )


def test_tuned_weights_travel_with_the_checkpoint(clip, tmp_path):
    model = tuned_vlm(clip)
    before = model(IDS, MASK, PICTURES).logits
    change(model.vision)
    after = model(IDS, MASK, PICTURES).logits
    assert not torch.allclose(before, after)
    model.save_pretrained(tmp_path)
    loaded = RegionVLM.from_pretrained(tmp_path)
    mine, theirs = (
        {**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (model, loaded)
    )
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert any(name.startswith("vision.") for name in mine)
    assert torch.equal(loaded(IDS, MASK, PICTURES).logits, after)
    # the folder's encoder, and any other that reads it, is what it was
    assert torch.equal(tuned_vlm(clip)(IDS, MASK, PICTURES).logits, before)


def test_a_tuned_model_in_bfloat16(clip, tmp_path):
    tuned_vlm(clip).save_pretrained(tmp_path)
    model = RegionVLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    model.train()(IDS, MASK, PICTURES, labels=IDS).loss.backward()
    assert all(value.grad is not None for value in model.vision.parameters())


def test_cached_features_are_refused_where_the_encoder_is_tuned(clip):
    model = tuned_vlm(clip)
    grids = tuned_vlm(clip, tune=False).regionizer.see(PICTURES)
    with pytest.raises(ValueError, match="cached features do not follow an encoder that is tuned"):
        model(IDS, MASK, grids)
    with pytest.raises(ValueError, match="is being tuned: nothing may be cached"):
        _ = model.regionizer.fingerprint


def test_an_encoder_that_cannot_learn_is_named():
    with pytest.raises(
        ValueError,
        match=r"the encoder filters cannot be tuned: tune_encoder=True takes one of transformers",
    ):
        RegionVLM.from_parts(
            hub.LlamaForCausalLM(hub.LlamaConfig(**TEXT)),
            TokenizerSettings(encoder="filters"),
            image_token_id=IMAGE,
            tune_encoder=True,
        )


def test_other_weights_of_the_encoder_are_refused(clip, tmp_path):
    folder = tmp_path / "clip"
    hub.CLIPVisionModel(hub.CLIPVisionConfig(**VISION, image_size=SIDE)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        (clip / "preprocessor_config.json").read_text()
    )
    model = tuned_vlm(clip, tune=False)
    model.config.visual = model.config.visual | {
        "encoder": f"transformers({str(folder)!r}, layer=-2)"
    }
    with pytest.raises(ValueError, match="made with other weights of transformers"):
        model(IDS, MASK, PICTURES)


@pytest.mark.parametrize("tiles", ["", "2x2"])
def test_class_tokens_and_tiles_with_a_tuned_encoder(clip, tiles):
    model = tuned_vlm(clip, regions="", tiles=tiles, cls=True, whole=True).train()
    model(IDS, MASK, PICTURES, labels=IDS).loss.backward()
    assert all(value.grad is not None for value in model.parameters())
    model.zero_grad()
    model(IDS.clamp(min=4), labels=IDS.clamp(min=4)).loss.backward()
    assert all(value.grad is not None for value in model.parameters())


def rank(place: int, clip: Path, tune: bool, folder: Path) -> None:
    """One of two processes: the first sees pictures, the other text alone."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=place, world_size=2
    )
    model = tuned_vlm(clip, tune=tune, pool="attend(heads=2)", cls=True).train()
    together = torch.nn.parallel.DistributedDataParallel(model)
    ids = IDS if place == 0 else IDS.clamp(min=4)
    for _ in range(2):  # a gradient that never came shows at the second step
        together.zero_grad()
        together(input_ids=ids, pictures=None if place else PICTURES, labels=ids).loss.backward()
    if place == 0:
        torch.save(
            {name: value.grad for name, value in model.named_parameters()}, folder / "found.pt"
        )
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("tune", [False, True])
def test_two_processes_one_with_text_alone(clip, tmp_path, tune):
    torch.multiprocessing.spawn(rank, (clip, tune, tmp_path), nprocs=2)
    gradients = torch.load(tmp_path / "found.pt", weights_only=True)
    model = tuned_vlm(clip, tune=tune, pool="attend(heads=2)", cls=True).train()
    for ids, pictures in ((IDS, PICTURES), (IDS.clamp(min=4), None)):
        (model(ids, pictures=pictures, labels=ids).loss / 2).backward()
    for name, value in model.named_parameters():
        assert torch.allclose(gradients[name], value.grad, rtol=0, atol=1e-7), name


@pytest.mark.parametrize("attention", [False, True])
def test_tuned_and_frozen_see_the_same(clip, attention):
    frozen = Transformers(str(clip), layer=-2, cls_attention=attention)
    tuned = frozen.tuned(frozen.tunable())
    for frozen_grid, tuned_grid in zip(
        frozen.encode(PICTURES), tuned.encode(PICTURES), strict=True
    ):
        assert torch.equal(frozen_grid.features, tuned_grid.features)
        assert tuned_grid.features.requires_grad
        assert not frozen_grid.features.requires_grad
        assert (frozen_grid.cls_attention is None) is not attention
    with torch.no_grad():
        assert not tuned.encode(PICTURES)[0].features.requires_grad
    assert frozen.identity == Transformers(str(clip)).identity
