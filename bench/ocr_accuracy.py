"""How much of known text the readers of `regiontok curate` find, and what other scripts become.

    python bench/ocr_accuracy.py DATA
    python bench/ocr_accuracy.py DATA --readers rapidocr --photos 20

DATA is a folder laid out as docs/about/data.md says; its `ocr_images` are read, whose text is
known, and photos of `coco`. Each is read in both settings of `small_text`.

    characters  1 - edit distance / length, blanks removed, lines in the order in which they stand:
                from top to bottom, and in newspapers zone by zone, as their `.uzn` files say
    recall, precision   of words, as a multiset, whatever their order
    used        lines above the score from which `curate` uses them (0.7)
    set aside   whether the rule against unknown scripts takes the image out

Seconds are processor time of one thread. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.curate.plan import OcrPlan
from regiontok.curate.scripts import unknown_script
from regiontok.curate.text_readers import TextLines, text_reader
from regiontok.evaluation.words import edit_distance

PAGES = ("phototest", "phototest-rotated-180", "eurotext", "8071_093.3B", "8087_054.3B")
KNOWN_BY = {"phototest-rotated-180": "phototest"}
OTHER_SCRIPTS = {
    "Hebrew": "tesseract/hebrew.png",
    "Devanagari": "tesseract/devatest.png",
    "Thai": "easyocr/thai.jpg",
    "Korean": "easyocr/korean.png",
}
SAME_SCRIPTS = {
    "French": "easyocr/french.jpg",
    "English": "easyocr/example.png",
    "Chinese": "easyocr/chinese.jpg",
    "Japanese": "easyocr/japanese.jpg",
}
USED = OcrPlan().score

Row = dict[str, Any]


def main() -> None:
    """Measure, print tables and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--readers", nargs="+", default=["rapidocr"])
    parser.add_argument("--photos", type=int, default=48, help="photos of COCO that are read")
    args = parser.parse_args()
    rows: list[Row] = []
    for name in args.readers:
        for small_text in (True, False):
            read = Reading(name, small_text)
            setting = {"reader": name, "small_text": small_text}
            print(f"{name}, small_text = {str(small_text).lower()}")
            for row in measured(args.data, read, args.photos):
                rows.append(setting | row)
                print("  " + "  ".join(f"{key} {shown(value)}" for key, value in row.items()))
    print(json.dumps({"bench": "ocr_accuracy", "used": USED, "rows": rows}))


class Reading:
    """Reads images, with the processor seconds that each took.

    Args:
        name: the reader.
        small_text: its setting.
    """

    def __init__(self, name: str, small_text: bool) -> None:
        self.reader = text_reader(name, small_text)
        self.reader(Picture.of(np.full((64, 64, 3), 255, np.uint8)))  # models are loaded

    def __call__(self, path: Path) -> tuple[TextLines, float]:
        """The lines of an image, and the seconds."""
        picture = Picture.of(path)
        start = time.process_time()
        lines = self.reader(picture)
        return lines, time.process_time() - start


def measured(data: Path, read: Reading, photos: int) -> Iterator[Row]:
    """All rows of one reader in one setting."""
    images = data / "ocr_images"
    for page in PAGES:
        yield page_row(images / "tesseract", page, read)
    yield words_row(images / "words", data / "fixtures" / "ocr_words.json", read)
    for scripts in (OTHER_SCRIPTS, SAME_SCRIPTS):
        for script, name in scripts.items():
            lines, seconds = read(images / name)
            yield {"image": script, **script_row([lines]), "seconds": seconds}
    paths = sorted((data / "coco" / "images").glob("*.jpg"))[:photos]
    found = [read(path) for path in paths]
    row = script_row([lines for lines, _ in found])
    yield {"image": f"{len(paths)} photos", **row, "seconds": median(each for _, each in found)}


def page_row(folder: Path, page: str, read: Reading) -> Row:
    """A page beside its known text."""
    image = next(path for path in folder.glob(f"{page}.*") if path.suffix in (".tif", ".png"))
    text = (folder / f"{KNOWN_BY.get(page, page)}.txt").read_text(encoding="utf-8")
    lines, seconds = read(image)
    zones = folder / f"{page}.uzn"
    in_order = ordered(lines, zones_of(zones) if zones.is_file() else None)
    known, said = "".join(text.split()), "".join("".join(in_order).split())
    right = 1 - edit_distance(said, known) / max(len(known), 1)
    words, said_words = Counter(text.split()), Counter(" ".join(lines.texts).split())
    shared = (words & said_words).total()
    return {
        "image": page,
        "characters": right,
        "of": len(known),
        "recall": shared / max(words.total(), 1),
        "precision": shared / max(said_words.total(), 1),
        "set_aside": bool(unknown_script(lines)),
        "seconds": seconds,
    }


def words_row(folder: Path, known: Path, read: Reading) -> Row:
    """Pictures of one word each: right if all its letters are, whatever their case."""
    rows = json.loads(known.read_text(encoding="utf-8"))
    found = [read(folder / row["file"]) for row in rows]
    right = [
        "".join("".join(lines.texts).split()).lower() == "".join(row["text"].split()).lower()
        for row, (lines, _) in zip(rows, found, strict=True)
    ]
    seconds = median(each for _, each in found)
    return {"image": f"{len(rows)} words", "right": sum(right), "seconds": seconds}


def script_row(images: list[TextLines]) -> Row:
    """How many lines there are, how many would be used, and how many images are set aside."""
    scores = np.concatenate([lines.scores for lines in images])
    return {
        "lines": len(scores),
        "used": int((scores > USED).sum()),
        "set_aside": sum(bool(len(lines) and unknown_script(lines)) for lines in images),
    }


def zones_of(path: Path) -> np.ndarray:
    """The zones `[z 4]` of a page, xyxy, in their order."""
    rows = [line.split()[:4] for line in path.read_text().splitlines() if line.strip()]
    boxes = np.array(rows, float)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def ordered(lines: TextLines, zones: np.ndarray | None) -> list[str]:
    """The texts from top to bottom, or zone by zone; lines outside every zone are left out."""
    centres = lines.polygons.mean(1)
    if zones is None:
        zones = np.array([[-np.inf, -np.inf, np.inf, np.inf]])
    texts = []
    for x0, y0, x1, y1 in zones:
        inside = (centres >= (x0, y0)).all(1) & (centres < (x1, y1)).all(1)
        rows = np.flatnonzero(inside)
        texts += [lines.texts[row] for row in rows[centres[rows, 1].argsort(kind="stable")]]
    return texts


def shown(value: Any) -> str:
    """A value of a row in a table."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
