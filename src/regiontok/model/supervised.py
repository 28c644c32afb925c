"""Logits where something is supervised, and nowhere else: what training needs of a vocabulary.

After: transformers' `logits_to_keep` and `shift_labels`.
Differs: nothing known. With a vocabulary of 49,000 words the logits of all columns were 29 % of a
step (measured), and with rows of a picture and questions most columns are visual tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regiontok.model.packed import text_ids
from regiontok.model.splice import IGNORE
from regiontok.system.errors import first_line
from regiontok.system.logs import module_logger

if TYPE_CHECKING:
    from jaxtyping import Int

_LOG = module_logger(__name__)
_LENGTH = 12  # ids of the row by which a language model is tried


def supervised_places(labels: Int[Tensor, "b s"]) -> dict[str, Tensor]:
    """What a causal language model is told, so that it computes the logits of some places alone.

    Args:
        labels: ids to predict, `IGNORE` where nothing is supervised.

    Returns:
        `logits_to_keep` `[b s]`, True where the next id is supervised, and `shift_labels`
        `[places]`, those ids.

    >>> kept = supervised_places(torch.tensor([[-100, -100, 5, 6], [-100, -100, -100, 7]]))
    >>> kept["logits_to_keep"].long().tolist(), kept["shift_labels"].tolist()
    ([[0, 1, 1, 0], [0, 0, 1, 0]], [5, 6, 7])
    """
    following = following_labels(labels)
    is_supervised = following != IGNORE
    return {"logits_to_keep": is_supervised, "shift_labels": following[is_supervised]}


def following_labels(labels: Int[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """The label that each column predicts: that of the next one, `IGNORE` at the end of a row."""
    return nn.functional.pad(labels, (0, 1), value=IGNORE)[:, 1:]


@torch.no_grad()
def keeps_supervised(model: Any) -> bool:
    """Whether a language model has the same loss when it computes supervised logits alone.

    A few ids are asked both ways: families differ in what they take, and one that takes no such
    argument, or does something else with it, is trained with the logits of all places.

    Args:
        model: a `RegionVLM` with weights; it is left in the mode it came in.
    """
    ids = text_ids(model, _LENGTH)
    labels = ids.clone()
    labels[:, : _LENGTH // 2] = IGNORE
    was_training = model.training
    model.eval()
    try:
        whole = model(input_ids=ids, labels=labels, use_cache=False)
        part = model(input_ids=ids, labels=labels, use_cache=False, supervised_only=True)
    # a family that does not take such arguments may raise anything
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
        _LOG.info("the logits of all places are computed: %s", first_line(error))
        return False
    finally:
        model.train(was_training)
    is_part = part.logits.shape[:-1].numel() == _LENGTH // 2
    tolerance = 1e-5 if whole.logits.dtype == torch.float32 else 1e-2
    return is_part and bool(torch.isclose(part.loss, whole.loss, rtol=tolerance))
