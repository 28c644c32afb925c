"""RegionEyes: the visual side of a saved RegionVLM, without its language model.

What makes tokens for a server needs the head, and the encoder's weights where they were tuned. By
count, an MLP from 1,024 to 4,096 channels is 42 MB in bfloat16, and a 7B model 14 GB.

After: nothing.
Differs: nothing known: the tokens are those of the whole model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from regiontok.model.config import RegionVLMConfig
from regiontok.model.picture_reader import PictureReader
from regiontok.model.visual import build_head, build_tunable_encoder, embedding_width
from regiontok.system.checkpoint import weight_files
from regiontok.system.errors import UnusableModel


class RegionEyes(PictureReader):
    """Pictures in, tokens of the language model's width out; `see` and `run` are a RegionVLM's.

    Attributes:
        width: e, the width of the language model's input embeddings.
        head, vision, regionizer: see `PictureReader`.
    """

    config_class = RegionVLMConfig
    main_input_name = "pictures"
    _supports_sdpa = True
    # what of a RegionVLM's checkpoint stays in the file
    _keys_to_ignore_on_load_unexpected = [r"^language_model\."]  # noqa: RUF012 - transformers' form

    def __init__(self, config: RegionVLMConfig) -> None:
        super().__init__(config)
        with torch.device("meta"):  # it says how wide its tokens are, and takes no memory
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.width = embedding_width(language_model)
        self._embedding_name = _name_of_embedding(language_model)
        self.head = build_head(config, language_model)
        if config.tune_encoder:
            self.vision = build_tunable_encoder(config.settings.encoder).blank()
        self.delimiter: _OneRow | None = None
        self._frozen, self._frozen_on = {}, torch.device("cpu")
        self.post_init()

    @classmethod
    def of_folder(cls, folder: Path, *, dtype: str = "auto") -> RegionEyes:
        """The visual side of the model in a folder.

        Args:
            folder: a saved `RegionVLM`.
            dtype: type of the weights; "auto" is the checkpoint's.

        Raises:
            ValueError: If it is no RegionVLM, or its weights are not complete.
        """
        eyes: RegionEyes = cls.from_pretrained(folder, dtype=dtype)
        token_id = eyes.config.delimiter_token_id
        if token_id >= 0:
            row = _row_of(folder, f"language_model.{eyes._embedding_name}.weight", token_id)
            eyes.delimiter = _OneRow(row.to(eyes.head_dtype))
        return eyes

    def get_input_embeddings(self) -> nn.Module:
        """The one row of the language model's embeddings that is needed: the delimiter's.

        Raises:
            ValueError: If the model has no delimiter of the vocabulary.
        """
        if self.delimiter is None:
            raise ValueError("the language model was left out: its embeddings are not here")
        return self.delimiter


class _OneRow(nn.Module):
    """An embedding of one id, whatever the id."""

    row: Tensor

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self.register_buffer("row", row, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """`[n e]` of `[n]` ids, all of them the delimiter's."""
        return self.row.expand(len(ids), -1)


def _name_of_embedding(language_model: Any) -> str:
    """Where in a language model its input embeddings are."""
    embedding = language_model.get_input_embeddings()
    modules: dict[str, nn.Module] = dict(language_model.named_modules())
    return next(name for name, module in modules.items() if module is embedding)


def _row_of(folder: Path, key: str, index: int) -> Tensor:
    """`[e]`, one row of a table of a checkpoint; nothing else of it is read."""
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            if key in file.keys():  # noqa: SIM118 - it is no mapping
                row: Tensor = file.get_slice(key)[index : index + 1][0]
                return row
    raise UnusableModel(f"{folder}: the checkpoint lacks {key}, which holds the delimiter")
