"""The language model alone, given rows of a prompt, has the logits of the model that sees."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers", minversion="5.18")

from regiontok.model.mini import mini_tokenizer  # noqa: E402
from regiontok.model.processor import RegionVLMProcessor  # noqa: E402
from regiontok.model.vlm import RegionVLM  # noqa: E402
from regiontok.released.loading import from_vlm  # noqa: E402
from regiontok.serve.language_model import write_language_model  # noqa: E402
from regiontok.serve.prompt_rows import PromptWriter, UnusablePrompt  # noqa: E402
from regiontok.serve.row_checks import UnusableRows  # noqa: E402
from regiontok.serve.token_source import NotServed, open_token_source  # noqa: E402
from regiontok.settings.recipe import TokenizerSettings  # noqa: E402
from samples.internvl_family import tiny_internvl  # noqa: E402
from samples.llava_family import tiny_llava_family  # noqa: E402
from samples.models import mini_vlm, shake  # noqa: E402
from samples.pictures import blurred_photo  # noqa: E402
from samples.qwen_family import tiny_qwen_family  # noqa: E402
from samples.released import tiny_llava  # noqa: E402

PHOTOS = [blurred_photo(1, (50, 90)), blurred_photo(2, (70, 33)), blurred_photo(3, (20, 37))]
MESSAGES = [
    {
        "role": "user",
        "content": [
            {"type": "image"},
            {"type": "text", "text": "What is it?"},
            {"type": "image"},
        ],
    }
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A saved RegionVLM, its language model alone, and the model itself."""
    folder = tmp_path_factory.mktemp("trained")
    settings = TokenizerSettings(encoder="filters(size=112)", regions="merge(0.7)", whole=True)
    model = mini_vlm(settings)
    shake(model)
    model.save_pretrained(folder / "whole")
    RegionVLMProcessor(mini_tokenizer()).save_pretrained(folder / "whole")
    write_language_model(str(folder / "whole"), folder / "lm", dtype="float32")
    return folder, RegionVLM.from_pretrained(folder / "whole").eval()


def logits_of_rows(folder, rows):
    """What the language model in a folder says to rows, as a server would ask it."""
    language_model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return language_model(inputs_embeds=rows[None]).logits[0]


def looked_up(folder, prompt):
    """A prompt's rows when a server puts the text's embeddings in."""
    language_model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    of_text = language_model.get_input_embeddings()(prompt.ids).detach()
    return torch.where(prompt.is_text[:, None], of_text, prompt.rows)


def test_a_trained_model_and_any_number_of_tokens(trained):
    folder, model = trained
    images = open_token_source(str(folder / "whole")).tokens_of(PHOTOS[:2])
    assert len(images[0]) != len(images[1])
    writer = PromptWriter(folder / "lm")
    prompt = writer.prompt(MESSAGES, images)
    batch = RegionVLMProcessor(mini_tokenizer()).conversation_batch(MESSAGES, PHOTOS[:2])
    with torch.no_grad():
        expected = model(batch["input_ids"], None, batch["pictures"]).logits[0]
    rows = writer.every_row(prompt)
    assert torch.equal(rows, looked_up(folder / "lm", prompt))
    assert int((~prompt.is_text).sum()) == sum(map(len, images))
    assert torch.allclose(logits_of_rows(folder / "lm", rows), expected, rtol=0, atol=1e-5)
    request = prompt.request()
    assert len(request["prompt_token_ids"]) == len(request["prompt_embeds"]) == len(rows)
    assert max(request["prompt_token_ids"]) < 260
    assert writer.answering() == {"logit_bias": {3: -100.0}}


LLAVAS = [
    "llava",
    *(pytest.param(k, marks=pytest.mark.slow) for k in ("llava_next", "llava_onevision")),
]


@pytest.mark.parametrize("kind", LLAVAS)
def test_released_models(kind, tmp_path):
    model, processor = tiny_llava_family(kind)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "whole")
    write_language_model(str(tmp_path / "whole"), tmp_path / "lm", dtype="float32")
    vlm = from_vlm(str(tmp_path / "whole"), regions="merge(0.6)")
    text = "<s>a <image> b <image>?"
    prepared = vlm.prepare(PHOTOS[:2], text)
    with torch.no_grad():
        expected = vlm(prepared).logits[0]
    source = open_token_source(str(tmp_path / "whole"), regions="merge(0.6)")
    images = [source.tokens_of([photo])[0] for photo in PHOTOS[:2]]
    assert [len(values) for values in images] == prepared.counts
    writer = PromptWriter(tmp_path / "lm")
    rows = writer.every_row(writer.prompt(text, images))
    assert torch.allclose(logits_of_rows(tmp_path / "lm", rows), expected, rtol=0, atol=1e-5)


def test_conversations_with_a_released_model_are_laid_out_by_its_own_template(tmp_path):
    model, processor = tiny_llava()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "whole")
    write_language_model(str(tmp_path / "whole"), tmp_path / "lm", dtype="float32")
    vlm = from_vlm(model, processor, regions="merge(k=2)")
    text = processor.apply_chat_template(MESSAGES, add_generation_prompt=True)
    expected = vlm.prepare(PHOTOS[:2], text).input_ids[0]
    ours = PromptWriter(tmp_path / "lm").prompt(MESSAGES, [torch.ones(2, 32)] * 2)
    assert torch.where(ours.is_text, ours.ids, 3).tolist() == expected.tolist()


@pytest.mark.slow
def test_models_that_read_more_than_rows_are_refused(tmp_path):
    for name, parts in (("qwen", tiny_qwen_family("qwen3_vl")), ("internvl", tiny_internvl())):
        for part in parts:
            part.save_pretrained(tmp_path / name)
        with pytest.raises(NotServed, match="serve it by image_embeds"):
            write_language_model(str(tmp_path / name), tmp_path / "lm")
    assert not (tmp_path / "lm").exists()


def test_what_cannot_be_read_is_refused(trained):
    folder, _ = trained
    writer = PromptWriter(folder / "lm")
    rows = torch.ones(3, writer.width)
    with pytest.raises(UnusablePrompt, match="holds 2 <image>, but 1 pictures were given"):
        writer.prompt(MESSAGES, [rows])
    for values, message in (
        (rows[:, :5], r"picture 0 is \[3, 5\], expected \[k, 24\]"),
        (rows.long(), "of torch.int64, expected floating point"),
        (rows[:0], "has no token"),
        (rows * torch.nan, "not finite"),
    ):
        with pytest.raises(UnusableRows, match=message):
            writer.prompt("<image>", [values])
    with pytest.raises(UnusablePrompt, match="the language model takes 2048"):
        writer.prompt("<image>", [torch.ones(2050, writer.width)])
    with pytest.raises(ValueError, match=r"has no regiontok_prompts\.json"):
        PromptWriter(folder / "whole")


def test_text_alone(trained):
    folder, _ = trained
    prompt = PromptWriter(folder / "lm").prompt("<s>Why?")
    assert prompt.is_text.all()
    assert prompt.ids.tolist()[0] == 1
