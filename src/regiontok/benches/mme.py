"""MME: two yes-no questions a picture; perception (10 subtasks) and cognition (4).

After: Fu et al., MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models,
2023; eval_tool/calculation.py is the official reading.
Differs: nothing known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import ask_short, short_answer
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import yes_or_no
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.tables import BenchDataError

PERCEPTION = "existence count position color posters celebrity scene landmark artwork OCR".split()
COGNITION = "commonsense_reasoning numerical_calculation text_translation code_reasoning".split()


@dataclass(frozen=True)
class Mme(Bench):
    """2,374 questions; a subtask has 100 for single answers and 100 for pictures wholly right."""

    files: ClassVar[tuple[str, ...]] = (
        *(f"{subtask}.txt" for subtask in (*PERCEPTION, *COGNITION)),
        *(f"{subtask}/*.txt" for subtask in (*PERCEPTION, *COGNITION)),
        *(f"{subtask}/questions_answers_YN/*.txt" for subtask in (*PERCEPTION, *COGNITION)),
        "*.parquet",
    )
    headline: ClassVar[str] = "mme_perception"
    highest: ClassVar[float] = 2000.0
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "study": lambda question: ask_short(question.text),
        "bare": lambda question: question.text.strip(),
        "yes-no": lambda question: short_answer(question.text, ending=""),
    }
    longest: ClassVar[int] = 16
    constants: ClassVar[tuple[str, ...]] = ("Yes", "No")
    unit: ClassVar[str] = "picture"

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        templates: set[str] = set()
        numbers: Counter[str] = Counter()
        for path in folder.files(self.files):
            subtask = path.relative_to(folder.path).parts[0]
            if path.suffix == ".parquet":
                yield from self._of_rows(folder, path)
            elif path.parent == folder.path:
                templates.add(path.stem)
                yield from self._of_template(folder, path)
            elif subtask not in templates:
                yield from self._of_picture(folder, path, subtask, numbers)

    def _of_template(self, folder: BenchFolder, path: Path) -> Iterator[Question]:
        """The questions of an answer template: picture, question and right answer a line."""
        for number, (name, text, answer) in enumerate(_lines(path, "picture, question and answer")):
            image = folder.image(name, beside=(path.stem, f"{path.stem}/images"))
            yield _question(path.stem, number, image, text, answer)

    def _of_picture(
        self, folder: BenchFolder, path: Path, subtask: str, numbers: Counter[str]
    ) -> Iterator[Question]:
        """The questions of the released folders: a file a picture, question and answer a line."""
        image = folder.image(path.stem, beside=(subtask, f"{subtask}/images"))
        for text, answer in _lines(path, "question and answer"):
            yield _question(subtask, numbers[subtask], image, text, answer, picture=path.stem)
            numbers[subtask] += 1

    def _of_rows(self, folder: BenchFolder, path: Path) -> Iterator[Question]:
        numbers: dict[str, int] = {}
        for row in folder.rows(path, ["question_id", "image", "question", "answer", "category"]):
            subtask = str(row["category"])
            number = numbers[subtask] = numbers.get(subtask, -1) + 1
            image = folder.picture(row, "image")
            yield _question(
                subtask,
                number,
                image,
                str(row["question"]),
                str(row["answer"]),
                picture=str(row["question_id"]),
            )

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the yes or no that is read."""
        said = official(reply) if reading == "official" else yes_or_no(reply)
        return {"right": float(said == question.answer), "unread": float(said not in ("yes", "no"))}

    def score(self, sample: Sample) -> dict[str, Any]:
        """Each subtask, and the sums of the subtasks of perception and cognition."""
        pair, first = sample.worst_of("right", "picture"), sample.first_of("picture")
        scores = {}
        for subtask in (*PERCEPTION, *COGNITION):
            where = sample.members("subtask", subtask)
            both = sample.mean(pair, where & first)
            scores[subtask] = sample.mean(sample["right"], where) * 100 + both * 100
        return {
            "mme_perception": _sum([scores[subtask] for subtask in PERCEPTION]),
            "mme_cognition": _sum([scores[subtask] for subtask in COGNITION]),
            **{f"mme_{subtask.lower()}": value for subtask, value in scores.items()},
        }


def _lines(path: Path, columns: str) -> Iterator[list[str]]:
    """The lines of a text file, cut at tabs; cells behind those that are named are left out."""
    count = len(columns.replace(" and", ",").split(", "))
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    for number, line in enumerate(lines):
        cells = line.split("\t")
        if len(cells) < count:
            raise BenchDataError(
                f"{path}: line {number + 1} has {len(cells)} columns: {columns} are expected, with "
                "tabs between them"
            )
        yield cells[:count]


def official(reply: str) -> str:
    """What MME's script reads: "yes", "no" or "other".

    >>> official("Yes, it is"), official("I do not"), official("Nope")
    ('yes', 'other', 'no')
    """
    said = reply.lower()
    if said in ("yes", "no"):
        return said
    return next((word for word in ("yes", "no") if word in said[:4]), "other")


def _question(
    subtask: str, number: int, image: Any, text: str, answer: str, *, picture: str = ""
) -> Question:
    """A question; without a picture's name, two lines that follow each other are of one picture.

    So the script has it.
    """
    return Question(
        id=f"{subtask}/{number}",
        text=text,
        answers=(answer.strip().lower(),),
        images=(image,),
        groups={"subtask": subtask, "picture": f"{subtask}/{picture or number // 2}"},
    )


def _sum(values: list[Any]) -> Any:
    total = values[0] * 0
    for value in values:
        total = total + value
    return total
