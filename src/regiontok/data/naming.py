"""The objects of generated pictures and the words for them, as ids of a tokenizer.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from regiontok.core.masks import PixelMasks
from regiontok.data.world import is_world, world_picture
from regiontok.miniworld.scenes import SceneObject
from regiontok.miniworld.world import WorldPicture
from regiontok.model.naming import ObjectWords

NOTHING = "background"
WORDS = 4  # of each object; what has fewer repeats them


@dataclass(frozen=True, eq=False)
class Namer:
    """Gives the objects of a generated picture and ids of their words.

    Of a word that is several ids the first is taken.

    Attributes:
        tokenizer: the language model's tokenizer.
    """

    tokenizer: Any

    def __call__(self, image: str) -> ObjectWords | None:
        """The objects of a picture of the world; None for other pictures, whose are not known.

        Args:
            image: the picture as a record names it.
        """
        if not is_world(image):
            return None
        picture = world_picture(image)
        names = [_words_of(item) for item in picture.objects]
        # codes are drawn letter by letter, and have no word
        names += [
            ("sign", plate.text) if plate.kind == "word" else ("sign",) for plate in picture.texts
        ]
        rows = [self._ids(words) for words in (*names, (NOTHING,))]
        return ObjectWords(_masks_of(picture), torch.tensor(rows))

    def _ids(self, words: tuple[str, ...]) -> list[int]:
        spread = (words[index * len(words) // WORDS] for index in range(WORDS))
        return [_first_id(self.tokenizer, word) for word in spread]


@lru_cache(maxsize=4096)
def _first_id(tokenizer: Any, word: str) -> int:
    """The first id of a word behind a space."""
    return int(tokenizer(f" {word}", add_special_tokens=False).input_ids[0])


def _words_of(item: SceneObject) -> tuple[str, ...]:
    return item.size, item.colour, item.texture, item.shape


def _masks_of(picture: WorldPicture) -> PixelMasks:
    """The visible pixels of each object, then of each sign."""
    return PixelMasks.from_dense(np.asarray(picture.masks))
