"""The world in motion, in the folder layout of GOT-10k: one clip and one tracked object a scene.

After: Huang et al., GOT-10k, TPAMI 2021: a folder a clip with numbered JPEG frames,
`groundtruth.txt` (x, y, width, height a line, of what is seen of the object), `absence.label`,
`cover.label` and `cut_by_image.label` (a number a line), and `meta_info.ini`; `list.txt` names the
clips.
Differs: pixels of a box are counted from 0. `tracks/NAME.json` beside the clips has all objects.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from regiontok.jobs.miniworld.writer import Shown, Writer
from regiontok.miniworld.kinds.asked import name_of
from regiontok.miniworld.motion import MovingScene
from regiontok.miniworld.scenes import SceneObject
from regiontok.miniworld.world import World

FRAMES = 40  # of a clip
FPS = 10  # GOT-10k's frames a second
COVERS = 8  # GOT-10k's cover levels: 8 is wholly seen, 0 hardly


class Got10k(Writer):
    """A clip for each picture; the tracked object is the one nearest to the camera's middle."""

    kinds = ()

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._names: list[str] = []

    def add(self, shown: Shown) -> None:
        """See `Writer.add`; the clip shows the picture's objects, squeezed and in motion."""
        name = f"GOT-10k_{self.world.split.title()}_{shown.number + 1:06}"
        folder = f"{self.world.split}/{name}"
        scene = MovingScene.of(self.world, shown.number)
        target = _nearest_to_the_middle(scene.frame(0).objects, scene.layout.size)
        tracks: list[list[SceneObject]] = []
        for number, frame in enumerate(scene.frames(FRAMES), start=1):
            self.save(frame, folder, f"{number:08}.jpg")
            tracks.append(list(frame.objects))
        boxes = [_seen(frame[target]) for frame in tracks]
        covers = [_cover(frame[target].visible_share) for frame in tracks]
        absent = [int(frame[target].visible == 0) for frame in tracks]
        self._write(folder, "groundtruth.txt", [_xywh(box) for box in boxes])
        self._write(folder, "cover.label", covers)
        self._write(folder, "absence.label", absent)
        self._write(folder, "cut_by_image.label", [0] * FRAMES)  # objects turn back at the edge
        height, width = scene.layout.size
        item = shown.picture.objects[target]
        meta = {
            "url": scene.name,
            "begin": "00:00:00",
            "end": f"00:00:{FRAMES // FPS:02}",
            "anno_fps": f"{FPS}Hz",
            "object_class": item.shape,
            "motion_class": "move",
            "major_class": name_of(item),
            "root_class": "miniworld",
            "motion_adverb": "straight",
            "resolution": f"({width}, {height})",
        }
        lines = ["[METAINFO]", *(f"{key}: {value}" for key, value in meta.items())]
        self._write(folder, "meta_info.ini", lines)
        self._write_tracks(name, tracks)
        self._names.append(name)

    def finish(self) -> None:
        """Write the names of the clips."""
        self._write(self.world.split, "list.txt", self._names)

    def _write(self, folder: str, name: str, lines: list[str] | list[int]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        (self.folder / folder / name).write_text(text, encoding="utf-8")

    def _write_tracks(self, name: str, tracks: list[list[SceneObject]]) -> None:
        """All objects of a clip: what each is, and its box and visible share in every frame."""
        objects = [
            {
                "object": name_of(item),
                "boxes": [_seen(frame[number]) for frame in tracks],
                "visible": [round(frame[number].visible_share, 4) for frame in tracks],
            }
            for number, item in enumerate(tracks[0])
        ]
        path = self.folder / "tracks" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"clip": name, "objects": objects}), encoding="utf-8")


def _nearest_to_the_middle(objects: tuple[SceneObject, ...], size: tuple[int, int]) -> int:
    middle = size[0] / 2, size[1] / 2
    return min(range(len(objects)), key=lambda number: math.dist(objects[number].centre, middle))


def _seen(item: SceneObject) -> tuple[int, int, int, int]:
    """The box of what is seen of an object; zeros where nothing is."""
    return item.box if item.visible else (0, 0, 0, 0)


def _xywh(box: tuple[int, int, int, int]) -> str:
    x0, y0, x1, y1 = box
    return ",".join(f"{number:.4f}" for number in (x0, y0, x1 - x0, y1 - y0))


def _cover(visible_share: float) -> int:
    """GOT-10k's level: eighths of the object that are seen, rounded up.

    >>> _cover(1.0), _cover(0.51), _cover(0.0)
    (8, 5, 0)
    """
    return math.ceil(COVERS * visible_share)
