"""The words of a language model for a connector that says regions in words.

After: nothing; see `regiontok.connect.words`.
"""

from __future__ import annotations

from typing import Any

import torch

from regiontok.model.vlm import RegionVLM
from regiontok.settings import registry


@torch.no_grad()
def give_words(model: RegionVLM, tokenizer: Any) -> None:
    """Give a model's connector the input embeddings of its words, if it has any.

    A word stands behind a space; one that is several ids has the mean of their embeddings.

    Args:
        model: the model, whose connector is fresh.
        tokenizer: the language model's tokenizer.
    """
    connector = registry.build("connector", model.config.connector)
    if not connector.words:
        return
    embed = model.get_input_embeddings()
    rows = [tokenizer(f" {word}", add_special_tokens=False).input_ids for word in connector.words]
    embeddings = [embed(torch.tensor(row, device=model.device)).mean(0) for row in rows]
    connector.take_words(
        model.head.connector, [row[0] for row in rows], torch.stack(embeddings).float()
    )
