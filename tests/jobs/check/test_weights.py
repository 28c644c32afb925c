"""check --weights: tiny random checkpoints hold against their own slices, not others'.

What is absent is said.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos

from regiontok.jobs.check import weights as ours
from regiontok.jobs.check.slices import SLICES, Case, Photo
from regiontok.jobs.check.weights import RUNNERS, check_weights, compare, ellipse, report, results

hub = pytest.importorskip("transformers")

BODY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TEXT = BODY | {
    "vocab_size": 64,
    "projection_size": 32,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "photo", "of", "cat", "dog", "circle", "blue"]
TEXTS = ("a photo of a cat", "blue circle")
SIDE = {"height": 42, "width": 42}
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [128, 128],
    "blocks_per_stage": [1, 2, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [4],
    "window_positional_embedding_background_size": [4, 4],
}
SAM2 = {
    "vision_config": {
        "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "backbone_config": HIERA,
        "backbone_channel_list": [64, 32, 16, 8],
    },
    "prompt_encoder_config": {
        "image_size": 128,
        "patch_size": 16,
        "hidden_size": 32,
        "mask_input_channels": 4,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    },
}


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch) -> None:
    """An empty cache of the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    inner = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    words = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return hub.PreTrainedTokenizerFast(tokenizer_object=inner, **words)


def make(run: str) -> tuple[Any, Any]:
    """A tiny random model of a runner's family, and its processor."""
    vision = BODY | {"image_size": 42, "patch_size": 14}
    if run == "features":
        size = {"size": {"shortest_edge": 48}, "crop_size": SIDE}
        return hub.Dinov2Model(hub.Dinov2Config(**vision)), hub.BitImageProcessorPil(**size)
    if run == "clip":
        looks = hub.CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size=SIDE)
        config = hub.CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=32)
        return hub.CLIPModel(config), hub.CLIPProcessor(looks, tokenizer())
    if run == "siglip2":
        looks = hub.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=30)
        seen = BODY | {"patch_size": 8, "num_patches": 16}
        config = hub.Siglip2Config(
            vision_config=seen, text_config=TEXT | {"max_position_embeddings": 64}
        )
        return hub.Siglip2Model(config), hub.Siglip2Processor(looks, tokenizer())
    looks = hub.Sam2ImageProcessor(
        size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32}
    )
    return hub.Sam2Model(hub.Sam2Config(**SAM2)), hub.Sam2Processor(looks)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """ORG/RUN, a tiny checkpoint for each runner."""
    root = tmp_path_factory.mktemp("checkpoints")
    for seed, run in enumerate(RUNNERS):
        torch.manual_seed(seed)
        model, processor = make(run)
        # a fresh model's outputs are nearly the same for any input: stir them
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
        model.save_pretrained(root / "tiny" / run)
        processor.save_pretrained(root / "tiny" / run)
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two photos of different shapes, some folders deep."""
    root = tmp_path_factory.mktemp("photos")
    (root / "deep").mkdir()
    Image.fromarray(photos.chelsea()).save(root / "deep" / "cat.png")
    Image.fromarray(np.ascontiguousarray(photos.coffee()[:240, :240])).save(root / "coffee.png")
    return root


def library(
    run: str, folder: Path, root: Path, settings: dict[str, Any], names: list[str]
) -> dict[str, torch.Tensor]:
    """The outputs as transformers alone makes them: its own processor, its own forward pass."""
    images = [Image.open(root / name).convert("RGB") for name in names]
    images = images or [ellipse(*size) for size in ((224, 224), (1024, 1024), (224, 1024))]
    load = {
        "features": "Dinov2Model",
        "clip": "CLIPModel",
        "siglip2": "Siglip2Model",
        "sam2": "Sam2Model",
    }[run]
    model = getattr(hub, load).from_pretrained(folder).eval()
    backend = {} if run == "sam2" else {"backend": "pil"}
    with torch.no_grad():
        if run == "features":
            pixels = hub.AutoImageProcessor.from_pretrained(folder, **backend)(
                images, return_tensors="pt"
            )
            return {"CLS and 2 patches, 3 channels": model(**pixels).last_hidden_state[0, :3, :3]}
        if run == "sam2":
            shapes = (
                {"input_boxes": [list(map(list, box)) for box in settings["boxes"]]}
                if "boxes" in settings
                else {}
            )
            shapes = shapes or {
                "input_points": [[list(map(list, settings["points"]))]],
                "input_labels": [[[1]]],
            }
            inputs = hub.Sam2Processor.from_pretrained(folder)(
                images=images, **shapes, return_tensors="pt"
            )
            asked = {name: inputs[name] for name in ("pixel_values", *shapes)}
            output = model(**asked, multimask_output=settings["multimask"])
            if "boxes" in settings:
                return {"IoU estimates": output.iou_scores[..., 0]}
            order = output.iou_scores[0, 0].argsort(descending=True)
            logits = output.pred_masks[0, 0, order[0], :3, :3]
            return {"IoU estimates": output.iou_scores[0, 0, order], "best mask's logits": logits}
        pixels = hub.AutoImageProcessor.from_pretrained(folder, **backend)(
            images, return_tensors="pt"
        )
        words = hub.AutoProcessor.from_pretrained(folder)(
            text=list(settings["texts"]),
            return_tensors="pt",
            **({"padding": True} if run == "clip" else {}),
        )
        output = model(**pixels, **words)
        if run == "clip":
            return {"logits per image": output.logits_per_image}
        return {"logits per text": output.logits_per_text}


GIVEN: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "features": ("features", ["deep/cat.png"], {}),
    "clip": ("clip", ["deep/cat.png"], {"texts": TEXTS}),
    "siglip2": ("siglip2", [], {"texts": TEXTS}),
    "sam2 point": ("sam2", ["deep/cat.png"], {"points": ((200, 100),), "multimask": True}),
    "sam2 one mask": ("sam2", ["deep/cat.png"], {"points": ((200, 100),), "multimask": False}),
    "sam2 boxes": (
        "sam2",
        ["deep/cat.png", "coffee.png"],
        {
            "boxes": (
                ((10, 20, 200, 150), (100, 50, 400, 290)),
                ((5, 5, 100, 100), (50, 60, 200, 220)),
            ),
            "multimask": False,
        },
    ),
}


PHOTOS = {
    "deep/cat.png": Photo(("cat.png",), (300, 451)),
    "coffee.png": Photo(("no.jpg", "coffee.png"), (240, 240)),
}


@pytest.fixture(params=list(GIVEN))
def case(request, checkpoints, pictures) -> Case:
    """A case whose numbers transformers itself made from the tiny checkpoint."""
    run, names, settings = GIVEN[request.param]
    outputs = library(run, checkpoints / "tiny" / run, pictures, settings, names)
    expected = {name: values.tolist() for name, values in outputs.items()}
    return Case(
        f"tiny/{run}", run, expected, tuple(PHOTOS[name] for name in names), settings, atol=1e-4
    )


def test_a_checkpoint_holds_against_its_own_slice(case, checkpoints, pictures):
    (verdict,) = check_weights([case], photos=pictures, checkpoints=checkpoints)
    assert (verdict.state, verdict.why) == ("holds", "")
    assert verdict.off < 1e-4


def test_another_checkpoint_fails_visibly(case, checkpoints, pictures, tmp_path):
    torch.manual_seed(100)
    model, processor = make(case.run)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(tmp_path / case.run)  # NAME without ORG is found, too
    processor.save_pretrained(tmp_path / case.run)
    (verdict,) = check_weights([replace(case, note="seen")], photos=pictures, checkpoints=tmp_path)
    assert (verdict.state, verdict.why) == ("fails", "seen")
    assert verdict.off > 1e-3


def test_a_number_just_beyond_the_tolerance_fails():
    case = Case("a/b", "features", {"x": ((1.0, -2.0),), "y": (3.0,)}, rtol=0.01, atol=0.001)
    near = {"x": torch.tensor([[1.0109, -2.0]]), "y": torch.tensor([3.0])}
    assert compare(case, near).state == "holds"
    verdict = compare(case, near | {"y": torch.tensor([3.0311])})
    assert verdict.state == "fails"
    assert verdict.off == pytest.approx(0.0311, abs=1e-5)
    assert compare(case, near | {"y": torch.tensor([float("nan")])}).state == "fails"
    assert (
        compare(case, near | {"y": torch.zeros(2)}).why == "y: shape (2,) where (1,) was published"
    )


class TestWhatIsAbsent:
    CLIP = Case(
        "tiny/clip",
        "clip",
        {"logits per image": ((0.0, 0.0),)},
        (PHOTOS["deep/cat.png"],),
        {"texts": TEXTS},
    )

    def why(self, case: Case = CLIP, **options: Any) -> str:
        (verdict,) = check_weights([case], **options)
        assert verdict.state == "not here"
        return verdict.why

    def test_weights_and_photo_are_both_named(self, pictures):
        why = self.why()
        assert "weights are not on this machine (--download fetches them)" in why
        assert "no photo cat.png of 451 x 300 pixels (name a folder: --photos)" in why

    def test_a_photo_that_is_not_in_the_folder(self, checkpoints, tmp_path):
        Image.new("RGB", (300, 451)).save(tmp_path / "cat.png")  # another one of that name
        why = self.why(checkpoints=checkpoints, photos=tmp_path)
        assert why == f"no photo cat.png of 451 x 300 pixels under {tmp_path}"

    def test_a_folder_without_safetensors(self, tmp_path, pictures):
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip" / "pytorch_model.bin").write_bytes(b"")
        assert (
            self.why(checkpoints=tmp_path, photos=pictures)
            == f"{tmp_path / 'clip'} has no config.json and safetensors"
        )

    def test_a_checkpoint_without_tokenizer(self, tmp_path, checkpoints, pictures):
        """As the cache holds one that only `locate` has fetched."""
        shutil.copytree(
            checkpoints / "tiny" / "clip",
            tmp_path / "clip",
            ignore=shutil.ignore_patterns("tokenizer*"),
        )
        assert "has no tokenizer files" in self.why(checkpoints=tmp_path, photos=pictures)

    def test_a_download_that_fails_is_said(self, monkeypatch, pictures):
        library = pytest.importorskip("huggingface_hub")

        def fails(*_: Any, **__: Any) -> str:
            raise OSError("no route to the hub")

        monkeypatch.setattr(library, "snapshot_download", fails)
        assert (
            self.why(photos=pictures, download=True) == "could not be fetched: no route to the hub"
        )

    def test_nothing_is_fetched_unasked(self, monkeypatch, pictures):
        library = pytest.importorskip("huggingface_hub")
        monkeypatch.setattr(
            library,
            "snapshot_download",
            lambda *_, **__: pytest.fail("a download nobody asked for"),
        )
        assert {verdict.state for verdict in check_weights(SLICES, photos=pictures)} == {"not here"}

    def test_a_download_is_used(self, monkeypatch, checkpoints, pictures):
        library = pytest.importorskip("huggingface_hub")
        monkeypatch.setattr(
            library, "snapshot_download", lambda model, **_: str(checkpoints / model)
        )
        (verdict,) = check_weights([self.CLIP], photos=pictures, download=True)
        assert verdict.state == "fails"  # it ran


def test_what_cannot_be_run_is_a_result_and_the_next_case_runs(checkpoints, pictures, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')
    (folder / "model.safetensors").write_bytes(b"no tensors")
    (folder / "tokenizer.json").write_text("{}")
    broken = TestWhatIsAbsent.CLIP
    verdicts = list(
        check_weights(
            [broken, replace(broken, model="tiny/none")], photos=pictures, checkpoints=tmp_path
        )
    )
    assert [verdict.state for verdict in verdicts] == ["broken", "not here"]
    assert "clip" in verdicts[0].why


def test_the_table_and_the_report_say_it_all(capsys):
    from rich.console import Console

    verdicts = [
        ours.Verdict(SLICES[0], "fails", 0.25, "why not"),
        ours.Verdict(SLICES[3], "not here", None, "no photo"),
    ]
    console = Console(width=160)
    for table in results(verdicts):
        console.print(table)
    text = capsys.readouterr().out
    for word in (
        "openai/clip-vit-base-patch32",
        "fails",
        "0.25",
        "0.001 + 0.001 x",
        "why not",
        "not here",
        "no photo",
    ):
        assert word in text
    assert report(verdicts)[0] == {
        "model": "openai/clip-vit-base-patch32",
        "outputs": ["logits per image"],
        "state": "fails",
        "off": 0.25,
        "why": "why not",
    }


def test_the_slices_are_the_published_ones(data):
    import json

    rows = json.loads((data / "golden" / "model_slices_need_weights.json").read_text())["slices"]
    assert [(row["model"], row["atol"]) for row in rows] == [
        (case.model, case.atol) for case in SLICES
    ]
    for row, case in zip(rows, SLICES, strict=True):
        values = row["value"] if len(case.expected) > 1 else [row["value"]]
        for wanted, numbers in zip(values, case.expected.values(), strict=True):
            assert np.array_equal(np.array(wanted), np.array(numbers))
        assert tuple(row.get("text", ())) == case.given.get("texts", ())
        for name in ("points", "boxes"):
            assert np.array_equal(np.array(row.get(name, [])), np.array(case.given.get(name, [])))


def test_the_photos_are_found_where_the_data_lies(data):
    for case in SLICES:
        for photo in case.photos:
            assert ours._photo(photo, data).name in photo.names
