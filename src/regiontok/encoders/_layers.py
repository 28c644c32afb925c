"""Which hidden state a `layer` names, in every encoder alike."""

from __future__ import annotations


def check_layer(model: str, layer: int, blocks: int) -> None:
    """Raise unless a model of so many blocks has this layer.

    Raises:
        ValueError: it is none of 0 (embeddings) to `blocks`, or -1 (the model's output) down to the
            embeddings.
    """
    if not -blocks - 1 <= layer <= blocks:
        raise ValueError(
            f"{model} has {blocks} blocks: layer must be 0 (embeddings) to {blocks}, or -1 (the model's output) "
            f"down to {-blocks - 1}; got {layer}"
        )
