"""What evaluation harnesses say of a model, and how it answers their batches."""

from __future__ import annotations

import pytest
import torch

from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.serve import harness_arguments
from regiontok.serve.harness_arguments import (
    HarnessArguments,
    ModelArgumentsError,
    on_own_gpu,
    parse_arguments,
)
from regiontok.serve.harness_model import Asking, HarnessModel, batches, one_message
from regiontok.serve.lmms_tasks import utils as tasks
from regiontok.settings.recipe import TokenizerSettings
from samples.pictures import noise
from samples.released import tiny_llava

SPLIT = "segments(0.07) | split(eps=0.7, min_samples=3) | sort('com')"


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (f"pretrained=a,regions={SPLIT},batch_size=2", ("a", SPLIT, "2")),
        (f'pretrained=a,regions="{SPLIT}",batch_size=2', ("a", SPLIT, "2")),
        ("pretrained='a,b',regions=merge(k=4), batch_size=2,", ("a,b", "merge(k=4)", "2")),
    ],
)
def test_commas_inside_parentheses_and_quotes_divide_nothing(text, pairs):
    assert tuple(parse_arguments(text).values()) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pretrained=a,region=x", "did you mean 'regions'"),
        ("regions=merge(0.7)", "needs pretrained="),
        ("pretrained=a,regions=merge(k=4", "'\\)' is missing"),
        ("pretrained=a,regions=k=4)", "closes nothing"),
        ("pretrained=a,pretrained=b", "says 'pretrained' twice"),
        ("pretrained=a,fast", "expected name=value"),
        ("pretrained=a,batch_size=auto", "batch_size is a whole number"),
    ],
)
def test_wrong_arguments_are_refused(text, message):
    with pytest.raises(ModelArgumentsError, match=message):
        HarnessArguments.of(parse_arguments(text))


def test_each_process_has_its_own_gpu(monkeypatch):
    arguments = HarnessArguments(pretrained="a", device="cuda")
    assert on_own_gpu(arguments).device == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(harness_arguments, "resolve_device", {"auto": "cuda"}.get)
    assert on_own_gpu(HarnessArguments(pretrained="a")).device == "cuda:1"
    monkeypatch.setattr(harness_arguments, "resolve_device", {"auto": "cpu", "cuda": "cuda"}.get)
    assert on_own_gpu(HarnessArguments(pretrained="a")).device == "cpu"
    assert on_own_gpu(arguments).device == "cuda:1"
    assert on_own_gpu(HarnessArguments(pretrained="a", device="cpu")).device == "cpu"


def test_generation_settings():
    greedy = Asking.of({"temperature": 0, "top_p": None, "until": "\n\n", "max_gen_toks": 5}, 64)
    assert greedy.options == {"max_new_tokens": 5, "do_sample": False}
    assert greedy.cut("two\n\nthree") == "two"
    sampled = Asking.of({"temperature": 0.7, "image_aspect_ratio": "pad"}, 64)
    assert sampled.options == {"max_new_tokens": 64, "temperature": 0.7, "do_sample": True}


def test_pictures_stand_at_their_places():
    (message,) = one_message("<image>\nA\n<image> B", ["p", "q"])
    assert [part.get("text", part.get("image")) for part in message["content"]] == [
        "p",
        "A",
        "q",
        "B",
    ]
    assert one_message("A", ["p"])[0]["content"][0] == {"type": "image", "image": "p"}
    with pytest.raises(ValueError, match="2 places <image> for 1 pictures"):
        one_message("<image><image>", ["p"])


def test_batches_hold_neighbours_with_the_same_settings():
    settings = [{"n": 1}, {"n": 1}, {"n": 1}, {"n": 2}, {"n": 1}]
    assert list(batches(settings, 2)) == [[0, 1], [2], [3], [4]]


@pytest.fixture(scope="module", params=["trained", "released"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness") / request.param
    torch.manual_seed(0)
    if request.param == "trained":
        processor = RegionVLMProcessor(mini_tokenizer())
        visual = TokenizerSettings(encoder="filters(size=56)", regions="merge(0.5)", whole=True)
        parts = (
            RegionVLM.from_parts(
                mini_language_model(width=24, layers=2, heads=4),
                visual,
                image_token_id=processor.image_token_id,
            ),
            processor,
        )
        regions = ""
    else:
        parts, regions = tiny_llava(), "merge(0.5)"
    for part in parts:
        part.save_pretrained(folder)
    return HarnessModel(
        HarnessArguments(pretrained=str(folder), regions=regions, device="cpu", batch_size=3)
    )


def test_a_batch_answers_as_one_by_one_and_counts_visual_tokens(model):
    asked = [
        one_message("What is it?", [noise(40, 60, seed=1).pil]),
        one_message("And these?", [noise(40, 60, seed=2).pil, noise(64, 64, seed=3).pil]),
        one_message("Nothing to see.", []),
    ]
    asking = Asking.of({"max_new_tokens": 4}, 8)
    together = model.answers(asked, asking)
    alone = [model.answers([each], asking)[0] for each in asked]
    assert together == alone
    assert together[1].input_tokens > together[0].input_tokens > 20
    assert all(0 < answer.output_tokens <= 4 for answer in together)


def test_a_bad_picture_ends_the_run(model):
    with pytest.raises(ValueError, match="missing"):
        model.answers([one_message("What?", ["missing.png"])], Asking.of({}, 4))


ORDER = {
    "images": [noise(8, 8).pil],
    "correct_caption": "a b",
    **{f"hard_text_{number}": f"wrong {number}" for number in range(1, 5)},
}


def test_captions_stand_at_any_letter_and_are_found_again():
    docs = [{"true_caption": f"a {n}", "false_caption": f"b {n}"} for n in range(40)]
    letters = [tasks.caption_target(doc) for doc in docs]
    assert 10 < letters.count("A") < 30
    for doc, letter in zip(docs, letters, strict=True):
        assert f"{letter}.{doc['true_caption']}" in tasks.caption_text(doc)
        assert tasks.caption_result(doc, [letter]) == {"accuracy": 1}
        assert tasks.caption_result(doc, [""]) == {"accuracy": 0}
    letter = tasks.caption_target(ORDER)
    assert tasks.caption_result(ORDER, [f"({letter})"]) == {"accuracy": 1}
    assert tasks.picture(ORDER)[0].size == (8, 8)


def test_conme_and_pixcv_ask_and_score():
    conme = {"question": "What?\nA. a\nB. b", "answer": "(B)"}
    assert tasks.conme_text(conme).endswith(
        "Answer with the option's letter from the given choices directly."
    )
    assert tasks.conme_result(conme, ["B. b"]) == {"accuracy": 1}
    pixcv = {"question": "How many?", "choices": ["1", "2"], "answer": "(A)", "source": "COCO"}
    assert "A. 1\nB. 2" in tasks.pixcv_text(pixcv)
    assert tasks.pixcv_result(pixcv, ["B"])["accuracy_2d"] == ("COCO", 0.0)
