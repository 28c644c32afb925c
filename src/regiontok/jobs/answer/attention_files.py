"""The files of what a run's answers looked at, beside the answers: JSON lines.

A run's folder holds `attention.jsonl`, and `attention.1.jsonl`, ... of further processes. The first
line is the head of the run. Each answer has a line: its words, and their shares of attention on the
regions of its pictures. The regions have lines of their own, before the first answer about them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regiontok.evaluation.answers import AnswersError, first_difference
from regiontok.jobs.kept_attention import KeptAttention
from regiontok.system.files import cut_after_last_line, flush_entry, replacing
from regiontok.system.strict_json import parse_json, strict_json
from regiontok.system.writing import clear_write_errors

FORMAT = "regiontok attention 1"


@dataclass(frozen=True, eq=False)
class AttentionRun:
    """What all answers of a run looked at, as the lines of its files have it.

    Attributes:
        head: the head of the run.
        answers: the record of each answer by the question's id; the last one counts.
        regions: the records of a picture's views, by what answers call them.
    """

    head: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    regions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def __contains__(self, id: str) -> bool:
        pictures = self.answers[id]["pictures"] if id in self.answers else None
        return pictures is not None and all(one["regions"] in self.regions for one in pictures)

    def of(self, id: str) -> KeptAttention:
        """What the answer to a question looked at.

        Raises:
            KeyError: If nothing is kept of it.
            AnswersError: If its lines are damaged.
        """
        if id not in self:
            raise KeyError(id)
        record = self.answers[id]
        pictures = [
            {**picture, "views": self.regions[picture["regions"]]} for picture in record["pictures"]
        ]
        try:
            return KeptAttention.of_record({**record, "pictures": pictures})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnswersError(f"what the answer to {id} looked at is damaged: {error}") from None


def attention_files(folder: Path) -> list[Path]:
    """The files of a run's folder, none if nothing is kept there."""
    return sorted(folder.glob("attention*.jsonl"))


def read_attention(folder: Path) -> AttentionRun:
    """What the answers of a run looked at; empty if nothing was kept.

    Lines that cannot be read, such as one that a kill cut off, are passed over: their answers are
    as if nothing was kept of them.

    Args:
        folder: the run's folder.

    Raises:
        AnswersError: If a file has no head, or two files have different ones.
    """
    head: dict[str, Any] = {}
    answers: dict[str, Mapping[str, Any]] = {}
    regions: dict[str, Sequence[Mapping[str, Any]]] = {}
    for file in attention_files(folder):
        lines = _records(file)
        own_head = (next(lines, None) or {}).get("head", {})
        if own_head.get("format") != FORMAT:
            raise AnswersError(f"{file}: its first line must be a head of {FORMAT!r}")
        if head and (difference := first_difference(head, own_head)):
            raise AnswersError(f"{file} belongs to another run than its neighbours: {difference}")
        head = head or own_head
        for record in lines:
            if record and "id" in record and isinstance(record.get("pictures"), list):
                answers[str(record["id"])] = record
            elif record and "regions" in record and isinstance(record.get("views"), list):
                regions[str(record["regions"])] = record["views"]
    return AttentionRun(head, answers, regions)


def _records(file: Path) -> Iterator[dict[str, Any] | None]:
    """The object of each line, None for one that cannot be read."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = parse_json(line)
            except ValueError:
                record = None
            yield record if isinstance(record, dict) else None


@dataclass
class AttentionWriter:
    """Writes what the answers of one process looked at, line by line.

    Attributes:
        folder: the run's folder, in which the answers are.
        head: the head of the run.
        rank: number of this process.
    """

    folder: Path
    head: Mapping[str, Any]
    rank: int = 0
    _known: set[str] = field(default_factory=set)  # names of regions that have a line

    @property
    def path(self) -> Path:
        """The file of this process."""
        return self.folder / (f"attention.{self.rank}.jsonl" if self.rank else "attention.jsonl")

    def begin(self) -> AttentionRun:
        """Begin the file, or go on with it; what a kill cut off is taken away.

        Returns:
            What is kept already, by any process.

        Raises:
            AnswersError: If the folder holds what the answers of another run looked at.
        """
        head = {**self.head, "format": FORMAT}
        if self.path.exists():
            cut_after_last_line(self.path)
        kept = read_attention(self.folder)
        if kept.head and (difference := first_difference(kept.head, head)):
            raise AnswersError(
                f"{self.folder} holds the attention of other answers: {difference}; choose another "
                "--out"
            )
        if not self.path.exists():
            with clear_write_errors(self.path), replacing(self.path) as temporary:
                line = strict_json({"head": head}, ensure_ascii=False)
                temporary.write_text(line + "\n", encoding="utf-8")
        self._known = set(kept.regions)
        return kept

    def write(self, attention: Mapping[str, KeptAttention]) -> None:
        """Add answers by their questions' ids; the system has them before this returns."""
        records: list[dict[str, Any]] = []
        for id, kept in attention.items():
            record = kept.record()
            for picture in record["pictures"]:
                views = picture.pop("views")
                name = hashlib.sha256(strict_json(views).encode()).hexdigest()[:16]
                picture["regions"] = name
                if name not in self._known:
                    self._known.add(name)
                    records.append({"regions": name, "views": views})
            records.append({"id": id, **record})
        lines = "".join(strict_json(record, ensure_ascii=False) + "\n" for record in records)
        with clear_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(lines)

    def end(self) -> None:
        """Wait until all of it is on the disk."""
        flush_entry(self.path)
