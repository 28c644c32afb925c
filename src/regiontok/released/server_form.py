"""How vLLM takes ready-made visual tokens of a family of models.

After: vLLM 0.32 (vllm/multimodal/parse.py, vllm/model_executor/models/).
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerForm:
    """What a server must be given beside the tokens of an image, and what it does with them.

    Attributes:
        grid: True where tokens come with a grid that counts them (Qwen-VL); k tokens then have the
            grid of 1 x 2 x 2k patches, of which 2 x 2 are a token, and are positions in a row.
        video: True where a video must be forbidden as well, so that no tower is loaded.
        as_lm: True if the language model alone gives the same answers from the same rows: its
            positions count tokens, and an image's tokens are nothing but rows.
    """

    grid: bool = False
    video: bool = False
    as_lm: bool = False

    @property
    def mixed_counts(self) -> bool:
        """True if images with different numbers of tokens may meet in one step of the server.

        Without a grid vLLM joins them in one tensor `[n, k, e]`, and its engine dies if it cannot.
        """
        return self.grid
