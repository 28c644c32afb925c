"""Text with placeholders as ids, piece by piece, as LLaVA tokenises it.

Training and answering both go through here, so that a prompt has the ids it was trained on.

After: LLaVA's `tokenizer_image_token`: the begin token stands in front as an id, and the text
between placeholders is tokenised piece by piece, each as if it stood alone. So with a Llama
tokenizer the first word and the text behind a picture keep their word mark ("▁olive", and not "ol",
"ive"), whether the tokenizer is `legacy` or not. For byte-level tokenizers (Llama 3, Qwen) it makes
no difference.
Differs: nothing known. Fast tokenizers swallow a space at the start of a text that they put a word
mark before; LLaVA's slow one does not, so such a piece gets its space twice here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

Offsets = list[tuple[int, int]]


class PieceTokenizer:
    """`pieces(text)` gives the ids of a text and the stretch of the text that each stands for.

    Args:
        tokenizer: a fast tokenizer that knows `image_token` as one token.
        image_token: the placeholder of one picture.

    >>> from regiontok.model.mini import mini_tokenizer
    >>> ids, offsets = PieceTokenizer(mini_tokenizer())("<s>a<image>b")
    >>> ids[0], ids[2], offsets
    (1, 3, [(0, 3), (3, 4), (4, 11), (11, 12)])
    """

    def __init__(self, tokenizer: Any, image_token: str = "<image>") -> None:
        self.tokenizer, self.image_token = tokenizer, image_token
        self.image_id = int(tokenizer.convert_tokens_to_ids(image_token))
        self._begin = str(tokenizer.bos_token or "")
        with_space, without = (self._encode([text])["input_ids"][0] for text in (" a", "a"))
        self._swallows_space = with_space == without

    def __call__(self, text: str, cuts: Iterable[int] = ()) -> tuple[list[int], Offsets]:
        """Ids and offsets of a text.

        Args:
            text: the text, with the begin token in front if it shall have one.
            cuts: further places in the text that no token may reach over.
        """
        ids: list[int] = []
        offsets: Offsets = []
        start = len(self._begin) if self._begin and text.startswith(self._begin) else 0
        if start:
            ids.append(int(self.tokenizer.bos_token_id))
            offsets.append((0, start))
        stretches = self._stretches(text, start, set(cuts))
        doubled = [self._swallows_space and alone for _, _, alone in stretches]
        pieces = [
            " " + text[first:last] if double and text[first] == " " else text[first:last]
            for (first, last, _), double in zip(stretches, doubled, strict=True)
        ]
        encoding = self._encode(pieces) if pieces else {"input_ids": [], "offset_mapping": []}
        for (first, last, _), piece, piece_ids, piece_offsets in zip(
            stretches, pieces, encoding["input_ids"], encoding["offset_mapping"], strict=True
        ):
            added = len(piece) - (last - first)  # 1 for a space that was doubled
            ids += piece_ids
            offsets += [
                (first + max(begin - added, 0), first + max(end - added, 0))
                for begin, end in piece_offsets
            ]
        return ids, offsets

    def untorn(self, text: str, places: Iterable[int]) -> tuple[list[int], Offsets]:
        """Ids and offsets of a text in which no token reaches over any of some places.

        The text is cut where one would, and nowhere else.

        Args:
            text: the text, with the begin token in front if it shall have one.
            places: the places.
        """
        ids, offsets = self(text)
        cuts = [place for place in places if any(first < place < last for first, last in offsets)]
        return self(text, cuts) if cuts else (ids, offsets)

    def _stretches(self, text: str, start: int, cuts: set[int]) -> list[tuple[int, int, bool]]:
        """(first, last, alone) of the stretches that are tokenised one by one.

        `alone` is true for a stretch that begins a piece of LLaVA's; what follows a cut goes on
        with the words in front of it.
        """
        edges = {start, len(text)}
        place = text.find(self.image_token, start)
        while place >= 0:
            edges |= {place, place + len(self.image_token)}
            place = text.find(self.image_token, place + len(self.image_token))
        inner = {cut for cut in cuts if start < cut < len(text)}
        return [
            (first, last, first in edges)
            for first, last in pairwise(sorted(edges | inner))
            if first < last
        ]

    def _encode(self, texts: list[str]) -> Any:
        return self.tokenizer(
            texts,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            padding=False,
            truncation=False,
            verbose=False,
        )
