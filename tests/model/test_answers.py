"""A trained model answers prompts and conversations, by the processor saved beside it."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from regiontok.core.picture import Picture
from regiontok.model.cached_rows import CachedRows
from regiontok.model.conversation import TrainedConversationModel
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings, changed
from samples.models import ready_to_answer, tiny_sizes
from samples.pictures import noise
from samples.tokenizers import llama_like

hub = pytest.importorskip("transformers")

VISUAL = TokenizerSettings(encoder="filters(size=56)", regions="merge(k=3)", norm="rms")
NEW = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}


def asked(*pictures, text="What?") -> list[dict]:
    parts = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def model_of(template="", answering=None) -> RegionVLM:
    language_model = ready_to_answer(mini_language_model(width=24, layers=2, heads=4))
    model = RegionVLM.from_parts(language_model, VISUAL, image_token_id=3, answering=answering)
    model.processor = RegionVLMProcessor(mini_tokenizer(), chat_template=template or None)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> RegionVLM:
    return model_of(answering=changed(VISUAL, ["regions="]))


def test_conversations_are_answered_as_each_by_itself(model):
    first, second = noise(40, 60), noise(40, 60, seed=1)
    conversations = [asked(first), asked(text="And this one?"), asked(second, first)]
    together = model.answer(conversations, **NEW)
    assert together == [model.answer(one, **NEW)[0] for one in conversations]
    assert together == model.answer(messages=conversations, **NEW)
    assert len(set(together)) > 1


def test_prompts_are_taken_as_they_are_and_messages_by_the_template(model):
    picture = noise(40, 60)
    text = model.processor.apply_chat_template(asked(picture), add_generation_prompt=True)
    assert model.answer(picture, text, **NEW) == model.answer(asked(picture), **NEW)
    both = model.answer([[picture], []], [text, "a longer text alone"], **NEW)
    assert both[0] == model.answer(picture, [text], **NEW)[0]
    with pytest.raises(ValueError, match="the prompts hold 0 image placeholders"):
        model.answer(picture, "What?")
    with pytest.raises(ValueError, match="give prompts"):
        model.answer(picture)


def test_answers_are_those_of_generate_and_of_a_chat(model):
    picture = noise(40, 60)
    batch = model.processor.conversation_batch(asked(picture))
    ids = model.generate(**batch, **NEW)[:, batch["input_ids"].shape[1] :]
    expected = model.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert model.answer(asked(picture), **NEW) == expected
    chat = TrainedConversationModel(model, model.processor)
    ids = chat.prepare(asked(picture), [picture]).generate(**NEW)[:, batch["input_ids"].shape[1] :]
    assert model.processor.tokenizer.batch_decode(ids, skip_special_tokens=True) == expected
    details = model.answer(asked(picture), **NEW, return_dict_in_generate=True)
    assert details == expected


def test_the_settings_to_answer_with_are_taken_unless_others_are_asked_for(model):
    picture = noise(40, 60)
    counts = []
    see = model.see

    def counting(*args, **options):
        tokens = see(*args, **options)
        counts.append(len(tokens))
        return tokens

    model.see = counting
    try:
        model.answer(asked(picture), **NEW)
        model.answer(asked(picture), settings="trained", **NEW)
        model.answer(asked(picture), regions="merge(k=2)", **NEW)
    finally:
        del model.see
    assert counts == [16, 3, 2]


def test_the_processor_is_read_from_the_models_folder(tmp_path):
    model = model_of("vicuna_v1")
    picture = Image.fromarray(noise(40, 60).pixels)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no processor or tokenizer that can be read"):
        RegionVLM.from_pretrained(tmp_path).answer(asked(picture))
    model.processor.save_pretrained(tmp_path)
    loaded = RegionVLM.from_pretrained(tmp_path).eval()
    assert "USER: <image>\nWhat?" in loaded.processor.apply_chat_template(asked(picture))
    loaded.generation_config.eos_token_id = None
    assert loaded.answer(asked(picture), **NEW) == model.answer(asked(picture), **NEW)


def test_without_a_processor_or_with_another_models_it_says_so():
    model = RegionVLM.from_parts(mini_language_model(width=24, layers=1), VISUAL, image_token_id=3)
    with pytest.raises(ValueError, match=r"set model\.processor = RegionVLMProcessor"):
        model.answer(asked(noise(8, 8)))
    tokenizer = mini_tokenizer()
    with pytest.raises(ValueError, match="it is another model's processor"):
        model.processor = RegionVLMProcessor(tokenizer, image_token="<picture>")


def test_templates_by_name(model):
    picture = noise(40, 60)
    processor = model.processor
    named = processor.apply_chat_template(asked(picture), chat_template="vicuna_v1")
    assert named.endswith("USER: <image>\nWhat? ")
    by_name = RegionVLMProcessor(mini_tokenizer(), chat_template="vicuna_v1")
    assert by_name.apply_chat_template(asked(picture)) == named
    text = by_name.apply_chat_template(asked(picture), add_generation_prompt=True)
    answer = model.answer(asked(picture), template="vicuna_v1", **NEW)
    assert answer == model.answer(picture, text, **NEW)
    plain = model.answer(asked(picture), template="plain", **NEW)
    assert plain == model.answer(picture, "<image>", **NEW)


def test_a_template_that_refuses_a_conversation_is_one_clear_error():
    processor = RegionVLMProcessor(mini_tokenizer(), chat_template="plain")
    with pytest.raises(ValueError, match=r"refuses this conversation: the template plain takes"):
        processor.prompt_ids(asked(text="no picture"))
    without = llama_like()
    without.chat_template = None
    with pytest.raises(ValueError, match="no chat template: name one"):
        RegionVLMProcessor(without).prompt_ids(asked(text="What?"))


@pytest.mark.parametrize("pool", ["mean", "attend(heads=1)", "select"])
def test_bfloat16_goes_in_and_comes_out(pool):
    visual = changed(VISUAL, [f"pool={pool}", "whole=true", "place_tokens=delimiter"])
    torch.manual_seed(0)
    language_model = hub.LlamaForCausalLM(hub.LlamaConfig(**tiny_sizes(vocab_size=260)))
    model = RegionVLM.from_parts(language_model, visual, image_token_id=3).eval()
    model.to(torch.bfloat16)
    grids = model.regionizer.see([noise(40, 60)])
    half = [grid.but(features=grid.features.bfloat16()) for grid in grids]
    ids = torch.tensor([[1, 3, 40]])
    for pictures in ([noise(40, 60)], grids, half):
        assert model.see(pictures).values.dtype == torch.bfloat16
        assert model(ids, None, pictures).logits.dtype == torch.bfloat16
    float_model = RegionVLM.from_parts(language_model.float(), visual, image_token_id=3)
    assert float_model.see(half).values.dtype == torch.float32, "the head's own type"


def test_everything_shows_itself_in_a_line(model):
    picture = noise(40, 60)
    prepared = TrainedConversationModel(model, model.processor).prepare(asked(picture), [picture])
    spliced = model.spliced(torch.tensor([[1, 3, 40]]), None, [picture])
    rows = CachedRows(torch.ones(2, 300, dtype=torch.bool), None)
    assert repr(model).startswith("RegionVLM(filters(size=56), regions='merge(k=3)', pool=mean, ")
    assert repr(model.processor).startswith("RegionVLMProcessor(")
    assert repr(rows) == "CachedRows(columns=[2 x 300] bool, ids=None)"
    for shown in (model, model.processor, prepared, prepared.pictures[0], spliced, rows):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 500
    chat = TrainedConversationModel(model, model.processor)
    assert "\n" not in repr(chat)


def test_the_latest_pictures_are_encoded_once(model, monkeypatch):
    monkeypatch.setattr("regiontok.model.conversation._RECENT", 2)
    pictures = [Picture.of(noise(40, 60 + seed)) for seed in range(3)]
    chat, encoded, run = TrainedConversationModel(model, model.processor), [], model.run

    def counting(images, **options):
        encoded.append(len(images))
        return run(images, **options)

    monkeypatch.setattr(model, "run", counting)
    options = {"do_sample": False, "num_beams": 1, "max_new_tokens": 4}

    def replies(*numbers):
        rows = [[pictures[number]] for number in numbers]
        conversations = [asked(row[0]) for row in rows]
        return [answer.text for answer in chat.answers(conversations, rows, **options)]

    first = replies(0, 1, 0)
    assert replies(1, 0) == [first[1], first[0]]
    assert encoded == [2]
    replies(2)
    replies(1)
    assert encoded == [2, 1, 1]
    chat.forget()
    replies(1)
    assert encoded == [2, 1, 1, 1]
