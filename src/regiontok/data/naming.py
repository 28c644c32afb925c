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
from regiontok.miniworld.kinds.space import place_of
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
        places: whether the column and the row of an object's centre are among its words, as kinds
            of questions name them (`regiontok.miniworld.kinds.space`).
    """

    tokenizer: Any
    places: bool = False

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
        if self.places:
            rows = [[*row, *place] for row, place in zip(rows, self._places(picture), strict=True)]
        return ObjectWords(_masks_of(picture), torch.tensor(rows))

    def _places(self, picture: WorldPicture) -> list[list[int]]:
        """Ids of the places of objects and signs; what is no object says so in their stead."""
        centres = [item.centre for item in picture.objects]
        centres += [_centre_of(mask) for mask in picture.masks[len(centres) :]]
        places = [place_of(centre, picture).values() for centre in centres]
        # as answers say a column or a row: without a space in front
        named = [[_first_id(self.tokenizer, name) for name in place] for place in places]
        return [*named, [_first_id(self.tokenizer, f" {NOTHING}")] * 2]

    def _ids(self, words: tuple[str, ...]) -> list[int]:
        spread = (words[index * len(words) // WORDS] for index in range(WORDS))
        return [_first_id(self.tokenizer, f" {word}") for word in spread]


@lru_cache(maxsize=4096)
def _first_id(tokenizer: Any, text: str) -> int:
    """The first id of a text."""
    return int(tokenizer(text, add_special_tokens=False).input_ids[0])


def _words_of(item: SceneObject) -> tuple[str, ...]:
    return item.size, item.colour, item.texture, item.shape


def _centre_of(mask: np.ndarray) -> tuple[float, float]:
    """The mean of a mask's pixels; of an empty one, the corner."""
    rows, columns = mask.nonzero()
    return (float(rows.mean()), float(columns.mean())) if len(rows) else (0.0, 0.0)


def _masks_of(picture: WorldPicture) -> PixelMasks:
    """The visible pixels of each object, then of each sign."""
    return PixelMasks.from_dense(np.asarray(picture.masks))
