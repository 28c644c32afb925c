"""What encoders that are transformers share: `layer` names one of their hidden states."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, Self, get_args

from regiontok.methods import Encoder

Dtype = Literal["float32", "bfloat16", "float16"]


class HiddenStateEncoder(Encoder):
    """Base of the encoders whose field `layer` names a hidden state.

    0 are the embeddings, k is the output of block k, -1 the network's own output, -2 the output of
    the block before the last, and so on.
    """

    model: str
    layer: int
    dtype: Dtype

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(
                f"dtype must be one of {', '.join(get_args(Dtype))}, got {self.dtype!r}"
            )

    @property
    @abstractmethod
    def blocks(self) -> int:
        """How many blocks the network has."""

    @property
    def layers(self) -> range:
        """The embeddings and the output of every block."""
        return range(self.blocks + 1)

    @property
    def layer_name(self) -> str:
        """The number of the hidden state."""
        return str(self.layer)

    def at_layer(self, layer: int | None) -> Self:
        """See `Encoder`."""
        encoder = self.but(layer=type(self).layer if layer is None else layer)
        encoder.check_layer()
        return encoder

    def check_layer(self) -> None:
        """Raise ValueError unless the network has the layer."""
        if not -self.blocks - 1 <= self.layer <= self.blocks:
            raise ValueError(
                f"{self.model} has {self.blocks} blocks: layer must be 0 (embeddings) to "
                f"{self.blocks}, or -1 (the model's output) down to {-self.blocks - 1}; "
                f"got {self.layer}"
            )

    @property
    def blocks_passed(self) -> int:
        """How many blocks lie between the picture and the hidden state."""
        return self.layer if self.layer >= 0 else self.blocks + 1 + self.layer
