"""Rows of prompts in vLLM itself, on the CPU: the ids that transformers gives.

`REGIONTOK_VLLM_ENV` names an environment with vLLM, which `make test-vllm` makes; without it these
tests are skipped.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", minversion="5.18")

from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.loading import from_vlm
from regiontok.serve.client import ServedLanguageModel, ServerRefusal, encoded
from regiontok.serve.language_model import write_language_model
from regiontok.serve.prompt_rows import PromptWriter
from regiontok.serve.token_source import open_token_source
from regiontok.settings.recipe import TokenizerSettings
from samples.models import IMAGE, shake
from samples.pictures import blurred_photo
from samples.released import tiny_llava
from samples.served import ENGINE, NO_VLLM, PYTHON, run_script, running_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON.is_file(), reason=NO_VLLM)]
NEW = 12
PHOTOS = [blurred_photo(seed, (30 + 9 * seed, 90 - 8 * seed)) for seed in range(8)]
OFFLINE = """
import json, os, sys
import torch
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    prompts, sampling, options = torch.load(sys.argv[2], weights_only=True)
    llm = LLM(sys.argv[1], enable_prompt_embeds=True, **options)
    for _ in range(2):  # the second time from the cache
        answers = llm.generate(prompts, SamplingParams(temperature=0, **sampling))
        print("SAID", json.dumps([
            [list(each.outputs[0].token_ids), each.num_cached_tokens] for each in answers
        ]), flush=True)
    os._exit(0)
"""


def trained(folder: Path):
    """A RegionVLM of random weights, saved."""
    torch.manual_seed(0)
    settings = TokenizerSettings(encoder="filters(size=112)", regions="merge(0.7)", whole=True)
    language_model = mini_language_model(width=64, layers=2, heads=2)
    model = RegionVLM.from_parts(language_model, settings, image_token_id=IMAGE)
    shake(model)
    model.save_pretrained(folder)
    RegionVLMProcessor(mini_tokenizer()).save_pretrained(folder)
    return RegionVLM.from_pretrained(folder).eval(), ""


def released(folder: Path):
    """A LLaVA of random weights with heads of 32, saved."""
    model, processor = tiny_llava(width=64, heads=2)
    shake(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return from_vlm(str(folder), regions="merge(0.99)"), "merge(0.99)"


@pytest.fixture(scope="module", params=[trained, released])
def exported(request, tmp_path_factory):
    """A model, its language model alone, and each photo's tokens, of different numbers."""
    folder = tmp_path_factory.mktemp("vllm")
    model, regions = request.param(folder / "whole")
    write_language_model(str(folder / "whole"), folder / "lm", dtype="float32")
    source = open_token_source(str(folder / "whole"), regions=regions)
    images = [source.tokens_of([photo])[0] for photo in PHOTOS]
    assert len({len(values) for values in images}) > 2
    return folder, model, images


def letters(writer) -> list[int]:
    """Ids of letters: other bytes of random answers make no text."""
    words = "abcdefghijklmnopqrstuvwxyz"
    return [writer.tokenizer(letter, add_special_tokens=False).input_ids[-1] for letter in words]


def asked(number: int) -> list[dict]:
    parts = [{"type": "image"}, {"type": "text", "text": f"What is {number}?"}]
    return [{"role": "user", "content": parts}]


def expected(model, writer) -> list[str]:
    """The answers of transformers, each asked alone."""
    others = sorted(set(range(260)) - set(letters(writer)))
    options = {"max_new_tokens": NEW, "do_sample": False, "suppress_tokens": others}
    return [
        model.answer(photo, messages=asked(number), **options)[0]
        for number, photo in enumerate(PHOTOS)
    ]


@pytest.fixture
def server(exported):
    folder, _, _ = exported
    with running_server(folder / "lm", folder, ["--enable-prompt-embeds"]) as address:
        yield address


def test_a_server_answers_eight_clients_as_transformers_does(exported, server):
    folder, model, images = exported
    writer = PromptWriter(folder / "lm")
    answers = expected(model, writer)
    served = ServedLanguageModel(server, writer)

    def ask(number: int) -> str:
        return served.complete(
            asked(number), [images[number]], new=NEW, allowed_token_ids=letters(writer)
        )

    with ThreadPoolExecutor(8) as clients:
        said = list(clients.map(ask, range(8)))
    assert [text.strip() for text in said] == [text.strip() for text in answers]
    # what this client would refuse the server refuses, too, and lives on
    wrong = {**served._settings(4, {}), "prompt_embeds": encoded(torch.ones(3, writer.width + 1))}
    with pytest.raises(ServerRefusal, match="answers 400"):
        served._post("/v1/completions", wrong)
    assert ask(0).strip() == answers[0].strip()
    chatted = served.chat(asked(0), [images[0]], new=NEW, allowed_token_ids=letters(writer))
    assert len(chatted) == NEW


def test_requests_without_a_server(exported, tmp_path):
    folder, model, images = exported
    writer = PromptWriter(folder / "lm")
    prompts = [writer.prompt(asked(n), [values]).request() for n, values in enumerate(images)]
    sampling = {"max_tokens": NEW, "allowed_token_ids": letters(writer), **writer.answering()}
    torch.save((prompts, sampling, ENGINE), tmp_path / "prompts.pt")
    output = run_script(OFFLINE, tmp_path, folder / "lm", tmp_path / "prompts.pt")
    lines = [line for line in output.splitlines() if line.startswith("SAID ")]
    rounds = [json.loads(line[5:]) for line in lines]
    answers = [text.strip() for text in expected(model, writer)]
    assert len(rounds) == 2
    for said in rounds:
        texts = writer.tokenizer.batch_decode([ids for ids, _ in said], skip_special_tokens=True)
        assert [text.strip() for text in texts] == answers
    lengths = [len(prompt["prompt_token_ids"]) for prompt in prompts]
    assert sum(lengths) > 2 * ENGINE["max_num_batched_tokens"]  # so prompts were read in pieces
    assert max(lengths) > 32
    cached = [number for _, number in rounds[1]]
    assert all(number >= 32 for number, length in zip(cached, lengths, strict=True) if length > 32)
