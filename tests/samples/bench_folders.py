"""Tiny folders of benchmarks, in the form in which each is published; pictures are generated."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(number: int = 0) -> bytes:
    """A grey square with a lighter corner, another for each number."""
    pixels = np.full((24, 32, 3), 60 + 20 * (number % 8), np.uint8)
    pixels[:8, : 8 + number % 16] = 230
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(folder: Path, *names: str) -> None:
    """Write pictures into a folder."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file with a JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str) -> None:
    """Write a CSV or TSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a Parquet file as `datasets` does: a picture is {bytes, path}."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [
        {**row, "image": {"bytes": png(number), "path": f"{number}.png"}}
        for number, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(cells), path, row_group_size=2)


def _pope(folder: Path) -> None:
    pictures(folder, "val2014/COCO_val2014_000000000001.jpg")
    for part in ("random", "popular", "adversarial"):
        write_lines(
            folder / f"coco_pope_{part}.json",
            [
                {
                    "question_id": number,
                    "image": "COCO_val2014_000000000001.jpg",
                    "text": f"Is there a {noun} in the image?",
                    "label": label,
                }
                for number, (noun, label) in enumerate((("dog", "yes"), ("cat", "no")), start=1)
            ],
        )


def _mmstar(folder: Path) -> None:
    names = [
        ("coarse perception", "scene"),
        ("fine-grained perception", "colour"),
        ("instance reasoning", "relation"),
        ("logical reasoning", "code"),
        ("math", "geometry"),
        ("science & technology", "biology"),
    ]
    question = "What is it?\nOptions: A: a red cat, B: a dog, a hat, C: a pig, D: none"
    rows = [
        {"index": i, "question": question, "answer": "B", "category": part, "l2_category": fine}
        for i, (part, fine) in enumerate(names)
    ]
    write_parquet(folder / "mmstar.parquet", rows)


def _cvbench(folder: Path) -> None:
    kinds = [
        ("2D", "Count", "ADE20K"),
        ("2D", "Relation", "COCO"),
        ("3D", "Depth", "Omni3D"),
        ("3D", "Distance", "Omni3D"),
    ]
    pictures(folder, *(f"img/{i}.png" for i in range(len(kinds))))
    write_lines(
        folder / "test.jsonl",
        [
            {
                "idx": i,
                "type": kind,
                "task": task,
                "question": "How many?",
                "choices": ["one", "two", "three"],
                "answer": "(B)",
                "filename": f"img/{i}.png",
                "source": source,
            }
            for i, (kind, task, source) in enumerate(kinds)
        ],
    )


def _mme(folder: Path) -> None:
    from regiontok.benches.mme import COGNITION, PERCEPTION

    for subtask in (*PERCEPTION, *COGNITION):
        pictures(folder, f"{subtask}/images/0001.jpg")
        lines = ["0001.jpg\tIs it red?\tYes", "0001.jpg\tIs it blue?\tNo"]
        (folder / f"{subtask}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _mmbench(folder: Path) -> None:
    row = {"question": "Which?", "hint": "", "category": "colour", "l2-category": "logic reasoning"}
    options = [["red", "green", "blue", ""], ["blue", "red", "green", ""]]
    encoded = base64.b64encode(png()).decode()
    rows = [
        {"index": 3, **dict(zip("ABCD", options[0], strict=True)), "answer": "B", "image": encoded},
        {
            "index": 1_000_003,
            **dict(zip("ABCD", options[1], strict=True)),
            "answer": "C",
            "image": "3",  # the picture of question 3
        },
    ]
    write_table(folder / "mmbench_dev.tsv", [{**row, **own} for own in rows], "\t")


def _mmvp(folder: Path) -> None:
    pictures(folder, "MMVP Images/1.jpg", "MMVP Images/2.jpg")
    rows = [
        {
            "Index": number,
            "Category": "sc",
            "Question": "Is the door open, or closed?",
            "Options": "(a) Open (b) Closed",
            "Correct Answer": answer,
        }
        for number, answer in ((1, "(a)"), (2, "(b)"))
    ]
    write_table(folder / "Questions.csv", rows, ",")


def _ai2d(folder: Path) -> None:
    row = {"question": "What eats grass?", "options": ["cow", "cat"], "answer": "0"}
    write_parquet(folder / "test-00000.parquet", [row, row])


def _ocrbench(folder: Path) -> None:
    pictures(folder, "svt/1.png", "HME100k/1.png")
    rows = [
        {
            "dataset_name": "svt",
            "id": 1,
            "image_path": "svt/1.png",
            "question": "what is written in the image?",
            "answers": ["Stop", "Halt"],
            "type": "Regular Text Recognition",
        },
        {
            "dataset_name": "HME100k",
            "id": 1,
            "image_path": "HME100k/1.png",
            "question": "Write the formula.",
            "answers": "x ^ 2",
            "type": "Handwritten Mathematical Expression Recognition",
        },
    ]
    write_json(folder / "OCRBench.json", rows)


def _aro(folder: Path) -> None:
    pictures(folder, "images/1.jpg")
    pair = {
        "image_path": "1.jpg",
        "true_caption": "the horse eats the grass",
        "false_caption": "the grass eats the horse",
        "bbox_x": 2,
        "bbox_y": 3,
        "bbox_w": 10,
        "bbox_h": 12,
    }
    write_json(
        folder / "visual_genome_relation.json", [{**pair, "relation_name": "eating"} for _ in "ab"]
    )
    write_json(
        folder / "visual_genome_attribution.json",
        [{**pair, "attributes": ["white", "old"]} for _ in range(25)],
    )
    order = {"images": "1.jpg", "correct_caption": "a man rides"}
    wrong = {f"hard_text_{i}": f"rides man a {i}" for i in range(1, 5)}
    for name in ("coco_order", "flickr30k_order"):
        write_json(folder / f"{name}.json", [order | wrong] * 5)


def _conme(folder: Path) -> None:
    pictures(folder, "images/1.jpg")
    question = "Which fits?\nA. A dog on a mat.\nB. A cat on a mat."
    rows = [{"image": "1.jpg", "question": question, "answer": "B"}] * 2
    for kind in ("att", "obj", "rel"):
        write_table(folder / f"replace-{kind}.csv", rows, ",")


def _sugarcrepe(folder: Path) -> None:
    from regiontok.benches.sugarcrepe import PARTS

    pictures(folder, "images/000000000001.jpg")
    row = {
        "filename": "000000000001.jpg",
        "caption": "A dog on a mat.",
        "negative_caption": "A cat on a mat.",
    }
    for part in PARTS:
        write_json(folder / f"{part}.json", {"0": row, "1": row})


def _mmvet(folder: Path) -> None:
    pictures(folder, "images/v1_0.png", "images/v1_1.png")
    rows = {
        f"v1_{number}": {
            "imagename": f"v1_{number}.png",
            "question": "What is x?",
            "answer": "-1<AND>-5",
            "capability": wanted,
        }
        for number, wanted in enumerate(
            (["ocr", "math"], ["rec", "know", "gen", "spat", "ocr", "math"])
        )
    }
    write_json(folder / "mm-vet.json", rows)


def _docvqa(folder: Path) -> None:
    pictures(folder, "documents/a_1.png")
    row = {
        "questionId": 7,
        "question": "What is the date?",
        "image": "documents/a_1.png",
        "answers": ["May 3, 1999", "3 May 1999"],
    }
    write_json(folder / "val_v1.0_withQT.json", {"dataset_name": "DocVQA", "data": [row]})


def _infovqa(folder: Path) -> None:
    rows = [{"questionId": "9", "question": "How many?", "answers": ["12%"]}]
    write_parquet(folder / "infovqa_val.parquet", rows)


def _chartqa(folder: Path) -> None:
    pictures(folder, "png/1.png")
    for part, label in (("human", "10"), ("augmented", "Norway")):
        row = {"imgname": "1.png", "query": "Which?", "label": label}
        write_json(folder / f"test_{part}.json", [row])


def _textvqa(folder: Path) -> None:
    pictures(folder, "train_images/abc.jpg")
    row = {
        "question_id": 1,
        "image_id": "abc",
        "question": "What does it say?",
        "answers": ["stop"] * 10,
    }
    write_json(folder / "TextVQA_0.5.1_val.json", {"data": [row]})


def _livexiv(folder: Path) -> None:
    row = {"question": "Which line is highest?", "gt": "C"}
    options = {f"option_{letter}": f"line {letter}" for letter in "abcd"}
    write_parquet(folder / "vqa.parquet", [row | options])


def _realworldqa(folder: Path) -> None:
    choice = (
        "Which way?\n\nA. Left\nB. Right\n"
        "Please answer directly with only the letter of the correct option and nothing else."
    )
    short = "How many cars? Please answer directly with a single word or number."
    rows = [{"question": choice, "answer": "B"}, {"question": short, "answer": "2"}]
    write_parquet(folder / "test.parquet", rows)


def _ocrbench_v2(folder: Path) -> None:
    rows = [
        ("text recognition en", ["Stop sign"], "case sensitive"),
        ("text counting en", ["12"], "regression"),
        ("key information extraction en", ["{'total': ['3', '3 EUR']}"], ""),
        ("table parsing en", ["<table><tr><td>3</td></tr></table>"], ""),
        ("text translation cn", ["三"], ""),
        ("cognition VQA cn", ["北京"], ""),
    ]
    names = [f"{number}.png" for number in range(len(rows))]
    pictures(folder, *names)
    content = [
        {
            "id": number,
            "image_path": names[number],
            "question": "What does it say?",
            "answers": answers,
            "type": kind,
            "eval": way,
        }
        for number, (kind, answers, way) in enumerate(rows)
    ]
    write_json(folder / "OCRBench_v2.json", content)


def _miniworld(folder: Path) -> None:
    pictures(folder, "images/1.png", "images/1-twin.png")
    twins = "What colour is the ring?", ["red", "blue"]
    rows = [
        ("presence_random", "Is there a red ring in the image?", [], "no", ""),
        ("count", "How many rings are in the image?", [], "3", ""),
        ("reading", "What is written in the image?", [], "APPL", ""),
        ("near_twins", *twins, "A", "1"),
        ("near_twins", *twins, "B", "1"),
    ]
    names = ("id", "kind", "question", "options", "answer", "pair")
    write_lines(
        folder / "questions.jsonl",
        [
            {
                **dict(zip(names, (str(number), *row), strict=True)),
                "image": "images/1-twin.png" if number == 4 else "images/1.png",
                "picture": "1",
            }
            for number, row in enumerate(rows)
        ],
    )


WRITERS: dict[str, Callable[[Path], None]] = {
    "pope": _pope,
    "mmstar": _mmstar,
    "cvbench": _cvbench,
    "mme": _mme,
    "mmbench": _mmbench,
    "mmvp": _mmvp,
    "ai2d": _ai2d,
    "ocrbench": _ocrbench,
    "ocrbench_v2": _ocrbench_v2,
    "aro": _aro,
    "conme": _conme,
    "sugarcrepe": _sugarcrepe,
    "mmvet": _mmvet,
    "docvqa": _docvqa,
    "infovqa": _infovqa,
    "chartqa": _chartqa,
    "textvqa": _textvqa,
    "livexiv_vqa": _livexiv,
    "realworldqa": _realworldqa,
    "miniworld": _miniworld,
}


def write_bench(name: str, folder: Path) -> Path:
    """Write a tiny folder of a benchmark; it is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[name](folder)
    return folder
