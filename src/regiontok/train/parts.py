"""The parts of a model that a stage trains: which learn, LoRA around one, how they are optimised.

After: diagnostic study, appendix E.2 (row D13); OG-LLaVA, section 5.3.1 (row O4: LoRA of rank 128,
alpha 256); LLaVA's trainer (groups of parameters by part).
Differs: LoRA is merged at the end of its stage, so that every stage's folder holds a plain model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Stage
from regiontok.system.errors import first_line
from regiontok.system.need import need

# A part's parameters by the start of their name.
PREFIXES = {"connector": "head.", "encoder": "vision.", "language_model": "language_model."}


def is_divided_by_launcher() -> bool:
    """True if `accelerate launch` divides the weights among processes: FSDP2 or ZeRO-3."""
    variables = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "").lower() == "true" for name in variables)


def set_trainable(model: RegionVLM, stage: Stage) -> RegionVLM:
    """Let the stage's parts learn, and nothing else; a stage with LoRA wraps the language model.

    Raises:
        ValueError: If the encoder is to learn, but the model holds none of its weights.
    """
    model.requires_grad_(False)
    if stage.lora:
        _add_lora(model, stage)
    for part_name in stage.train:
        parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if name.startswith(PREFIXES[part_name])
        }
        if not parameters:
            advice = ": build it with tune_encoder" if part_name == "encoder" else ""
            raise ValueError(
                f"stage {stage.name!r} trains the {part_name}, "
                f"but the model holds no weights of it{advice}"
            )
        for name, parameter in parameters.items():
            is_adapter = "lora_" in name or "trainable_tokens" in name
            if part_name != "language_model" or not stage.lora or is_adapter:
                parameter.requires_grad_(True)
                parameter.data = parameter.data.float()
    return model


def _add_lora(model: RegionVLM, stage: Stage) -> None:
    """Wrap the language model in fresh adapters around all of its matrices but the last one.

    Raises:
        ValueError: If there are no adapters for this kind of language model.
    """
    assert stage.lora is not None
    peft = need("peft", extra="train")
    modules = dict(model.language_model.named_modules())
    last = model.get_output_embeddings()
    # GPT-2's matrices are a class of their own, and lie the other way round
    matrices = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Linear | Conv1D) and module is not last
    }
    embedding = next(
        name for name, module in modules.items() if module is model.get_input_embeddings()
    )
    delimiter = model.config.delimiter_token_id
    config = peft.LoraConfig(
        r=stage.lora.rank,
        lora_alpha=stage.lora.alpha,
        lora_dropout=stage.lora.dropout,
        target_modules=sorted({name.rpartition(".")[2] for name in matrices}),
        fan_in_fan_out=all(isinstance(module, Conv1D) for module in matrices.values()),
        # a delimiter of the vocabulary learns: one row of the embedding, in full
        trainable_token_indices=(
            {embedding.rpartition(".")[2]: [delimiter]} if delimiter >= 0 else None
        ),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.seed)
        try:
            model.language_model = peft.get_peft_model(model.language_model, config)
        except ValueError as error:  # peft refuses some matrices of state-space models
            raise ValueError(
                f"stage {stage.name!r}: no LoRA for {type(model.language_model).__name__} "
                f"({first_line(error)}); train it without lora"
            ) from error


@contextmanager
def training_mode(model: RegionVLM, stage: Stage) -> Iterator[None]:
    """The stage's framing and gradient checkpointing, and no cache of keys and values.

    Training never reads that cache.
    """
    config = model.language_model.config
    use_cache = getattr(config, "use_cache", None)
    config.use_cache = False
    # some versions of transformers name these methods after activations
    enable = (
        getattr(model, "activation_checkpointing_enable", None)
        or model.gradient_checkpointing_enable
    )
    disable = (
        getattr(model, "activation_checkpointing_disable", None)
        or model.gradient_checkpointing_disable
    )
    model.framing = stage.framing
    if stage.checkpointing:
        enable({"use_reentrant": False})
    try:
        yield
    finally:
        if stage.checkpointing:
            disable()
        model.framing = None
        config.use_cache = use_cache


def merge_lora(model: RegionVLM) -> RegionVLM:
    """Add LoRA's products to the weights they adapt, and take the wrapper away."""
    if hasattr(model.language_model, "merge_and_unload"):
        model.language_model = model.language_model.merge_and_unload()
    return model


def adapts_matrices_only(model: nn.Module) -> bool:
    """True if every adapter is around one matrix; peft also adapts experts that are stacked."""
    adapters: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    return all(isinstance(adapter.base_layer, nn.Linear | Conv1D) for adapter in adapters)


def check_divided_lora(model: RegionVLM, stage: Stage) -> None:
    """Raise if what LoRA adapts cannot be merged in a model that is divided among processes.

    Raises:
        ValueError: If a delimiter learns, or stacked experts are adapted.
    """
    if model.config.delimiter_token_id >= 0:
        subject = "a delimiter of the vocabulary under LoRA cannot learn"
    elif not adapts_matrices_only(model):
        subject = "adapters of stacked experts cannot be merged"
    else:
        return
    raise ValueError(f"stage {stage.name!r}: {subject} in a divided model: take ddp.yaml")


def merge_lora_state(model: RegionVLM, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`merge_lora` for a gathered state dict, where no process holds the whole model.

    Args:
        model: the wrapped model, which knows each adapter's scale and which way its matrix lies.
        state: its gathered state dict.

    Returns:
        A state dict with LoRA's products added and the names of the plain model.
    """
    adapters: dict[str, Any] = {
        name: module for name, module in model.named_modules() if hasattr(module, "lora_A")
    }
    merged = {}
    for key, value in state.items():
        if ".lora_" in key:
            continue
        layer, is_adapted, suffix = key.partition(".base_layer.")
        if is_adapted and suffix == "weight":
            up, down = (state[f"{layer}.lora_{letter}.default.weight"].float() for letter in "BA")
            adapter = adapters[layer]
            product = adapter.scaling["default"] * (up @ down)
            product = product.T if adapter.fan_in_fan_out else product
            value = (value.float() + product).to(value.dtype)
        plain = f"{layer}.{suffix}" if is_adapted else key
        merged[plain.replace("language_model.base_model.model.", "language_model.", 1)] = value
    return merged


def parameter_groups(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: a learning rate for each part, weight decay for matrices only.

    Norms, biases and queries have no weight decay.
    """
    by_part_and_decay: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part_name = next(
                part_name for part_name, prefix in PREFIXES.items() if name.startswith(prefix)
            )
            by_part_and_decay.setdefault((part_name, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": stage.rates.get(part_name, stage.learning_rate),
            "weight_decay": stage.weight_decay if decays else 0.0,
            "part": part_name,
        }
        for (part_name, decays), parameters in by_part_and_decay.items()
    ]


def parameter_counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Part -> (parameters that learn, all its parameters), for the parts that the model holds."""
    by_part = {
        part_name: [
            parameter for name, parameter in model.named_parameters() if name.startswith(prefix)
        ]
        for part_name, prefix in PREFIXES.items()
    }
    return {
        part_name: (
            sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            sum(parameter.numel() for parameter in parameters),
        )
        for part_name, parameters in by_part.items()
        if parameters
    }
