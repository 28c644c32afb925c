"""Exported tokens: what is written, what is set aside, and what vLLM's checks would take.

vLLM itself is not run here.
"""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from regiontok.core.picture import Picture
from regiontok.data.collect import collect
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.vlm import RegionVLM
from regiontok.released.loading import from_vlm
from regiontok.serve.export import Export, check_dtype
from regiontok.serve.language_model import write_language_model
from regiontok.serve.llava import write_llava
from regiontok.serve.token_source import NotServed, TokenSource, open_token_source
from regiontok.serve.vllm_requests import answering, read_manifest, requests, serving
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.tensor_files import read_metadata

transformers = pytest.importorskip("transformers", minversion="5.18")

WIDTH, LONGEST = 24, 2048
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
PROMPT = "<s>USER: <image>\nWhat is it?\nASSISTANT: "


def check_as_vllm(data, enable_mm_embeds, hidden_size):
    """The tensor that reaches LLaVA-1.5 in vLLM, after its checks of the image data.

    What vLLM does to `multi_modal_data["image"]` is said anew here.

    From vllm-project/vllm. vllm/multimodal/parse.py (read in a copy newer than 0794945f, its commit
    not known): `MultiModalDataParser.is_embeddings` (a 3-D tensor or a list of 2-D ones; all else
    is pixels), `EmbeddingItems._validate_ndim` and `_validate_hidden_size`, `get_feature_size`
    (rows of an item = placeholders that it takes); the processor's `_to_mm_items` (refuses
    embeddings without --enable-mm-embeds). vllm/multimodal/inputs.py,
    `MultiModalBatchedField._reduce_data` (stacks equal shapes, leaves others a list).
    vllm/model_executor/models/llava.py at 35d3c24b, `LlavaImageEmbeddingInputs`: TensorShape("bn",
    "ifs", "hs"), none dynamic, so that a list of unequal shapes fails in
    vllm/utils/tensor_schema.py (2ce30f57).
    """
    is_tensor = isinstance(data, torch.Tensor)
    embeddings = (
        data.ndim == 3
        if is_tensor
        else all(isinstance(tensor, torch.Tensor) for tensor in data) and data[0].ndim == 2
    )
    assert embeddings, "vLLM would take this for pixels"
    assert enable_mm_embeds, "You must set `--enable-mm-embeds` to input `image_embeds`"
    items = list(data)
    assert {item.ndim for item in items} == {2}
    assert {item.shape[-1] for item in items} == {hidden_size}
    assert len({item.shape for item in items}) == 1, "data contains inconsistent shapes"
    return torch.stack(items)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for number, name in enumerate(("a.png", "b.png", "sub/c.png")):
        noise = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(noise).resize((60, 48), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "trained"
    visual = TokenizerSettings(
        encoder="filters(size=112)", regions="merge(0.7) | sort('com')", norm="rms", whole=True
    )
    language_model = mini_language_model(width=WIDTH, layers=2, heads=4)
    RegionVLM.from_parts(language_model, visual, image_token_id=3).save_pretrained(folder)
    mini_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "released"
    text = mini_language_model(width=WIDTH, layers=2, heads=4).config
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**TOWER),
        text_config=text,
        image_token_index=3,
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    pil = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil
    pixels = pil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    options = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    transformers.LlavaProcessor(pixels, mini_tokenizer(), 8, **options).save_pretrained(folder)
    return folder


def source_of(tokens_of, *, name="m", longest=None):
    """The visual side of a LLaVA of width 8 that is not there: its tokens come from a function."""
    return TokenSource(
        name=name,
        model_type="llava",
        width=8,
        identity="x",
        tokens_of=tokens_of,
        longest=longest,
    )


def exported(source, photos, out, **options):
    run = Export(source, out, **options)
    return run, list(run.run(collect([str(photos)])))


@pytest.mark.parametrize("kind", ["trained", "released"])
def test_what_is_written_is_what_vllm_takes(kind, photos, tmp_path, request):
    folder = request.getfixturevalue(kind)
    source = open_token_source(str(folder), regions="merge(k=6) | sort('com')")
    run, done = exported(source, photos, tmp_path, dtype="float32", batch=2)
    k = 7 if kind == "trained" else 6  # the whole-image token counts
    manifest = read_manifest(tmp_path)
    assert manifest == run.manifest
    assert (manifest["k"], manifest["hidden_size"], manifest["longest"]) == (k, WIDTH, LONGEST)
    assert [entry["shape"] for entry in manifest["images"]] == [[k, WIDTH]] * 3
    assert [(outcome.item.name, bool(outcome.error)) for outcome in done if outcome.error] == [
        ("broken.png", True)
    ]
    assert [outcome["image"] for outcome in manifest["failed"]] == [str(photos / "broken.png")]
    assert (tmp_path / "sub/c.png.pt").is_file()
    for entry, asked in zip(manifest["images"], requests(tmp_path, PROMPT), strict=True):
        data = check_as_vllm(asked["multi_modal_data"]["image"], True, WIDTH)
        assert asked["prompt"].count("<image>") == 1
        assert torch.equal(data[0], load_file(tmp_path / entry["safetensors"])["image_embeds"])
        # a server's chat takes the bare [k e] of the .pt file, and makes a list of it
        bare = torch.load(tmp_path / entry["torch"], weights_only=True)
        assert torch.equal(check_as_vllm([bare], True, WIDTH), data)


def test_tokens_are_those_the_model_itself_would_read(trained, released, photos, tmp_path):
    pictures = [Picture.of(photos / name) for name in ("a.png", "b.png")]
    model = RegionVLM.from_pretrained(trained).eval()
    model.config.visual = {**model.config.visual, "regions": "merge(k=6)"}
    with torch.no_grad():
        expected = model.see(pictures).split()
    for ours, theirs in zip(
        open_token_source(str(trained), regions="merge(k=6)").tokens_of(pictures),
        expected,
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    vlm = from_vlm(str(released), regions="merge(k=6)")
    expected = [tokens.values for tokens in vlm.prepare(pictures, ["<image>", "<image>"]).tokens]
    for ours, theirs in zip(
        open_token_source(str(released), regions="merge(k=6)").tokens_of(pictures),
        expected,
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_an_image_with_another_number_of_tokens_is_set_aside(photos, tmp_path):
    counts = iter([5, 4, 5])
    source = source_of(lambda pictures: [torch.ones(next(counts), 8) for _ in pictures])
    run, done = exported(source, photos, tmp_path)
    assert [bool(outcome.entry) for outcome in done if outcome.item.name != "broken.png"] == [
        True,
        False,
        True,
    ]
    assert (
        "4 tokens where every image must have 5" in run.failed[-1]["error"] + run.failed[0]["error"]
    )
    assert not (tmp_path / "b.png.pt").exists()
    counts = iter([5, 4, 5])
    other = tmp_path / "other"
    assert [entry["image"] for entry in exported(source, photos, other, k=4)[0].entries] == [
        str(photos / "b.png")
    ]


def test_the_example_says_what_vllm_would_be_told(photos, tmp_path, monkeypatch, capsys):
    source = source_of(
        lambda pictures: [torch.ones(5, 8) for _ in pictures],
        name="llava-hf/llava-1.5-7b-hf",
        longest=4096,
    )
    exported(source, photos, tmp_path)
    example = Path(__file__).parents[2] / "examples" / "vllm_llava.py"
    monkeypatch.setattr(
        "sys.argv", [str(example), str(tmp_path), "--ask", "Why?", "--most", "10", "--dry-run"]
    )
    runpy.run_path(str(example), run_name="__main__")
    printed = json.loads(capsys.readouterr().out)
    assert (printed["requests"], printed["shape"]) == (3, [1, 5, 8])
    assert printed["vllm"]["max_model_len"] == 5 + len("USER: <image>\nWhy?\nASSISTANT:") + 10


def test_unequal_counts_would_be_refused_by_vllm():
    with pytest.raises(AssertionError, match="inconsistent shapes"):
        check_as_vllm([torch.ones(5, 8), torch.ones(4, 8)], True, 8)
    with pytest.raises(AssertionError, match="for pixels"):
        check_as_vllm(torch.ones(5, 8), True, 8)


def test_values_too_large_for_the_type_are_set_aside(photos, tmp_path):
    source = source_of(lambda pictures: [torch.full((3, 8), 1e6) for _ in pictures])
    run, _ = exported(source, photos, tmp_path, dtype="float16")
    assert not run.entries
    assert (
        "not finite in float16: take bfloat16" in run.failed[0]["error"] + run.failed[-1]["error"]
    )


def test_a_picture_that_spoils_its_batch_is_found(photos, tmp_path):
    def tokens_of(pictures):
        if len(pictures) > 1 or pictures[0].key == Picture.of(photos / "b.png").key:
            raise ValueError("no")
        return [torch.ones(3, 8)]

    run, _ = exported(source_of(tokens_of), photos, tmp_path)
    assert [entry["image"] for entry in run.entries] == [
        str(photos / "a.png"),
        str(photos / "sub/c.png"),
    ]


def test_a_run_that_did_not_end_leaves_no_manifest(photos, tmp_path):
    source = source_of(lambda pictures: [torch.ones(3, 8) for _ in pictures])
    next(run := Export(source, tmp_path, batch=1).run(collect([str(photos)])))
    run.close()
    with pytest.raises(
        ValueError, match=r"has no manifest\.json: it is no export, or the run did not end"
    ):
        read_manifest(tmp_path)


def test_what_to_tell_vllm():
    manifest = {
        "model": "llava-hf/llava-1.5-7b-hf",
        "model_type": "llava",
        "k": 144,
        "longest": 4096,
        "dtype": "bfloat16",
    }
    assert serving(manifest, text=256, images=2) == {
        "model": "llava-hf/llava-1.5-7b-hf",
        "enable_mm_embeds": True,
        "limit_mm_per_prompt": {"image": 0},
        "max_model_len": 544,
        "dtype": "bfloat16",
    }
    with pytest.raises(
        ValueError,
        match="30 images of 144 tokens and 256 of text are 4576, the language model takes 4096",
    ):
        serving(manifest, text=256, images=30)
    with pytest.raises(ValueError, match="vLLM does not know a regiontok_vlm"):
        serving({**manifest, "model_type": "regiontok_vlm"})
    with pytest.raises(ValueError, match="the export holds no image"):
        serving({**manifest, "k": None})


def test_bad_prompts_and_changed_files(photos, tmp_path):
    source = source_of(lambda pictures: [torch.ones(3, 8) for _ in pictures])
    run, _ = exported(source, photos, tmp_path)
    with pytest.raises(ValueError, match="a prompt holds one <image> for its image, this one 2"):
        next(requests(tmp_path, "<image><image>"))
    torch.save(torch.ones(2, 8), tmp_path / run.entries[0]["torch"])
    with pytest.raises(ValueError, match=r"is \[2, 8\], the manifest says \[3, 8\]"):
        next(requests(tmp_path, PROMPT))


def test_other_models_and_types_are_refused(tmp_path):
    assert check_dtype("float16") == "float16"
    with pytest.raises(ValueError, match="dtype must be float32, float16, bfloat16, not 'int8'"):
        check_dtype("int8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        open_token_source(str(tmp_path))


def test_shared_positions_are_refused(trained, tmp_path):
    folder = tmp_path / "segment"
    shutil.copytree(trained, folder)
    config = json.loads((folder / "config.json").read_text()) | {"positions": "segment"}
    (folder / "config.json").write_text(json.dumps(config))
    calls = (
        lambda: open_token_source(str(folder)),
        lambda: write_llava(str(folder), tmp_path / "llava"),
        lambda: write_language_model(str(folder), tmp_path / "lm"),
    )
    for call in calls:
        with pytest.raises(NotServed, match="positions='segment', and a server gives every token"):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["segment"]


def test_any_number_of_tokens_where_the_server_takes_a_mix(photos, tmp_path):
    counts = iter([5, 4, 0])
    source = source_of(lambda pictures: [torch.ones(next(counts), 8) for _ in pictures])
    run, _ = exported(source, photos, tmp_path, equal=False, batch=1)
    assert [entry["shape"][0] for entry in run.entries] == [5, 4]
    assert (run.manifest["k"], run.manifest["most"], run.manifest["equal"]) == (None, 5, False)
    assert any("0 tokens where every image must have some" in each["error"] for each in run.failed)
    with pytest.raises(ValueError, match="any number of tokens an image, now one number of tokens"):
        exported(source, photos, tmp_path)


def test_the_placeholder_is_never_answered():
    manifest = {"image_token_id": 3, "vocabulary": 260}
    assert answering(manifest) == {"logit_bias": {3: -100.0}}
    behind = answering({"image_token_id": 262, "vocabulary": 260})
    assert sorted(behind["logit_bias"]) == [260, 261, 262]
    assert answering({}) == {}  # an export of an older release


@pytest.mark.slow
@pytest.mark.parametrize("image", [3, 270])
def test_a_trained_model_as_llava_answers_from_exported_tokens(image, photos, tmp_path):
    visual = TokenizerSettings(encoder="filters(size=112)", regions="merge(k=6)", norm="rms")
    model = RegionVLM.from_parts(
        mini_language_model(width=WIDTH, layers=2, heads=4), visual, image_token_id=image
    ).eval()
    tokenizer = mini_tokenizer()
    if image > 260:  # a placeholder that was added behind the vocabulary
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>"
        )
        tokenizer.add_tokens(
            [f"<{number}>" for number in range(len(tokenizer), 270)] + ["<picture>"]
        )
    model.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    assert write_llava(str(tmp_path / "trained"), tmp_path / "llava", dtype="float32") == image
    exported(
        open_token_source(str(tmp_path / "trained")), photos, tmp_path / "out", dtype="float32"
    )
    entry = read_manifest(tmp_path / "out")["images"][0]
    tokens = torch.load(tmp_path / "out" / entry["torch"], weights_only=True)

    llava = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava").eval()
    ids = torch.tensor([[1, 40, *[image] * 6, 50, 60]])
    stands = (ids == image)[..., None]
    # as vLLM puts them in
    embeds = llava.get_input_embeddings()(ids).masked_scatter(stands, tokens)
    with torch.no_grad():
        from_pixels = llava(inputs_embeds=embeds).logits[..., :260]
        from_tokens = model(
            torch.tensor([[1, 40, image, 50, 60]]), pictures=[Picture.of(entry["image"])]
        ).logits
    assert torch.allclose(from_pixels, from_tokens, atol=1e-6)
    if image > 260:  # the mean of the others is never the largest
        with torch.no_grad():
            every = llava(inputs_embeds=embeds).logits
        assert torch.allclose(every[..., 260:], every[..., :260].mean(-1, keepdim=True), atol=1e-5)
    assert llava.config.text_config.architectures == ["LlamaForCausalLM"]
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "llava")
    assert processor.tokenizer.convert_tokens_to_ids(processor.image_token) == image
    mini_tokenizer().save_pretrained(tmp_path / "trained")
    if image > 260:
        with pytest.raises(
            ValueError,
            match=r"the placeholder's id 270 is None to the tokenizer, whose image token is "
            r"'<image>'",
        ):
            write_llava(str(tmp_path / "trained"), tmp_path / "other")


def test_a_folder_without_tokenizer_is_no_llava(tmp_path):
    visual = TokenizerSettings(encoder="filters(size=112)")
    model = RegionVLM.from_parts(
        mini_language_model(width=WIDTH, layers=1, heads=4), visual, image_token_id=3
    )
    model.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="has no tokenizer that can be read"):
        write_llava(str(tmp_path / "bare"), tmp_path / "llava")
    assert not (tmp_path / "llava").exists()


def bytes_below(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_goes_on_and_its_bytes_are_the_same_in_every_run(photos, tmp_path):
    source = source_of(lambda pictures: [torch.ones(3, 8) for _ in pictures])
    exported(source, photos, tmp_path / "whole")
    for turn in range(4):  # of two entries, the library's own order is another one in half of them
        exported(source, photos, tmp_path / str(turn))
        assert bytes_below(tmp_path / str(turn)) == bytes_below(tmp_path / "whole")
    pieces = tmp_path / "pieces"
    exported(source, photos / "a.png", pieces)
    exported(source, photos, pieces)
    assert bytes_below(pieces) == bytes_below(tmp_path / "whole")


def test_a_stopped_export_goes_on_with_what_is_whole(photos, tmp_path):
    computed = []

    def tokens_of(pictures):
        computed.extend(picture.name for picture in pictures)
        return [torch.ones(3, 8) for _ in pictures]

    items = [item for item in collect([str(photos)]) if item.name != "broken.png"]
    source = source_of(tokens_of)
    next(run := Export(source, tmp_path / "out", batch=1).run(items))
    run.close()  # before there is a manifest
    next(run := Export(source, tmp_path / "out", batch=1, resume=True).run(items))
    run.close()
    assert len(computed) == 1
    resumed = list(Export(source, tmp_path / "out", resume=True).run(items))
    assert [image.resumed for image in resumed] == [True, *[False] * (len(items) - 1)]
    assert computed == [str(item.path) for item in items]
    list(Export(source, tmp_path / "whole").run(items))
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "whole")
    # a cut file, and tokens of another maker or type, are no tokens
    for name in ("a.png.safetensors", "sub/c.png.pt"):
        whole = (tmp_path / "out" / name).read_bytes()
        (tmp_path / "out" / name).write_bytes(whole[:-5])
        again = list(Export(source, tmp_path / "out", resume=True).run(items))
        assert sum(image.resumed for image in again) == len(items) - 1
        assert (tmp_path / "out" / name).read_bytes() == whole
    again = Export(source, tmp_path / "out", resume=True, overwrite=True, dtype="float32")
    assert not any(image.resumed for image in again.run(items))


def test_another_export_at_the_same_place_is_refused_unless_it_may_overwrite(photos, tmp_path):
    def source(identity):
        return TokenSource(
            name="m",
            model_type="llava",
            width=8,
            identity=identity,
            tokens_of=lambda pictures: [torch.ones(3, 8) for _ in pictures],
            settings={"regions": identity},
        )

    exported(source("merge(k=3)"), photos, tmp_path)
    (tmp_path / "a.png.notes").write_text("mine")
    before = bytes_below(tmp_path)
    with pytest.raises(ValueError, match=r"regions 'merge\(k=3\)', now 'windows\(3\)'; .*--overw"):
        exported(source("windows(3)"), photos, tmp_path)
    with pytest.raises(ValueError, match=r"dtype 'bfloat16', now 'float32'; .*--overwrite"):
        exported(source("merge(k=3)"), photos, tmp_path, dtype="float32")
    assert bytes_below(tmp_path) == before
    exported(source("windows(3)"), photos / "a.png", tmp_path, overwrite=True)
    assert sorted(bytes_below(tmp_path)) == [
        "a.png.notes",
        "a.png.pt",
        "a.png.safetensors",
        "manifest.json",
    ]


def test_another_picture_or_a_foreign_file_at_the_same_place_is_set_aside(photos, tmp_path):
    source = source_of(lambda pictures: [torch.ones(3, 8) for _ in pictures])
    exported(source, photos, tmp_path)
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes())
    run, _ = exported(source, photos / "a.png", tmp_path)
    assert "a.png.safetensors holds the tokens of another picture" in run.failed[0]["error"]
    run, _ = exported(source, photos / "a.png", tmp_path, overwrite=True)
    assert len(run.entries) == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png.pt").write_bytes(b"mine")
    run, _ = exported(source, photos / "a.png", other, overwrite=True)
    assert "a.png.pt is there and is no export" in run.failed[0]["error"]
    assert (other / "a.png.pt").read_bytes() == b"mine"


def test_what_made_an_export_is_in_its_files(photos, tmp_path, trained):
    source = open_token_source(str(trained), regions="merge(k=6)")
    run, _ = exported(source, photos / "a.png", tmp_path)
    metadata = json.loads(read_metadata(tmp_path / "a.png.safetensors")["regiontok"])
    assert metadata["settings"]["regions"] == "merge(k=6)"
    assert metadata["settings"]["encoder"] == run.manifest["settings"]["encoder"]
    assert metadata["key"] == Picture.of(photos / "a.png").key
    assert metadata["made_by"] == run.manifest["made_by"]


def test_a_llava_checkpoint_replaces_no_folder_of_other_files(trained, tmp_path):
    (tmp_path / "thesis.odt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds 'thesis\.odt', which is no part of a checkpoint"):
        write_llava(str(trained), tmp_path)
    assert (tmp_path / "thesis.odt").read_text() == "mine"
