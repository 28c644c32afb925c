"""Conversations that `regiontok chat` saved, as the page gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.jobs.kept_attention import KeptAttention
from regiontok.system.errors import RegiontokError
from regiontok.system.strict_json import parse_json
from regiontok.view.attention_data import attention_data


class BrokenTalk(RegiontokError, ValueError):
    """A file is no saved conversation; the message names it."""


def read_talk(path: Path) -> dict[str, Any]:
    """The turns of a conversation: question, answer, tokens, and what the answer looked at.

    "looked" is `attention_data` of it, None in files of an older release.

    Raises:
        BrokenTalk: If the file holds no conversation.
    """
    try:
        turns = parse_json(path.read_text(encoding="utf-8"))
        return {"turns": [_turn(turn) for turn in turns]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenTalk(
            f"{path.name}: no conversation that `regiontok chat` saved ({error})"
        ) from None


def _looked(record: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if record is None else attention_data(KeptAttention.of_record(record))


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    return {
        "question": str(turn["question"]),
        "answer": str(turn["answer"]),
        "stopped": bool(turn.get("stopped", False)),
        "tokens": {str(kind): int(count) for kind, count in turn.get("tokens", {}).items()},
        "looked": _looked(turn.get("looked")),
        "attention": [
            {
                "image": str(picture["image"]),
                "visual": float(picture["visual"]),
                "regions": [
                    {
                        "region": int(region["region"]),
                        "share": float(region["share"]),
                        "box": [float(side) for side in region["box"]],
                    }
                    for region in picture["regions"]
                ],
            }
            for picture in turn.get("attention", ())
        ],
    }
