"""Questions about generated scenes, whose objects have exact masks."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import torch

from regiontok.core.picture import Picture
from regiontok.data.generated import Miniworld, SceneImage, picture_of
from regiontok.data.world import WorldImage, WorldRecords, asked, is_world, world_picture
from regiontok.evaluation.focus_options import Annotation
from regiontok.jobs.focus.questions import AnnotatedObject, FocusQuestion, NoAnnotation
from regiontok.miniworld.kinds.catalogue import questions_of
from regiontok.miniworld.scenes import Scene, make_scene
from regiontok.miniworld.words import COLOURS, SHAPES
from regiontok.settings.binding import from_text


def scene_questions(source: str) -> list[FocusQuestion]:
    """The questions of generated records, each a sample of its own.

    Args:
        source: a text such as "miniworld(200, size=96, questions='colour')", or
            "world(200, split='test', kinds='colour,left_right')".

    Raises:
        ValueError: If the text is no such source.
    """
    if is_world(source):
        return _world_questions(WorldRecords.of(source))
    questions = []
    for record in Miniworld.of(source):
        turns = [turn["value"] for turn in record["conversations"]]
        for number, (human, gold) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
            text = human.removeprefix("<image>\n")
            questions.append(
                FocusQuestion(
                    id=f"{record['id']}-{number}",
                    image=record["image"],
                    question=text,
                    gold=gold,
                    picture=partial(picture_of, record["image"]),
                    annotation=partial(_annotation, record["image"], text),
                )
            )
    return questions


def _world_questions(records: WorldRecords) -> list[FocusQuestion]:
    """The questions of the world's pictures that are about something that is there."""
    questions = []
    for number in range(records.start, records.start + records.n):
        image = WorldImage(records.split, records.seed, records.size, number)
        for question in questions_of(image.world, number, kinds=records.names):
            if question.things:
                questions.append(
                    FocusQuestion(
                        id=f"{image.world.name_of(number)}-{question.kind}",
                        image=str(image),
                        question=asked(question),
                        gold=question.gold,
                        picture=partial(picture_of, str(image)),
                        annotation=partial(_world_annotation, str(image), question.things),
                    )
                )
    return questions


def _world_annotation(
    image: str, things: tuple[int, ...], picture: Picture, which: Annotation
) -> AnnotatedObject:
    masks = world_picture(image).masks
    wanted = list(things) if which == "question" else slice(None)
    return AnnotatedObject(torch.from_numpy(np.asarray(masks[wanted].any(0))))


def named_objects(scene: Scene, question: str) -> list[int]:
    """The objects that have every shape and colour of a question; all, if it names none.

    >>> scene = make_scene(3, size=64, objects=(2, 2))
    >>> [(item.colour, item.shape) for item in scene.objects]
    [('cyan', 'star'), ('green', 'crescent')]
    >>> named_objects(scene, "What colour is the crescent?"), named_objects(scene, "How many?")
    ([1], [0, 1])
    """
    words = set(re.findall(r"[a-z]+", question.lower()))
    shapes, colours = words & set(SHAPES), words & set(COLOURS)
    return [
        index
        for index, item in enumerate(scene.objects)
        if shapes <= {item.shape} and colours <= {item.colour}
    ]


def _annotation(image: str, question: str, picture: Picture, which: Annotation) -> AnnotatedObject:
    image_settings = from_text(SceneImage, image, "image")
    scene = make_scene(
        image_settings.seed,
        size=image_settings.size,
        objects=(image_settings.fewest, image_settings.most),
    )
    wanted = named_objects(scene, question if which == "question" else "")
    if not wanted:
        raise NoAnnotation(f"{picture.name}: it holds no object that {question!r} is about")
    return AnnotatedObject(torch.from_numpy(np.asarray(scene.masks[wanted].any(0))))
