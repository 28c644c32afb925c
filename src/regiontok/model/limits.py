"""Visual tokens cut at a length, in rows that are cut.

After: LLaVA's `prepare_inputs_labels_for_multimodal`, which cuts rows behind the visual tokens that
still fit.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regiontok.core.tokens import Tokens


def limit_tokens(tokens: Tokens, limits: Sequence[int | None]) -> Tokens:
    """The first tokens of each image.

    Args:
        tokens: tokens, image by image.
        limits: most tokens of each image; None for all of them.

    Raises:
        ValueError: If there is not one limit for each image.

    >>> zeros = torch.zeros(4, dtype=torch.int64)
    >>> image = torch.tensor([0, 0, 1, 1])
    >>> tokens = Tokens(torch.arange(4.0)[:, None], image, zeros, zeros, zeros, zeros, images=2)
    >>> limit_tokens(tokens, [1, None]).values.flatten().tolist()
    [0.0, 2.0, 3.0]
    """
    if len(limits) != tokens.images:
        raise ValueError(f"expected limits for each of {tokens.images} images, got {len(limits)}")
    counts = tokens.counts
    rank = (
        torch.arange(len(tokens), device=tokens.device) - (counts.cumsum(0) - counts)[tokens.image]
    )
    # None allows as many as there are
    most = torch.tensor(
        [len(tokens) if limit is None else limit for limit in limits], device=tokens.device
    )
    return tokens.take(rank < most[tokens.image])
