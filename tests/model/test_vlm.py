"""RegionVLM as a PreTrainedModel: saved and loaded, generating, packed, with adapters.

It is held against transformers' own LLaVA.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regiontok.core.tokens import Tokens
from regiontok.model.conversation import open_conversation_model
from regiontok.model.mini import mini_language_model
from regiontok.model.packed import packed_mask
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.models import mini_vlm, other_vlm, padded, tiny_sizes
from samples.pictures import colour_blocks

hub = pytest.importorskip("transformers")

IMAGE = 3
VISUAL = TokenizerSettings(
    encoder="filters(size=112)", regions="merge(0.6)", norm="rms", whole=True, seed=3
)
BODY = tiny_sizes(vocab_size=260)
FAMILIES = {
    "mini": lambda tied=True: mini_language_model(width=24, layers=2, heads=4),
    "llama": lambda tied=False: hub.LlamaForCausalLM(
        hub.LlamaConfig(**BODY, tie_word_embeddings=tied)
    ),
    "qwen2": lambda tied=True: hub.Qwen2ForCausalLM(
        hub.Qwen2Config(**BODY, tie_word_embeddings=tied)
    ),
    "qwen3": lambda tied=False: hub.Qwen3ForCausalLM(
        hub.Qwen3Config(**BODY, head_dim=8, tie_word_embeddings=tied)
    ),
}
WINDOWED = lambda: hub.MistralForCausalLM(hub.MistralConfig(**BODY, head_dim=8, sliding_window=6))  # noqa: E731


def tiny_vlm(
    family: str = "llama", visual: TokenizerSettings = VISUAL, **options: Any
) -> RegionVLM:
    torch.manual_seed(0)
    return RegionVLM.from_parts(FAMILIES[family](), visual, image_token_id=IMAGE, **options).eval()


PICTURES = [colour_blocks(seed, (40, 60)) for seed in range(4)]
# one picture, two, none
ROWS = [[1, IMAGE, 40, 41], [1, 50, IMAGE, 51, IMAGE, 52, 53], [1, 60, 61, 62, 63]]


def same_state(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Bit by bit: parameters and buffers, those that no checkpoint holds too."""
    mine, theirs = (
        {**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (first, second)
    )
    return mine.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(tmp_path, family, tied):
    if family == "mini" and not tied:
        pytest.skip("the mini language model is tied")
    torch.manual_seed(1)
    model = RegionVLM.from_parts(FAMILIES[family](tied), VISUAL, image_token_id=IMAGE).eval()
    model.save_pretrained(tmp_path)
    ids, mask = padded(ROWS, "right")
    for loaded in (
        RegionVLM.from_pretrained(tmp_path),
        hub.AutoModelForImageTextToText.from_pretrained(tmp_path),
    ):
        assert type(loaded) is RegionVLM
        assert same_state(model, loaded)
        assert (
            loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
        ) is tied
        assert torch.equal(
            loaded(ids, mask, PICTURES[:3]).logits, model(ids, mask, PICTURES[:3]).logits
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


def test_a_fresh_head_is_decided_by_its_seed_and_nothing_else():
    visual = VISUAL.model_copy(update={"pool": "attend(heads=1)"})
    heads = []
    for outside, seed in ((0, 3), (1, 3), (0, 4)):
        language_model = FAMILIES["llama"]()
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        seeded = visual.model_copy(update={"seed": seed})
        heads.append(RegionVLM.from_parts(language_model, seeded, image_token_id=IMAGE).head)
        assert torch.equal(torch.get_rng_state(), before)
    assert same_state(heads[0], heads[1])
    assert not same_state(heads[0], heads[2])
    # as the pool makes it: no transformers' initialisation over it, no memory as it was
    assert torch.equal(heads[0].pool.query_bias, torch.zeros_like(heads[0].pool.query_bias))
    bound = (6 / (2 * heads[0].pool.query.weight.shape[0])) ** 0.5
    assert 0.9 * bound < float(heads[0].pool.query.weight.detach().abs().max()) <= bound


def test_config_through_auto_classes(tmp_path):
    model = tiny_vlm()
    model.config.save_pretrained(tmp_path)
    config = hub.AutoConfig.from_pretrained(tmp_path)
    assert config.settings == VISUAL
    assert (config.connector, config.image_token_id, config.text_config.model_type) == (
        "mlp",
        IMAGE,
        "llama",
    )
    assert isinstance(hub.AutoModelForImageTextToText.from_config(config), RegionVLM)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_alone_equals_the_row_in_a_batch(family, side):
    model = tiny_vlm(family)
    ids, mask = padded(ROWS, side)
    tokens = model.see(PICTURES[:3])
    assert len(set(tokens.counts.tolist())) > 1, (
        "rows should differ in their number of visual tokens"
    )
    together = model(ids, mask, PICTURES[:3]).logits
    answers = model.generate(
        ids, mask, PICTURES[:3], max_new_tokens=6, min_new_tokens=6, do_sample=False
    )
    beams = model.generate(
        ids, mask, PICTURES[:3], max_new_tokens=5, min_new_tokens=5, num_beams=3, do_sample=False
    )
    for row, pictures in enumerate([PICTURES[:1], PICTURES[1:3], []]):
        ids_of_row = torch.tensor([ROWS[row]])
        alone = model(ids_of_row, None, pictures).logits
        assert torch.allclose(together[row, : alone.shape[1]], alone[0], rtol=0, atol=5e-6)
        greedy = model.generate(
            ids_of_row, None, pictures, max_new_tokens=6, min_new_tokens=6, do_sample=False
        )
        assert answers[row, -6:].tolist() == greedy[0, -6:].tolist()
        best = model.generate(
            ids_of_row,
            None,
            pictures,
            max_new_tokens=5,
            min_new_tokens=5,
            num_beams=3,
            do_sample=False,
        )
        assert beams[row, -5:].tolist() == best[0, -5:].tolist()


def test_greedy_decoding_is_what_the_logits_say():
    model, ids = tiny_vlm(), torch.tensor([ROWS[1]])
    answer = model.generate(
        ids, None, PICTURES[:2], max_new_tokens=4, min_new_tokens=4, do_sample=False
    )
    assert answer[:, : ids.shape[1]].equal(ids)
    for place in range(ids.shape[1], answer.shape[1]):
        scores = model(answer[:, :place], None, PICTURES[:2]).logits[0, -1]
        scores[[2, IMAGE]] = -torch.inf  # no end before its time, and never a placeholder
        assert int(scores.argmax()) == int(answer[0, place])


def test_several_answers_and_a_dict_of_them():
    model = tiny_vlm()
    ids, mask = padded(ROWS, "left")
    options: dict[str, Any] = {
        "max_new_tokens": 3,
        "do_sample": False,
        "num_beams": 3,
        "num_return_sequences": 2,
    }
    answers = model.generate(
        ids, mask, PICTURES[:3], **options, return_dict_in_generate=True, output_scores=True
    )
    assert len(answers.sequences) == 6
    assert answers.sequences[:, : ids.shape[1]].equal(ids.repeat_interleave(2, 0))
    assert answers.sequences[::2].equal(
        model.generate(ids, mask, PICTURES[:3], **(options | {"num_return_sequences": 1}))
    )


def test_the_placeholder_is_never_generated():
    model = tiny_vlm()
    with torch.no_grad():  # a head that wants nothing else
        model.get_output_embeddings().weight.zero_()
        model.get_output_embeddings().weight[5] = 1e-4
    ids = torch.tensor([ROWS[0]])
    answer = model.generate(
        ids, None, PICTURES[:1], max_new_tokens=3, do_sample=False, suppress_tokens=[0, 1, 2]
    )
    assert IMAGE not in answer[0, ids.shape[1] :].tolist()


def test_streamer_gets_every_new_token():
    class Kept:
        def __init__(self) -> None:
            self.ids: list[int] = []

        def put(self, value: Tensor) -> None:
            self.ids += value.flatten().tolist()

        def end(self) -> None:
            self.ended = True

    model, streamer, ids = tiny_vlm(), Kept(), torch.tensor([ROWS[0]])
    answer = model.generate(
        ids, None, PICTURES[:1], max_new_tokens=5, do_sample=False, streamer=streamer
    )
    assert streamer.ids == answer[0, ids.shape[1] :].tolist()
    assert streamer.ended


def test_embeddings_narrower_than_the_layers_as_in_opt_350m(tmp_path):
    model = other_vlm("opt-350m")
    assert model.language_model.config.hidden_size == 32
    batch = {"input_ids": torch.tensor([ROWS[0]]), "pictures": PICTURES[:1]}
    assert model.see(PICTURES[:1]).values.shape == (2, 16)
    logits = model(**batch).logits
    model.save_pretrained(tmp_path)
    assert torch.equal(RegionVLM.from_pretrained(tmp_path)(**batch).logits, logits)
    assert model.generate(**batch, max_new_tokens=2, min_new_tokens=2).shape == (1, 6)


def test_bfloat16(tmp_path):
    tiny_vlm().save_pretrained(tmp_path)
    # not .to(bfloat16), which also rounds the rotary frequencies: torch does so, transformers'
    # loading does not
    model = RegionVLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    ids, mask = padded(ROWS, "right")
    logits = model(ids, mask, PICTURES[:3], labels=ids.masked_fill(ids == IMAGE, -100))
    assert logits.logits.dtype == torch.bfloat16
    assert bool(logits.loss.isfinite())
    model.save_pretrained(tmp_path)
    loaded = RegionVLM.from_pretrained(tmp_path)
    assert same_state(model, loaded)
    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}
    widened = RegionVLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert {value.dtype for value in widened.parameters()} == {torch.float32}
    assert loaded.generate(ids, mask, PICTURES[:3], max_new_tokens=3).shape[1] <= ids.shape[1] + 3


def gradients(model: RegionVLM, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
    model.zero_grad()
    model(*args, **kwargs).loss.backward()
    return {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_checkpointing_gives_equal_gradients(family):
    model = tiny_vlm(family).train()
    ids, mask = padded(ROWS, "right")
    labels = ids.masked_fill((ids == IMAGE) | (mask == 0), -100)
    plain = gradients(model, ids, mask, PICTURES[:3], labels=labels)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again = gradients(model, ids, mask, PICTURES[:3], labels=labels)
    assert plain.keys() == again.keys() == {name for name, _ in model.named_parameters()}
    for name, value in plain.items():
        assert torch.allclose(value, again[name], rtol=0, atol=1e-7), name


@pytest.mark.parametrize(
    "visual",
    [VISUAL, VISUAL.model_copy(update={"pool": "attend(heads=1)"})],
    ids=["mean", "attend"],
)
def test_text_alone_gives_the_head_a_zero_gradient_and_not_none(visual):
    model = tiny_vlm(visual=visual).train()
    ids, mask = padded(ROWS[2:], "right")
    before = model.eval()(ids, mask).logits
    grads = gradients(model.train(), ids, mask, labels=ids)
    assert {name for name in grads if name.startswith("head.")} == {
        f"head.{name}" for name, _ in model.head.named_parameters()
    }
    assert all(not grads[name].any() for name in grads if name.startswith("head."))
    assert torch.equal(model(ids, mask).logits, before)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "windowed"])
@pytest.mark.parametrize("mode", ["eval", "train", "checkpointed"])
def test_a_sample_in_a_packed_row_does_not_see_its_neighbours(attention, family, mode):
    torch.manual_seed(0)
    language_model = WINDOWED() if family == "windowed" else FAMILIES[family]()
    model = RegionVLM.from_parts(language_model, VISUAL, image_token_id=IMAGE)
    model.set_attn_implementation({"text_config": attention})
    model.train(mode != "eval")
    if mode == "checkpointed":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    # two rows of unequal length: three samples in the first, one and padding in the second
    ids = torch.tensor([ROWS[0] + ROWS[1] + ROWS[2], ROWS[0] + [0] * 12])
    segments = torch.tensor([[0] * 4 + [1] * 7 + [2] * 5, [0] * 4 + [-1] * 12])
    output = model(
        ids,
        ids.ne(0).long(),
        [*PICTURES[:3], PICTURES[3]],
        segments=segments,
        labels=ids.masked_fill(ids < 4, -100),
    )
    assert output.past_key_values is None
    start = 0
    for row, pictures in zip(ROWS, (PICTURES[:1], PICTURES[1:3], []), strict=True):
        alone = model(torch.tensor([row]), None, pictures).logits
        assert torch.allclose(
            output.logits[0, start : start + alone.shape[1]], alone[0], rtol=0, atol=5e-6
        )
        start += alone.shape[1]
    assert start == output.logits.shape[1]
    alone = model(torch.tensor([ROWS[0]]), None, PICTURES[3:]).logits
    assert torch.allclose(output.logits[1, : alone.shape[1]], alone[0], rtol=0, atol=5e-6)
    output.loss.backward()
    assert all(bool(value.grad.isfinite().all()) for value in model.parameters())


def test_packed_rows_and_flash_attention_are_refused():
    model = tiny_vlm()
    model.language_model.config._attn_implementation_internal = "flash_attention_2"
    ids = torch.tensor([ROWS[2] + ROWS[2]])
    with pytest.raises(
        ValueError,
        match=r"packed rows need attn_implementation 'sdpa' or 'eager', not 'flash_attention_2'",
    ):
        model(ids, segments=torch.tensor([[0] * 5 + [1] * 5]))


def test_rows_that_are_not_packed_take_their_own_mask():
    model = tiny_vlm()
    with pytest.raises(ValueError, match="these rows are not packed: pass their mask"):
        packed_mask(model.spliced(torch.tensor([ROWS[2]])), model.language_model.config)


def test_attention_of_the_language_model_alone(tmp_path):
    tiny_vlm().save_pretrained(tmp_path)
    model = RegionVLM.from_pretrained(tmp_path, attn_implementation={"text_config": "eager"})
    assert model.language_model.config._attn_implementation == "eager"
    ids = torch.tensor([ROWS[0]])
    seen = model(ids, None, PICTURES[:1], output_attentions=True)
    assert len(seen.attentions) == 2
    assert torch.allclose(seen.logits, tiny_vlm()(ids, None, PICTURES[:1]).logits, atol=5e-6)


def test_lora_in_the_language_model_with_the_head_trained(tmp_path):
    peft = pytest.importorskip("peft")
    model, (ids, mask) = tiny_vlm(), padded(ROWS, "right")
    config = peft.LoraConfig(
        r=4,
        target_modules=r"language_model\..*\.(q_proj|v_proj)",
        modules_to_save=["head"],
        init_lora_weights=False,
    )
    adapted = peft.get_peft_model(model, config)
    adapted(input_ids=ids, attention_mask=mask, pictures=PICTURES[:3], labels=ids).loss.backward()
    learning = {name for name, value in adapted.named_parameters() if value.grad is not None}
    assert all("lora_" in name or "head.modules_to_save" in name for name in learning)
    assert any("head.modules_to_save" in name for name in learning)
    with torch.no_grad():  # a head that has learned
        for name, value in adapted.named_parameters():
            if "head.modules_to_save" in name:
                value.add_(0.05)
    adapted.eval()
    expected = adapted(input_ids=ids, attention_mask=mask, pictures=PICTURES[:3]).logits
    answer = adapted.generate(
        input_ids=ids, attention_mask=mask, pictures=PICTURES[:3], max_new_tokens=3, do_sample=False
    )
    adapted.save_pretrained(tmp_path / "adapter")
    assert not [
        path
        for path in (tmp_path / "adapter").iterdir()
        if path.suffix in (".bin", ".pt", ".pth", ".pkl")
    ]
    reloaded = peft.PeftModel.from_pretrained(tiny_vlm(), tmp_path / "adapter")
    assert torch.equal(
        reloaded(input_ids=ids, attention_mask=mask, pictures=PICTURES[:3]).logits, expected
    )
    merged = adapted.merge_and_unload()
    assert type(merged) is RegionVLM
    assert torch.allclose(merged(ids, mask, PICTURES[:3]).logits, expected, rtol=0, atol=5e-6)
    assert torch.equal(
        merged.generate(ids, mask, PICTURES[:3], max_new_tokens=3, do_sample=False), answer
    )
    merged.save_pretrained(tmp_path / "merged")
    assert same_state(merged, RegionVLM.from_pretrained(tmp_path / "merged"))


def test_what_goes_to_the_hub_holds_no_pickle(monkeypatch):
    from transformers.utils import hub as sending

    sent: list[str] = []

    class Api:
        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

        def create_commit(self, operations: list[Any], **_: Any) -> None:
            sent.extend(operation.path_in_repo for operation in operations)

    monkeypatch.setattr(sending, "hf_api", Api)
    monkeypatch.setattr(
        sending,
        "create_and_tag_model_card",
        lambda *_a, **_k: type("C", (), {"save": lambda *_: None})(),
    )
    tiny_vlm().push_to_hub("someone/model")
    assert sorted(set(sent)) == ["config.json", "generation_config.json", "model.safetensors"]
    from regiontok.model.mini import mini_tokenizer

    sent.clear()
    RegionVLMProcessor(mini_tokenizer()).push_to_hub("someone/model")
    assert {"processor_config.json", "tokenizer.json", "chat_template.jinja"} <= set(sent)
    assert all(name.endswith((".json", ".jinja")) for name in sent)


def test_a_sequence_longer_than_the_language_model_knows_is_refused():
    model = tiny_vlm()
    long = [1, IMAGE, *[40] * 508]
    count = int(model.see(PICTURES[:1]).counts[0])
    message = (
        rf"row 1 has 509 text and {count} visual tokens; the language model takes 512: "
        "shorten the text"
    )
    ids, mask = padded([ROWS[2], long], "right")
    assert count > 3
    with pytest.raises(ValueError, match=message):
        model(ids, mask, PICTURES[:1])
    with pytest.raises(
        ValueError,
        match=r"row 0 has 512 text and 0 visual tokens, and 1 to come; the language model takes "
        r"512",
    ):
        model.generate(torch.full((1, 512), 40), max_new_tokens=1)
    assert model(torch.full((1, 512), 40)).logits.shape[1] == 512
    # packed rows may be longer: positions begin anew with each sample
    segments = torch.tensor([[0] * 300 + [1] * 300])
    assert model(torch.full((1, 600), 40), segments=segments).logits.shape[1] == 600


def test_counts_of_placeholders_and_pictures_are_both_named():
    with pytest.raises(
        ValueError,
        match=r"the prompts hold 2 image placeholders \(by row: \[2\]\), but 1 images were given",
    ):
        tiny_vlm()(torch.tensor([ROWS[1]]), None, PICTURES[:1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": {"num_attention_heads": "4"}}, "cannot be loaded: .*num_attention_heads"),
        ({"text_config": {"num_attention_heads": 0}}, "cannot be loaded: .*ZeroDivisionError"),
        ({"text_config": {"hidden_act": "banana"}}, "cannot be loaded: .*KeyError: 'banana'"),
        ({"text_config": {"num_hidden_layers": 10**9}}, "num_hidden_layers = 1000000000, and no"),
        ({"text_config": {"vocab_size": 10**11}}, "vocab_size = 100000000000, but the weights"),
        ({"visual": "x"}, "cannot be loaded"),
        ({"image_token_id": "x"}, "image_token_id must be a whole number, not 'x'"),
    ],
)
def test_configs_of_wrong_types_and_sizes_are_one_error(tmp_path, changes, message):
    tiny_vlm().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name, value in changes.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as caught:
        RegionVLM.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=str(tmp_path)):
        open_conversation_model(str(tmp_path))


def test_checkpoints_of_something_else_are_refused(tmp_path):
    FAMILIES["llama"]().save_pretrained(tmp_path / "llama")
    with pytest.raises(ValueError, match=r"holds a 'llama' model, not a 'regiontok_vlm' one"):
        RegionVLM.from_pretrained(tmp_path / "llama")
    model = tiny_vlm()
    model.save_pretrained(tmp_path / "own")

    def with_settings(**changes: Any) -> Path:
        path = tmp_path / "own" / "config.json"
        config = json.loads(path.read_text())
        shutil.copytree(tmp_path / "own", other := tmp_path / "other", dirs_exist_ok=True)
        config["visual"] |= {
            key: value for key, value in changes.items() if key in config["visual"]
        }
        config |= {key: value for key, value in changes.items() if key not in config["visual"]}
        (other / "config.json").write_text(json.dumps(config))
        return other

    with pytest.raises(ValueError, match=r"checkpoint lacks 9 weights .*another recipe's"):
        RegionVLM.from_pretrained(with_settings(pool="attend(heads=1)"))
    with pytest.raises(
        ValueError, match=r"checkpoint holds besides 1 weights \(head.norm.weight\)"
    ):
        RegionVLM.from_pretrained(with_settings(norm="none"))
    with pytest.raises(
        ValueError,
        match=r"head\.connector\.0\.weight is \[32, \d+\] in the checkpoint, \[32, 7\] by its "
        r"settings",
    ):
        RegionVLM.from_pretrained(with_settings(visual_width=7))
    other = RegionVLM.from_pretrained(
        with_settings(encoder="filters(size=56)", visual_identity="0123")
    )
    with pytest.raises(
        ValueError, match=r"made with other weights of filters\(size=56\) \(0123\) than are here"
    ):
        other.see(PICTURES[:1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regions", "cut"),
    [
        ("", "stitched"),
        ("", "tile"),
        ("merge(0.6) | sort('com')", "stitched"),
        ("merge(k=2)", "tile"),
    ],
)
def test_tiles(tmp_path, regions, cut):
    visual = VISUAL.model_copy(
        update={"encoder": "filters(size=56)", "regions": regions, "tiles": "2x2", "cut": cut}
    )
    model, (ids, mask) = tiny_vlm(visual=visual), padded(ROWS, "right")
    torch.manual_seed(0)
    tokenizer = RegionTokenizer(**visual.model_dump())
    expected = tokenizer.run(PICTURES[:3])
    tokens = model.see(PICTURES[:3])
    assert tokens.counts.tolist() == expected.tokens.counts.tolist()
    for name in ("image", "view", "region", "patch", "kind"):
        assert torch.equal(getattr(tokens, name), getattr(expected.tokens, name))
    assert (tokens.count("newline") > 0) is (regions == "" and cut == "stitched")
    cached = model(ids, mask, model.regionizer.see(PICTURES[:3])).logits
    assert torch.equal(cached, model(ids, mask, PICTURES[:3]).logits)
    grads = gradients(model.train(), torch.tensor(ROWS[2:]), labels=torch.tensor(ROWS[2:]))
    assert all(f"head.{name}" in grads for name, _ in model.head.named_parameters())
    model.save_pretrained(tmp_path)
    assert same_state(model, RegionVLM.from_pretrained(tmp_path))


def test_steps_draw_anew_with_each_epoch():
    model, ids = (
        tiny_vlm(visual=VISUAL.model_copy(update={"regions": "sort('random', seed=1)"})),
        torch.tensor([ROWS[0]]),
    )
    first, again, second = (model(ids, None, PICTURES[:1], draw=draw).logits for draw in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)


def test_ready_tokens_take_the_place_of_pictures():
    model = tiny_vlm()
    ids = torch.tensor([ROWS[0]])
    tokens = model.see(PICTURES[:1])
    assert isinstance(tokens, Tokens)
    assert torch.equal(model(ids, None, tokens).logits, model(ids, None, PICTURES[:1]).logits)
    grids = model.regionizer.see(PICTURES[:1])
    assert torch.equal(model(ids, None, grids).logits, model(ids, None, PICTURES[:1]).logits)


def test_what_a_saved_generation_config_suppresses_stays_suppressed():
    model = mini_vlm(TokenizerSettings(encoder="filters(size=56)", regions="windows(2)"))
    ids, allowed = torch.tensor([[1, 7, 8]]), 9
    model.generation_config.suppress_tokens = [
        number for number in range(model.config.language_config.vocab_size) if number != allowed
    ]
    answer = model.generate(ids, torch.ones_like(ids), max_new_tokens=2, do_sample=False)
    assert answer[0, 3:].tolist() == [allowed, allowed]
