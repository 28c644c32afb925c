"""A few ids through a stage's model before it is trained: what cannot be trained is refused now.

Families of language models differ in what they take (embeddings, masks, adapters, gradients), and
hours of measuring and encoding lie before the first step, the first answer behind the last one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regiontok.model.packed import check_blocks, check_packing, text_ids
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Stage
from regiontok.system.errors import first_line, is_out_of_memory

LENGTH = 6  # ids of the text that is tried
# What a model of transformers may raise at arguments that its family does not take.
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def try_stage(model: RegionVLM, stage: Stage, *, answers: bool) -> None:
    """Raise if a stage cannot train this language model; no weight and no random state changes.

    Args:
        model: the model, whose trainable parts are set; it is left in the mode it came in.
        stage: the stage.
        answers: whether the model will be asked for answers, too.

    Raises:
        ValueError: If the model sees later tokens, takes no packed rows although the stage
            has some, or cannot be run, differentiated or asked.
    """
    kind = f"a language model of type {model.config.language_config.model_type!r}"
    was_training = model.training
    model.eval()
    try:
        _check_causal(model, kind)
        if not stage.lora and "language_model" in stage.train:
            _try(model, f"{kind} cannot be trained", _loss)  # its gradients are as large as it is
        else:
            _try(model, f"{kind} cannot be trained", _gradient)
        if stage.pack or stage.turns == "independent":
            check_packing(model)
        if stage.turns == "independent":
            check_blocks(model, stage.max_length)
        if answers:
            _try(model, f"{kind} cannot be asked for answers (--answers 0 does not ask)", _answer)
    except ValueError as error:
        raise ValueError(f"stage {stage.name!r}: {error}") from error
    finally:
        model.train(was_training)


def _try(model: RegionVLM, complaint: str, use: Any) -> None:
    try:
        use(model)
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{complaint}: {first_line(error)}") from error


def _check_causal(model: RegionVLM, kind: str) -> None:
    """Raise if the last token decides what is said of the tokens before it."""
    ids = text_ids(model, LENGTH).repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[1, -1] = 0  # as rows of different lengths have it
    other = ids.clone()
    other[0, -1] = ids[0, 0]

    @torch.no_grad()
    def earlier_logits(rows: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=rows, attention_mask=mask, use_cache=False).logits
        return logits[0, :-1]

    try:
        first, second = earlier_logits(ids), earlier_logits(other)
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{kind} cannot be run on embeddings: {first_line(error)}") from error
    tolerance = 1e-4 if first.dtype == torch.float32 else 2e-2
    if float((first - second).abs().max()) > tolerance * float(first.abs().max()):
        raise ValueError(f"{kind} sees later tokens: take a causal language model")


@torch.no_grad()
def _loss(model: RegionVLM) -> None:
    ids = text_ids(model, LENGTH)
    model(input_ids=ids, labels=ids, use_cache=False)


def _gradient(model: RegionVLM) -> None:
    ids = text_ids(model, LENGTH)
    embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
    # no leaf, as in training: some families write into their embeddings
    loss = model(inputs_embeds=embeds + 0, labels=ids, use_cache=False).loss
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.autograd.grad(loss, [embeds, *parameters], allow_unused=True)


@torch.no_grad()
def _answer(model: RegionVLM) -> None:
    model.generate(text_ids(model, LENGTH), max_new_tokens=1, do_sample=False)
