"""`regiontok.serve.vllm_plugin` in vLLM, on the CPU: pictures in, the ids of transformers out.

`REGIONTOK_VLLM_ENV` names an environment with vLLM and regiontok, which `make test-vllm` makes;
without it these tests are skipped.
"""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib import error, request

import pytest
import torch

pytest.importorskip("transformers", minversion="5.18")

from regiontok.core.picture import Picture
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.loading import from_vlm
from regiontok.serve.client import encoded
from regiontok.serve.token_source import open_token_source
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.shipped_models import local_folder
from samples.llava_family import tiny_llava_family
from samples.models import IMAGE, shake
from samples.pictures import blurred_photo
from samples.released import tiny_llava, tiny_qwen
from samples.served import ENGINE, HAS_TORCHVISION, NO_VLLM, PYTHON, run_script, running_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON.is_file(), reason=NO_VLLM)]
needs_torchvision = pytest.mark.skipif(
    not HAS_TORCHVISION, reason="its processor has a part for videos, which needs torchvision"
)
NEW = 12
PHOTOS = [blurred_photo(seed, (30 + 9 * seed, 90 - 8 * seed)) for seed in range(8)]
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # ids of random answers that make a text
OFFLINE = """
import json, os, sys
import torch
from PIL import Image
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    asked = json.load(open(sys.argv[1]))
    llm = LLM(asked["model"], **asked["options"])
    prompts = []
    for each in asked["prompts"]:
        pictures = [Image.open(path).convert("RGB") for path in each.pop("photos", ())]
        rows = [torch.load(path, weights_only=True) for path in each.pop("rows", ())]
        prompts.append({**each, "multi_modal_data": {"image": pictures or rows}})
    sampling = SamplingParams(temperature=0, max_tokens=asked["new"],
                              allowed_token_ids=asked["letters"])
    for _ in range(2):  # the second time from the caches
        answers = llm.generate(prompts, sampling)
        print("SAID", json.dumps([
            [list(each.outputs[0].token_ids), len(each.prompt_token_ids), each.num_cached_tokens]
            for each in answers
        ]), flush=True)
    try:
        llm.generate({**prompts[0], "mm_processor_kwargs": {"region": "merge(0.7)"}}, sampling)
    except ValueError as error:
        print("REFUSED", error, flush=True)
    os._exit(0)
"""


def saved_trained(folder: Path):
    """A RegionVLM of random weights; its regions are of other numbers for each photo."""
    torch.manual_seed(0)
    settings = TokenizerSettings(encoder="filters(size=112)", regions="merge(0.7)", whole=True)
    language_model = mini_language_model(width=64, layers=2, heads=2)
    model = RegionVLM.from_parts(language_model, settings, image_token_id=IMAGE)
    shake(model)
    model.save_pretrained(folder)
    RegionVLMProcessor(mini_tokenizer()).save_pretrained(folder)
    return RegionVLM.from_pretrained(folder).eval()


def saved_released(model, processor, folder: Path, regions: str, strength: float = 1.0):
    """A released model of random weights, and how it is answered by transformers.

    The more strength the language model's layers have, the more do answers depend on a picture.
    """
    shake(model)
    for layer in model.model.language_model.layers:
        for weight in layer.parameters():
            weight.data *= strength if weight.ndim == 2 else 1.0
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return from_vlm(str(folder), regions=regions)


def letter_ids(tokenizer) -> list[int]:
    return [tokenizer(letter, add_special_tokens=False).input_ids[-1] for letter in LETTERS]


def greedy(tokenizer) -> dict:
    """Options of transformers' `generate` by which letters alone are answered."""
    others = sorted(set(range(len(tokenizer))) - set(letter_ids(tokenizer)))
    return {"max_new_tokens": NEW, "do_sample": False, "suppress_tokens": others}


def offline(folder: Path, model: Path, tokenizer, prompts: list[dict], options: dict) -> list:
    """What vLLM answers twice to prompts with photos, or with files of rows.

    Of each answer: ids, tokens of the prompt, tokens cached.
    """
    (folder / "photos").mkdir()
    paths = [str(folder / "photos" / f"{number}.png") for number in range(len(PHOTOS))]
    for photo, path in zip(PHOTOS, paths, strict=True):
        photo.save(path)
    asked = [
        {**each, "photos": [paths[number] for number in each.get("photos", ())]} for each in prompts
    ]
    job = {
        "model": str(model),
        "options": {**ENGINE, **options},
        "prompts": asked,
        "new": NEW,
        "letters": letter_ids(tokenizer),
    }
    (folder / "job.json").write_text(json.dumps(job))
    output = run_script(OFFLINE, folder, folder / "job.json")
    refused = [line for line in output.splitlines() if line.startswith("REFUSED ")]
    assert "did you mean 'regions'" in refused[0]
    rounds = [json.loads(line[5:]) for line in output.splitlines() if line.startswith("SAID ")]
    lengths = [length for _, length, _ in rounds[0]]
    assert sum(lengths) > 2 * ENGINE["max_num_batched_tokens"]  # so prompts were read in pieces
    # the last token of a prompt is always read anew
    assert all(cached >= 32 for _, length, cached in rounds[1] if length > 32)
    assert max(lengths) > 32
    return rounds


def said_by(rounds: list, tokenizer) -> list[list[str]]:
    return [tokenizer.batch_decode([ids for ids, _, _ in each]) for each in rounds]


def test_a_trained_model_offline_in_batches_and_chunks_and_from_caches(tmp_path):
    model = saved_trained(tmp_path / "model")
    tokenizer = model.processor.tokenizer
    texts = [f"<image>What is {number} in this picture, and why?" for number in range(8)]
    prompts = [{"prompt": text, "photos": [number]} for number, text in enumerate(texts)]
    prompts.append({"prompt": "<image>and<image>differ in", "photos": [2, 5]})
    steps = {"regions": "merge(k=5)"}
    prompts.append({"prompt": texts[1], "photos": [1], "mm_processor_kwargs": steps})
    options = greedy(tokenizer)
    expected = [
        model.answer(photo, text, **options)[0] for photo, text in zip(PHOTOS, texts, strict=True)
    ]
    expected += model.answer([[PHOTOS[2], PHOTOS[5]]], [prompts[8]["prompt"]], **options)
    expected += model.answer(PHOTOS[1], texts[1], **steps, **options)
    rounds = offline(tmp_path, tmp_path / "model", tokenizer, prompts, {})
    assert said_by(rounds, tokenizer) == [expected, expected]
    lengths = [length for _, length, _ in rounds[0]]
    assert len(set(lengths[:8])) > 2
    assert max(lengths) > ENGINE["max_num_batched_tokens"]  # so one prompt alone was, too
    assert len(set(expected)) > 2


@pytest.mark.parametrize(
    ("name", "regions"),
    [
        pytest.param("llava_onevision", "merge(0.9)", marks=needs_torchvision),
        pytest.param("qwen", "merge(0.9)", marks=needs_torchvision),
    ],
)
def test_released_models_offline(name, regions, tmp_path):
    if name == "qwen":
        parts, mark, architecture = tiny_qwen(width=64), "", "RegionQwen"
        mark = "<|vision_start|><|image_pad|><|vision_end|>"
    else:
        parts, mark, architecture = tiny_llava_family(name, head_dim=32), "<image>", "RegionLlava"
    model = saved_released(*parts, tmp_path / "model", regions)
    tokenizer = model.processor.tokenizer
    texts = [f"{mark}What is {number} in this picture, and why?" for number in range(8)]
    prompts = [{"prompt": text, "photos": [number]} for number, text in enumerate(texts)]
    prompts.append({"prompt": f"{mark}and{mark}differ in", "photos": [2, 5]})
    options = greedy(tokenizer)
    expected = [
        model.answer(photo, text, **options)[0] for photo, text in zip(PHOTOS, texts, strict=True)
    ]
    # not a list a prompt, of which OneVision reads no tiles
    expected += model.answer([PHOTOS[2], PHOTOS[5]], prompts[8]["prompt"], **options)
    overrides = {"architectures": [architecture]}
    started = {"hf_overrides": overrides, "mm_processor_kwargs": {"regions": regions}}
    rounds = offline(tmp_path, tmp_path / "model", tokenizer, prompts, started)
    assert said_by(rounds, tokenizer) == [expected, expected]
    assert len({length for _, length, _ in rounds[0][:8]}) > 2
    assert len(set(expected)) > 1


def exported_rows(folder: Path, regions: str) -> list[torch.Tensor]:
    """The tokens of each photo, as `regiontok export` makes them."""
    source = open_token_source(str(folder), regions=regions)
    return [source.tokens_of([Picture.of(photo)])[0] for photo in PHOTOS]


def test_exported_tokens_of_any_number_meet_in_one_batch(tmp_path):
    folder, regions = tmp_path / "model", "merge(0.99)"
    model = saved_released(*tiny_llava(width=64, heads=2), folder, regions, strength=4.0)
    tokenizer = model.processor.tokenizer
    images = exported_rows(folder, regions)
    assert len({len(values) for values in images}) > 2
    paths = [str(tmp_path / f"{number}.pt") for number in range(len(images))]
    for values, path in zip(images, paths, strict=True):
        torch.save(values, path)
    texts = [f"<image>What is {number} in this picture, and why?" for number in range(8)]
    both = "<image>and<image>differ in"
    prompts = [{"prompt": text, "rows": [path]} for text, path in zip(texts, paths, strict=True)]
    prompts += [{"prompt": both, "rows": [paths[2], paths[5]]}]
    prompts += [{"prompt": texts[3], "photos": [3]}]  # a picture among them
    options = greedy(tokenizer)
    expected = [
        model.answer(photo, text, **options)[0] for photo, text in zip(PHOTOS, texts, strict=True)
    ]
    expected += model.answer([[PHOTOS[2], PHOTOS[5]]], [both], **options)
    started = {
        "hf_overrides": {"architectures": ["RegionLlava"]},
        "mm_processor_kwargs": {"regions": regions},
        "enable_mm_embeds": True,
    }
    rounds = offline(tmp_path, folder, tokenizer, prompts, started)
    assert said_by(rounds, tokenizer) == [[*expected, expected[3]]] * 2
    assert len(set(expected)) > 1


def png(photo) -> bytes:
    file = io.BytesIO()
    photo.save(file, "PNG")
    return file.getvalue()


def picture_part(content: bytes) -> dict:
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def rows_part(values: torch.Tensor) -> dict:
    return {"type": "image_embeds", "image_embeds": encoded(values)}


def text_part(text: str) -> dict:
    return {"type": "text", "text": text}


def post(address: str, model: Path, parts: list[dict], **options):
    """What a server answers to a message of some parts, or its refusal as text.

    Beside it, tokens of the prompt, and those of them that were cached.
    """
    body = {
        "model": str(model),
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": NEW,
        "temperature": 0,
        **options,
    }
    message = request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with request.urlopen(message, timeout=600) as reply:
            answer = json.load(reply)
    except error.HTTPError as failure:
        return f"{failure.code} {failure.read().decode()}", 0, 0
    usage = answer["usage"]
    cached = (usage["prompt_tokens_details"] or {}).get("cached_tokens", 0)
    return answer["choices"][0]["message"]["content"], usage["prompt_tokens"], cached


def ask(address: str, model: Path, part: dict, number: int, letters: list[int], **options):
    """The same for a question about a picture."""
    options = {"allowed_token_ids": letters, **options}
    return post(address, model, [part, text_part(f"What is {number}?")], **options)


def in_words(text: str) -> list[dict]:
    return [{"role": "user", "content": [{"type": "image"}, text_part(text)]}]


@pytest.mark.parametrize("kind", ["trained", "llava"])
def test_a_server_answers_eight_clients_refuses_the_rest_and_lives_on(kind, tmp_path):
    folder, words = tmp_path / "model", ["--trust-request-mm-kwargs"]
    parts = [picture_part(png(photo)) for photo in PHOTOS]
    if kind == "trained":
        model = saved_trained(folder)
    else:
        model = saved_released(*tiny_llava(width=64, heads=2), folder, "merge(0.99)")
        words += ["--hf-overrides", '{"architectures": ["RegionLlava"]}']
        words += ["--mm-processor-kwargs", '{"regions": "merge(0.99)"}']
        words += ["--chat-template-content-format", "openai", "--enable-mm-embeds"]
        rows = exported_rows(folder, "merge(0.99)")
        parts[1::2] = map(rows_part, rows[1::2])  # every other client sends exported tokens
    tokenizer = model.processor.tokenizer
    letters, options = letter_ids(tokenizer), greedy(tokenizer)
    expected = [
        model.answer(photo, messages=in_words(f"What is {number}?"), **options)[0]
        for number, photo in enumerate(PHOTOS)
    ]
    with running_server(folder, tmp_path, words) as address:

        def client(number: int, part: dict | None = None, **kwargs) -> tuple[str, int, int]:
            return ask(address, folder, part or parts[number], number, letters, **kwargs)

        with ThreadPoolExecutor(8) as clients:
            said = list(clients.map(client, range(8)))
        assert [text for text, _, _ in said] == expected
        assert len({tokens for _, tokens, _ in said}) > 2
        broken, _, _ = client(0, picture_part(png(PHOTOS[0])[:200]))
        assert broken.startswith("400 ")
        for kwargs, why in [
            ({"regions": "mergee(0.7)"}, "did you mean 'merge'"),
            ({"region": "merge(0.7)"}, "did you mean 'regions'"),
            ({"device": "cuda"}, "have no 'device'"),
            ({"regions": 3}, "is a text"),
        ]:
            refused, _, _ = client(0, mm_processor_kwargs=kwargs)
            assert refused.startswith("400 ")
            assert why in refused
        if kind == "llava":
            values = rows[1]
            for wrong, why in [
                (values[:, 1:], "hidden dimension mismatch"),
                (values[:0], "has no token"),
                (values.long(), "expected floating point"),
                (values.where(values > 0, torch.nan), "not finite"),
            ]:
                refused, _, _ = client(1, rows_part(wrong))
                assert refused.startswith("400 ")
                assert why in refused
            bytes_of_none = base64.b64encode(b"no tensor").decode()
            failed, _, _ = client(1, {"type": "image_embeds", "image_embeds": bytes_of_none})
            assert failed.startswith("500 ")  # vLLM's own answer
            refused, _, _ = client(1, mm_processor_kwargs={"regions": "merge(k=5)"})
            assert refused.startswith("400 ")
            assert "have their regions" in refused
        for number in (2, 3):  # from the caches
            text, tokens, cached = client(number)
            assert (text, tokens) == said[number][:2]
            assert cached >= 32
        steps = {"regions": "merge(k=5)"}
        other, tokens, _ = client(2, mm_processor_kwargs=steps)
        assert tokens < said[2][1]
        assert other == model_with(model, kind, folder, steps, options)


def model_with(model, kind: str, folder: Path, steps: dict, options: dict) -> str:
    """What transformers answers about the third photo with other steps."""
    if kind == "trained":
        return model.answer(PHOTOS[2], messages=in_words("What is 2?"), **steps, **options)[0]
    other = from_vlm(str(folder), **steps)
    return other.answer(PHOTOS[2], messages=in_words("What is 2?"), **options)[0]


@needs_torchvision
def test_a_server_of_the_shipped_model_answers_as_it_answers_here(tmp_path):
    folder = local_folder("mini-clustering")
    model = RegionVLM.from_pretrained(folder).eval()
    questions = ["what color is the square", "how many circles are there", "is there a red bar"]
    asked = [(photo, questions[number % 3]) for number, photo in enumerate(PHOTOS)]
    expected = [
        model.answer(photo, messages=in_words(question), max_new_tokens=NEW, do_sample=False)[0]
        for photo, question in asked
    ]
    with running_server(folder, tmp_path) as address:
        said = [
            post(address, folder, [picture_part(png(photo)), text_part(question)])
            for photo, question in asked
        ]
    assert [text for text, _, _ in said] == expected
    assert len(set(expected)) > 2


@pytest.mark.parametrize("kind", ["trained", "llava"])
def test_a_wrong_spec_of_the_server_ends_its_start_with_the_reason(kind, tmp_path):
    folder = tmp_path / "model"
    words = ["--mm-processor-kwargs", '{"regions": "mergee(0.7)"}']
    if kind == "trained":
        saved_trained(folder)
    else:
        saved_released(*tiny_llava(width=64, heads=2), folder, "")
        words += ["--hf-overrides", '{"architectures": ["RegionLlava"]}']
    with (
        pytest.raises(AssertionError, match="did you mean 'merge'"),
        running_server(folder, tmp_path, words),
    ):
        pass
