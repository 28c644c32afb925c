"""All kinds of questions about one picture, and what is asked about a picture of a world."""

from __future__ import annotations

from collections.abc import Sequence

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds import attributes, captions, counting, presence, reading, space
from regiontok.miniworld.kinds.asked import Kind, WorldQuestion
from regiontok.miniworld.lettering import NOUNS
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.miniworld.world import World, WorldPicture
from regiontok.system.choices import check_choice

_NUMBERS_DRAWN = 24  # for one question; that about the order of words needs 14
_NO_BENCH = "none, for training"  # asked where the kind is named
# A kind's place in this list decides which numbers it draws by: new ones come last.
_LIST = (
    Kind("presence_random", presence.ask_random, 50.0, "POPE"),
    Kind("presence_popular", presence.ask_popular, 50.0, "POPE"),
    Kind("presence_adversarial", presence.ask_adversarial, 50.0, "POPE"),
    Kind("count", counting.ask_group, 100 / len(counting.NUMBERS), "CV-Bench"),
    Kind("count_all", counting.ask_all, 100 / 7, "CV-Bench"),
    Kind("left_right", space.ask_left_right, 50.0, "CV-Bench"),
    Kind("above_below", space.ask_above_below, 50.0, "CV-Bench"),
    Kind("nearer", space.ask_nearer, 50.0, "CV-Bench"),
    Kind("larger", space.ask_larger, 50.0, "CV-Bench"),
    Kind("closer_to", space.ask_closer, 50.0, "CV-Bench"),
    Kind("colour", attributes.ask_colour, 100 / len(COLOURS), "CLEVR"),
    Kind("shape", attributes.ask_shape, 100 / len(SHAPES), "CLEVR"),
    Kind("size", attributes.ask_size, 100 / len(SIZES), "CLEVR"),
    Kind("material", attributes.ask_material, 100 / len(TEXTURES), "CLEVR"),
    Kind("attribute_swap", captions.ask_attribute_swap, 50.0, "ARO, ConMe"),
    Kind("object_swap", captions.ask_object_swap, 50.0, "ConMe"),
    Kind("relation_swap", captions.ask_relation_swap, 50.0, "ARO, ConMe"),
    Kind("word_order", captions.ask_word_order, 100 / (1 + captions.WRONG_ORDERS), "ARO"),
    Kind("reading", reading.ask_word, 100 / len(NOUNS), "OCRBench"),
    Kind("reading_code", reading.ask_code, 0.01, "OCRBench"),
    Kind("column", space.ask_column, 100 / len(space.COLUMNS), _NO_BENCH),
    Kind("row", space.ask_row, 100 / len(space.ROWS), _NO_BENCH),
    Kind("left_or_right", space.ask_left_or_right, 50.0, "GQA"),
    Kind("above_or_below", space.ask_above_or_below, 50.0, "GQA"),
    Kind("colour_choice", attributes.ask_colour_choice, 50.0, _NO_BENCH),
    Kind("shape_choice", attributes.ask_shape_choice, 50.0, _NO_BENCH),
    Kind("named_choice", attributes.ask_named_choice, 50.0, _NO_BENCH),
)
EVERY_KIND = {kind.name: kind for kind in _LIST}
SAID = ("named_choice",)  # kinds whose answer stands in the question: no picture is needed
KINDS = {kind.name: kind for kind in _LIST if kind.bench != _NO_BENCH}


def questions_of(
    world: World,
    index: int,
    picture: WorldPicture | None = None,
    kinds: Sequence[str] = (),
    *,
    rounds: int = 1,
) -> list[WorldQuestion]:
    """The questions about a picture: one of each kind that it allows.

    Args:
        world: the world.
        index: number of the picture.
        picture: that picture, where it is there already.
        kinds: names of `EVERY_KIND`; by default `KINDS`, those of benchmarks.
        rounds: how often questions are drawn; the second time and later, only those that are new.

    Raises:
        IndexError: If the split has no such picture.
        ValueError: If there is no such kind; the nearest is named.

    >>> world = World("test", size=128)
    >>> (question,) = questions_of(world, 3, kinds=["count_all"])
    >>> question.text, question.answer == str(len(world[3].objects))
    ('How many objects are in the image?', True)
    """
    for name in kinds:
        check_choice("kind of question", name, tuple(EVERY_KIND))
    picture = picture or world[index]
    shape = (rounds, len(_LIST), _NUMBERS_DRAWN)
    questions: dict[tuple[str, ...], WorldQuestion] = {}
    for numbers in world.random(index, "questions").random(shape):
        for kind, row in zip(_LIST, numbers, strict=True):
            question = kind.ask(picture, Draws(row)) if kind.name in (kinds or KINDS) else None
            if question is not None:
                # options in another order are no new question
                same = (question.kind, question.text, *sorted(question.options))
                questions.setdefault(same, question)
    return list(questions.values())
