"""How long it takes to score 10,000 answers: marks, constants, and 1,000 bootstrap resamples.

    python bench/scoring.py

The questions are made up in the form of each benchmark; the replies are right, wrong, decorated or
long, in turn. "read" is reading the answer file, "score" everything behind it, once, in seconds on
the clock; "cpu" is both in seconds of the processor, which other processes on the machine do not
change. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from regiontok.evaluation.answers import Answer, AnswerWriter, read_answers
from regiontok.evaluation.question import Question
from regiontok.evaluation.scoring import score_replies
from regiontok.settings import registry

REPLIES = (
    "{answer}",
    "({answer})",
    "The answer is **{answer}**.",
    "I cannot tell from this picture, but it may be one of the first two of them.",
)
OPTIONS = ("a red bus", "two dogs", "a dog", "none of these")


def questions_of(name: str, count: int) -> list[Question]:
    """Questions in the form of a benchmark."""
    questions = []
    for i in range(count):
        letter = "ABCD"[i % 4]
        answers, options, groups, metadata = (letter,), OPTIONS, {}, {}
        if name == "pope":
            answers, options = (("yes", "no")[i % 2],), ()
            groups = {"part": ("random", "popular", "adversarial")[i % 3]}
        elif name == "mme":
            answers, options = (("yes", "no")[i % 2],), ()
            groups = {"subtask": "existence", "picture": f"existence/{i // 2}"}
        elif name == "mmbench":
            groups = {"rotations": str(i), "part": f"part {i % 6}"}
        elif name == "aro":
            part = ("relation", "attribution", "coco_order", "flickr_order")[i % 4]
            groups = {"part": part, "position": letter, "kind": f"kind {i % 100}"}
        elif name == "cvbench":
            groups = {"task": "Count", "source": ("ADE20K", "COCO", "Omni3D")[i % 3]}
        elif name == "docvqa":
            answers, options = (f"the {i}th of May 1999", f"May {i}, 1999"), ()
        elif name == "textvqa":
            answers, options = tuple(f"stop {i % 7}" for _ in range(10)), ()
        elif name == "ocrbench":
            answers, options, groups = (f"word {i}",), (), {"type": "Doc-oriented VQA"}
        questions.append(
            Question(str(i), "What is it?", answers, (), options, "", groups, metadata)
        )
    return questions


def measured(name: str, count: int, reading: str) -> dict[str, float | str]:
    """Seconds of reading and scoring answers to a benchmark."""
    bench = registry.build("bench", name)
    questions = questions_of(name, count)
    with tempfile.TemporaryDirectory() as folder:
        head = {"format": "regiontok answers 1", "bench": name}
        writer = AnswerWriter(Path(folder), head)
        writer.begin(resume=False)
        writer.write(
            [Answer(q, REPLIES[i % 4].format(answer=q.answer)) for i, q in enumerate(questions)]
        )
        start, cpu = time.perf_counter(), time.process_time()
        run = read_answers(Path(folder))
        read = time.perf_counter()
        score_replies(
            bench,
            [answer.question for answer in run.answers],
            [answer.reply for answer in run.answers],
            reading=reading,
        )
        end, cpu = time.perf_counter(), time.process_time() - cpu
    return {
        "bench": name,
        "reading": reading,
        "read": read - start,
        "score": end - read,
        "cpu": cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=10_000, help="answers of a run")
    parser.add_argument(
        "--benches",
        nargs="+",
        default="pope mme mmbench aro cvbench docvqa textvqa ocrbench".split(),
    )
    options = parser.parse_args()
    rows = [
        measured(name, options.answers, reading)
        for name in options.benches
        for reading in ("official", "robust")
    ]
    print(f"{options.answers} answers, seconds")
    for row in rows:
        times = "  ".join(f"{name} {row[name]:.2f}" for name in ("read", "score", "cpu"))
        print(f"{row['bench']:10} {row['reading']:10} {times}")
    print(json.dumps({"bench": "scoring", "answers": options.answers, "rows": rows}))


if __name__ == "__main__":
    main()
