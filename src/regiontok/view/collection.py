"""What the page asks for, by number: the same for the server and for the page in one file."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.jobs.diagnose.photo import human_file
from regiontok.jobs.human_segmentations import read_human_segmentations
from regiontok.maskstore.store import MaskStore
from regiontok.system.printable import printable
from regiontok.view.answers import AnswerPages
from regiontok.view.curves import curve_data
from regiontok.view.library import Item, Library
from regiontok.view.mask_data import mask_data
from regiontok.view.outputs import output_labels, output_panel, read_output
from regiontok.view.panels import PanelMaker, Seen
from regiontok.view.talks import read_talk

LARGEST = (
    2560  # pixels of the longer side of a photo that is sent: sharp at a zoom of several times
)
THUMBNAIL = 256
DECODED = 8  # pictures and clips in memory


class Collection:
    """Items, and everything that a page may ask of them.

    Args:
        library: the items.
        maker: makes panels of photos and clips.
        humans: folder of human segmentations, or None.
        data: folders of benchmarks, for the pictures of answers.
        fps: frames a second that are taken of videos; None takes all.
    """

    def __init__(
        self,
        library: Library,
        maker: PanelMaker,
        *,
        humans: Path | None = None,
        data: tuple[Path, ...] = (),
        fps: float | None = None,
    ) -> None:
        self.library, self.maker, self._humans, self._fps = library, maker, humans, fps
        self.answers = AnswerPages(library.roots, data)
        self._stores: dict[int, MaskStore] = {}
        self._seen: OrderedDict[int, Seen] = OrderedDict()
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the viewer shows, and with which settings."""
        return {
            "version": version("regiontok"),
            "items": self.listing(),
        }

    def listing(self) -> list[list[str]]:
        """Kind and name of every item, by number."""
        return [[item.kind, printable(item.name)] for item in self.library.items]

    def item(self, number: int) -> dict[str, Any]:
        """What is known of one item before anything is computed.

        Raises:
            KeyError: If there is no such item.
            ValueError: If it cannot be read.
        """
        item = self.library.item(number)
        content: dict[str, Any] = {
            "number": number,
            "kind": item.kind,
            "name": printable(item.name),
        }
        if item.kind == "run":
            return content | curve_data(self._opened(item))
        if item.kind == "answers":
            return content | self.answers.overview(self._opened(item))
        if item.kind == "talk":
            return content | self._with_photos(read_talk(self._opened(item)))
        if item.kind == "store":
            store = self._store(item)
            return content | {"segmenter": store.segmenter.spec, "keys": sorted(store)}
        if item.kind == "output":
            report = read_output(self._opened(item))
            content["panels"] = output_labels(item.path, report)
            content["size"] = report.get("size")
            try:
                self.seen(number)
            except (ValueError, OSError) as error:
                content["missing"] = printable(str(error))
            return content
        seen = self.seen(number)
        content |= {"panels": self.maker.labels(seen), "size": list(seen.size)}
        if isinstance(seen, Clip):
            content |= {"frames": len(seen), "times": list(seen.times), "fps": seen.fps}
        return content

    def panel(self, number: int, panel: int, *, k: int = 64) -> dict[str, Any]:
        """What a setting makes of a view of an item; see `PanelMaker.panel`.

        Raises:
            KeyError: If there is no such item, or it has no such panel.
            ValueError: If it cannot be made; the message says why.
        """
        item = self.library.item(number)
        if item.kind == "output":
            return output_panel(self._opened(item), panel)
        seen = self._seen_by(number, panel)
        made = self.maker.panel(seen, panel, humans=self._human_maps(item), k=k)
        stored = self._stored_masks(seen) if made["masks"] is None else None
        return made | {"masks": stored} if stored else made

    def features(self, number: int, panel: int) -> np.ndarray:
        """The features of every patch; see `PanelMaker.features`."""
        return self.maker.features(self._seen_by(number, panel), panel)

    def logits(self, number: int, panel: int) -> np.ndarray:
        """The classifier's logits of every patch; see `PanelMaker.logits`."""
        return self.maker.logits(self._seen_by(number, panel), panel)

    def classes(self, setting: int) -> list[str]:
        """The names of a setting's classifier.

        Raises:
            KeyError: If there is no such setting.
        """
        if not 0 <= setting < len(self.maker.settings):
            raise KeyError(setting)
        return self.maker.classes(setting)

    def stored(self, number: int, key: str) -> dict[str, Any]:
        """The masks that a store holds under a picture's key.

        Raises:
            KeyError: If it is no store, or has no such key.
            ValueError: If the store is damaged there.
        """
        item = self.library.item(number)
        masks = self._store(item).get(key) if item.kind == "store" else None
        if masks is None:
            raise KeyError(key)
        return mask_data(masks)

    def image(self, number: int, frame: int = 0, *, longest: int = LARGEST) -> bytes:
        """A photo, or a frame of a clip, as JPEG.

        Raises:
            KeyError: If there is no such item or frame.
            ValueError: If it cannot be decoded.
        """
        seen = self.seen(number)
        frames = seen.frames if isinstance(seen, Clip) else (seen,)
        if not 0 <= frame < len(frames):
            raise KeyError(frame)
        return as_jpeg(frames[frame], longest)

    def answer_picture(self, number: int, answer: int, place: int = 0) -> Picture:
        """A picture of a question that was answered; see `AnswerPages.picture`."""
        return self.answers.picture(self._answers(number), answer, place)

    def answer_attention(self, number: int, answer: int) -> dict[str, Any]:
        """What the words of an answer looked at; see `AnswerPages.attention`."""
        return self.answers.attention(self._answers(number), answer)

    def _answers(self, number: int) -> Path:
        item = self.library.item(number)
        if item.kind != "answers":
            raise KeyError(number)
        return self._opened(item)

    def thumbnail(self, number: int) -> bytes:
        """A small JPEG of a photo or of the first frame of a clip."""
        item = self.library.item(number)
        if item.kind == "photo":  # not kept: thousands pass by
            return as_jpeg(Picture.of(self._opened(item)), THUMBNAIL)
        return self.image(number, longest=THUMBNAIL)

    def seen(self, number: int) -> Seen:
        """The decoded photo or clip of an item.

        Raises:
            KeyError: If there is no such item, or it is neither.
            OutsideRoots: If it lies outside of what was named.
            ValueError: If it cannot be decoded.
        """
        item = self.library.item(number)
        with self._lock:
            if number not in self._seen:
                self._seen[number] = self._decoded(item)
                while len(self._seen) > DECODED:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(number)
            return self._seen[number]

    def _decoded(self, item: Item) -> Seen:
        path = self._opened(item)
        if item.kind == "clip":
            return Clip.of(path, fps=self._fps)
        if item.kind == "output":
            report = read_output(path)
            picture = Picture.of(self.library.roots.check(Path(str(report.get("image", "")))))
            if picture.key != report["key"]:
                raise ValueError(f"{picture.name}: the photo was changed since it was tokenized")
            return picture
        if item.kind != "photo":
            raise KeyError(item.number)
        return Picture.of(path)

    def _opened(self, item: Item) -> Path:
        return self.library.roots.check(item.path)

    def _with_photos(self, talk: dict[str, Any]) -> dict[str, Any]:
        """A conversation with the number of each picture among the photos, None if it is not."""
        for turn in talk["turns"]:
            looked = turn["looked"] or {"pictures": []}
            names = [picture["image"] for picture in turn["attention"]]
            turn["photos"] = [
                self._photo_of(picture["picture"], name)
                for picture, name in zip(looked["pictures"], names, strict=False)
            ]
        return talk

    def _photo_of(self, key: str, name: str) -> int | None:
        for item in self.library.of_kind("photo"):
            if item.path.name != Path(name).name:  # every photo would have to be decoded
                continue
            try:
                if self.seen(item.number).key == key:
                    return item.number
            except (ValueError, OSError):
                continue
        return None

    def _seen_by(self, number: int, panel: int) -> Seen:
        """The photo or clip that has a panel.

        Raises:
            KeyError: If it is neither, or has no such panel.
        """
        if self.library.item(number).kind not in ("photo", "clip"):
            raise KeyError(number)
        seen = self.seen(number)
        if not 0 <= panel < len(self.maker.places(seen)):
            raise KeyError(panel)
        return seen

    def _human_maps(self, item: Item) -> list[np.ndarray]:
        if self._humans is None or item.kind != "photo" or not human_file(self._humans, item.path):
            return []
        return read_human_segmentations(self._humans, item.path)

    def _store(self, item: Item) -> MaskStore:
        with self._lock:
            if item.number not in self._stores:
                self._stores[item.number] = MaskStore(self._opened(item), skip_corrupt=True)
            return self._stores[item.number]

    def _stored_masks(self, seen: Seen) -> dict[str, Any] | None:
        """The masks of a photo in the first store that has any of it."""
        for item in self.library.of_kind("store"):
            masks = self._store(item).get(seen.key)
            if masks is not None and masks.size == seen.size:
                return mask_data(masks)
        return None


def as_jpeg(picture: Picture, longest: int) -> bytes:
    """A picture as JPEG, no longer than `longest` pixels."""
    image = picture.pil.copy()  # the picture keeps its own
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92 if longest > THUMBNAIL else 80)
    return buffer.getvalue()
