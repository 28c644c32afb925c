"""Prompts as rows of a language model: ids of the text, and visual tokens where pictures stand.

The language model was written by `regiontok export --as-lm`; its weights stay on the disk here.

After: vLLM 0.32's `prompt_embeds` (`prompt_token_ids` and `prompt_is_token_ids` beside it).
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from regiontok.conversation import Message
from regiontok.core.sizes import ShownBySizes
from regiontok.model.processor import RegionVLMProcessor
from regiontok.released.messages import as_text, is_conversation
from regiontok.serve.checkpoint_folder import saved_tokenizer
from regiontok.serve.language_model import read_facts
from regiontok.serve.row_checks import check_rows
from regiontok.serve.vllm_requests import NEVER
from regiontok.system.checkpoint import weight_files
from regiontok.system.errors import RegiontokError
from regiontok.system.rendering import rendering

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

FILLER = 0  # the id where a visual token stands: some id of the vocabulary, whose row is not read


class UnusablePrompt(RegiontokError, ValueError):
    """A prompt does not fit its pictures, or is longer than the language model reads."""


@dataclass(frozen=True, eq=False, repr=False)
class PromptRows(ShownBySizes):
    """A prompt with its visual tokens.

    Attributes:
        ids: `[s]` int64: of the text; `FILLER` where a visual token stands.
        is_text: `[s]`: True for text.
        rows: `[s e]`: the visual tokens; zeros where text stands, whose rows the server looks up.
    """

    ids: Int[Tensor, "s"]
    is_text: Bool[Tensor, "s"]
    rows: Float[Tensor, "s e"]

    def request(self) -> dict[str, Any]:
        """A prompt for `vllm.LLM.generate`, of an `LLM(..., enable_prompt_embeds=True)`."""
        return {
            "prompt_token_ids": self.ids.tolist(),
            "prompt_is_token_ids": self.is_text.tolist(),
            "prompt_embeds": self.rows,
        }


class PromptWriter:
    """Writes prompts for a language model that `regiontok export --as-lm` wrote.

    Args:
        folder: where it was written.

    Attributes:
        width: e, the width of its rows.
        longest: its positions; None where it does not say.
        image_token: the text that stands for a picture in a prompt.

    Raises:
        ValueError: If the folder is no such export, or its tokenizer cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        facts = read_facts(self.folder)
        self.tokenizer = saved_tokenizer(str(folder))
        self.width: int = facts["width"]
        self.longest: int | None = facts["longest"]
        self.image_token: str = facts["image_token"]
        self._image_id, self._vocabulary = facts["image_token_id"], facts["vocabulary"]
        self._embedding: str | None = facts["embedding"]
        self._ids_of_text: Callable[[str], list[int]] = self._ids_at_once
        self._joins_parts: bool = facts["in_pieces"]
        if self._joins_parts:
            processor = RegionVLMProcessor(self.tokenizer, image_token=self.image_token)
            self._ids_of_text = processor.text_ids

    def answering(self) -> dict[str, Any]:
        """Arguments of `vllm.SamplingParams`, or of a request: the placeholder is never answered.

        A placeholder behind the vocabulary cannot be answered, and is not named.
        """
        known = 0 <= self._image_id < self._vocabulary
        return {"logit_bias": {self._image_id: NEVER}} if known else {}

    def prompt(
        self, prompt: str | Sequence[Message], images: Sequence[Float[Tensor, "k e"]] = ()
    ) -> PromptRows:
        """The rows of a prompt.

        Args:
            prompt: a text with one placeholder a picture; or messages, laid out by the chat
                template, in which parts `{"type": "image"}` stand for pictures.
            images: the tokens of each picture, in their order; any number of them.

        Raises:
            UnusablePrompt: If there are more or fewer placeholders than pictures, or too many rows.
            UnusableRows: If tokens are not of the language model's width, or not finite.
        """
        text = self._laid_out(prompt) if is_conversation(prompt) else str(prompt)
        ids = torch.tensor(self._ids_of_text(text), dtype=torch.int64)
        places = (ids == self._image_id).nonzero()[:, 0].tolist()
        if len(places) != len(images):
            raise UnusablePrompt(
                f"the prompt holds {len(places)} {self.image_token}, but {len(images)} pictures "
                "were given"
            )
        for number, values in enumerate(images):
            check_rows(values, self.width, f"picture {number}")
        dtype = images[0].dtype if images else torch.float32
        rows, all_ids, is_text, start = [], [], [], 0
        nothing = torch.zeros(0, self.width, dtype=dtype)  # behind the last picture comes none
        for place, values in zip([*places, len(ids)], [*images, nothing], strict=True):
            text_ids, visual = ids[start:place], values.detach().to("cpu", dtype)
            all_ids += [text_ids, torch.full((len(visual),), FILLER)]
            is_text += [torch.ones(len(text_ids)).bool(), torch.zeros(len(visual)).bool()]
            rows += [torch.zeros(len(text_ids), self.width, dtype=dtype), visual]
            start = place + 1
        prompt_rows = PromptRows(torch.cat(all_ids), torch.cat(is_text), torch.cat(rows))
        self.check_length(len(prompt_rows.ids), new=1)
        return prompt_rows

    def every_row(self, prompt: PromptRows) -> Float[Tensor, "s e"]:
        """A prompt's rows with the text's embeddings in their places: all that a server must get.

        Of the weights on the disk only these embeddings are read.

        Raises:
            UnusablePrompt: If the language model's embeddings are no plain rows of a table.
        """
        if self._embedding is None:
            raise UnusablePrompt(
                f"{self.folder}: the embeddings of this language model are more than rows of a "
                "table: let the server look the text up (PromptRows.request, chat)"
            )
        text_ids = prompt.ids[prompt.is_text]
        rows = prompt.rows.clone()
        rows[prompt.is_text] = self._text_rows(text_ids).to(rows.dtype)
        return rows

    def check_length(self, length: int, new: int) -> None:
        """Refuse a prompt that is longer than the language model reads, with what is to come.

        Args:
            length: rows of the prompt.
            new: tokens of the answer.

        Raises:
            UnusablePrompt: If they are too many.
        """
        if self.longest is not None and length + new > self.longest:
            raise UnusablePrompt(
                f"{length} rows of prompt and {new} of answer are {length + new}, the language "
                f"model takes {self.longest}: take fewer regions, fewer pictures or less text"
            )

    def _laid_out(self, messages: Any) -> str:
        """Messages as a text with placeholders, by the chat template."""
        bare = list(messages)
        with rendering():
            if (
                self._joins_parts
            ):  # as RegionVLMProcessor does; released models' templates know parts
                bare, _ = as_text(messages, self.image_token)
            text: str = self.tokenizer.apply_chat_template(
                bare, tokenize=False, add_generation_prompt=True
            )
        return text

    def _ids_at_once(self, text: str) -> list[int]:
        """The ids of a released model's prompt, as its own processor makes them."""
        begin = self.tokenizer.bos_token
        special = not (begin and text.startswith(begin))  # else the template wrote it already
        ids: list[int] = self.tokenizer(text, add_special_tokens=special).input_ids
        return ids

    def _text_rows(self, ids: Int[Tensor, "n"]) -> Float[Tensor, "n e"]:
        distinct, where = ids.unique(return_inverse=True)
        for path in weight_files(self.folder):
            with safe_open(path, framework="pt") as file:
                if self._embedding in file.keys():  # noqa: SIM118 - it is no mapping
                    table = file.get_slice(self._embedding)
                    rows = [table[index : index + 1] for index in distinct.tolist()]
                    return torch.cat(rows)[where] if rows else torch.zeros(0, self.width)
        raise UnusablePrompt(f"{self.folder}: the checkpoint lacks {self._embedding}")
