"""The words of generated objects, and their places, as ids."""

from __future__ import annotations

from regiontok.data.naming import Namer
from regiontok.data.world import world_picture
from regiontok.model.mini import mini_tokenizer

IMAGE = "world(split='val', seed=0, size=192, number=3)"


def test_places_stand_behind_the_words_and_are_those_of_the_objects():
    tokenizer = mini_tokenizer("world")
    plain, placed = Namer(tokenizer)(IMAGE).words, Namer(tokenizer, places=True)(IMAGE).words
    assert placed[:, :-2].equal(plain)
    *objects, nothing = [[tokenizer.decode(number) for number in row] for row in placed.tolist()]
    assert nothing == [" background"] * 6
    items = world_picture(IMAGE).objects
    assert len(objects) == len(items) > 1
    for words, item in zip(objects, items, strict=True):
        y, x = item.centre
        assert words[:4] == [
            f" {word}" for word in (item.size, item.colour, item.texture, item.shape)
        ]
        assert words[4:] == [str(int(x / 24)), "abcdefgh"[int(y / 24)]]
