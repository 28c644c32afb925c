"""Rows cut at a length, for stages with `overflow = "cut"`.

After: LLaVA's `prepare_inputs_labels_for_multimodal`, and with it OG-LLaVA's release (rows D13,
O4): visual tokens count, and text, labels and visual tokens behind the limit are lost.
Differs: LLaVA cuts in silence, here `measure` says how many records it is; a picture that lies
wholly behind the limit is not encoded.
"""

from __future__ import annotations

from collections.abc import Sequence


def cut_row(
    ids: Sequence[int], image_tokens: Sequence[int], *, placeholder: int, limit: int
) -> tuple[int, tuple[int, ...]]:
    """Where a row of ids ends that may have `limit` tokens, visual ones counted.

    Args:
        ids: ids with one placeholder a picture.
        image_tokens: visual tokens of each picture.
        placeholder: the id that stands for a picture.
        limit: most tokens of the row.

    Returns:
        The number of ids that are left, and the number of tokens that are left of each picture
        whose placeholder is.

    >>> cut_row([1, 9, 5, 6, 9, 7], [3, 2], placeholder=9, limit=7)
    (5, (3, 1))
    >>> cut_row([1, 9, 5, 6, 9, 7], [3, 2], placeholder=9, limit=3)
    (2, (2,))
    """
    length = 0
    left: list[int] = []
    for place, number in enumerate(ids):
        if length >= limit:
            return place, tuple(left)
        if number == placeholder:
            left.append(min(image_tokens[len(left)], limit - length))
            length += left[-1]
        else:
            length += 1
    return len(ids), tuple(left)
