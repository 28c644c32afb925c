"""How many questions a second a small model trains on: a row each, or blocks that share a picture.

    python bench/blocks.py

Each way takes the same questions about the same pictures, with ready-made visual tokens, through
forward and backward of the project's own mini language model; the encoder is not part of it.
"tokens" are visual tokens of a picture. Rates are questions a second of processor time with one
thread, the median of runs whose ways follow each other in turn. It prints a table, then one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import transformers

from regiontok.core.tokens import Tokens
from regiontok.data.blocks import independent_questions
from regiontok.data.collate import Collator, Example
from regiontok.data.labels import Labeller
from regiontok.data.records import read
from regiontok.model.block_attention import attention_by_blocks
from regiontok.model.mini import VOCABULARIES, mini_language_model, mini_tokenizer
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Data, TokenizerSettings

# each way has what the one before it has, but for the first
WAYS = (
    "a row each",
    "blocks",
    "supervised logits",
    "closed vocabulary",
    "no mask",
)
SETTINGS = ("pictures", "rounds", "inner", "runs")  # what the line of JSON repeats


def visual_tokens(pictures: int, count: int, width: int) -> Tokens:
    """Random tokens, `count` for each picture."""
    image = torch.arange(pictures).repeat_interleave(count)
    zeros = torch.zeros_like(image)
    return Tokens(
        torch.randn(pictures * count, width), image, zeros, zeros, zeros, zeros, images=pictures
    )


def batch_of(examples: Sequence[Example], count: int, width: int) -> dict[str, Any]:
    """A batch of rows of text that each show one picture."""
    batch = Collator(placeholder=3)(examples)
    return batch | {"pictures": visual_tokens(len(examples), count, width)}


def batches(
    options: argparse.Namespace, count: int, width: int
) -> tuple[dict[str, dict[str, Any]], int]:
    """The batch of each way, and how many questions it has."""
    source = f"world({options.pictures}, size=128, captions=False, rounds={options.rounds})"
    talks = [record.turns[: 2 * options.questions] for record in read([Data(records=source)])]
    alone = Labeller(mini_tokenizer(), placeholder=3)
    rows = [Example(*row) for talk in talks for row in map(alone, independent_questions(talk))]
    # the pictures of these examples are given as tokens
    in_rows = batch_of([_without_check(one) for one in rows], count, width)
    by_vocabulary = {}
    for vocabulary in VOCABULARIES:
        shared = Labeller(mini_tokenizer(vocabulary), placeholder=3, independent=True)
        blocks = [
            Example(ids, labels, blocks=tuple(block_of))
            for ids, labels, block_of in map(shared.row, talks)
        ]
        by_vocabulary[vocabulary] = batch_of([_without_check(one) for one in blocks], count, width)
    supervised = {"supervised_only": True}
    ways = (
        in_rows,
        by_vocabulary["bytes"],
        by_vocabulary["bytes"] | supervised,
        by_vocabulary["world"] | supervised,
        by_vocabulary["world"] | supervised,
    )
    return dict(zip(WAYS, ways, strict=True)), len(rows)


def _without_check(example: Example) -> Example:
    """The example with a stand-in for its picture, whose tokens are ready-made."""
    return Example(
        example.input_ids,
        example.labels,
        (torch.zeros(0),),
        blocks=example.blocks,  # type: ignore[arg-type]
    )


def seconds(model: RegionVLM, batch: dict[str, Any], *, by_blocks: bool) -> float:
    """Processor time of one forward and backward."""
    model.zero_grad()
    began = time.process_time()
    with attention_by_blocks(model) if by_blocks else nullcontext():
        model(**batch, use_cache=False).loss.backward()
    return time.process_time() - began


def models(options: argparse.Namespace) -> dict[str, RegionVLM]:
    """A model of each vocabulary."""
    visual = TokenizerSettings(encoder="filters(size=112)", regions="windows(4)", norm="rms")
    return {
        vocabulary: RegionVLM.from_parts(
            mini_language_model(vocabulary=vocabulary, inner=options.inner),
            visual,
            image_token_id=3,
        ).train()
        for vocabulary in VOCABULARIES
    }


def measured(options: argparse.Namespace, count: int) -> dict[str, Any]:
    """The rate of each way at a number of visual tokens."""
    by_vocabulary = models(options)
    width = by_vocabulary["bytes"].config.language_config.hidden_size
    by_way, asked = batches(options, count, width)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for run in range(options.runs + 1):
        for way, batch in by_way.items():
            model = by_vocabulary["world" if way in WAYS[3:] else "bytes"]
            took = seconds(model, batch, by_blocks=way == WAYS[4])
            if run:  # the first one warms up
                times[way].append(took)
    rates = {way: round(asked / statistics.median(times[way]), 1) for way in WAYS}
    return {"tokens": count, "questions": asked, **rates}


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[24, 48, 144])
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--questions", type=int, default=8, help="most questions about a picture")
    parser.add_argument("--rounds", type=int, default=1, help="questions of each kind")
    parser.add_argument("--inner", type=int, default=0, help="width within a perceptron")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'tokens':>7}" + "".join(f"{way:>19}" for way in WAYS) + f"{'gain':>7}")
    rows = []
    for count in options.tokens:
        row = measured(options, count)
        gain = row[WAYS[-1]] / row[WAYS[0]]
        print(f"{count:>7}" + "".join(f"{row[way]:>19}" for way in WAYS) + f"{gain:>7.1f}")
        rows.append(row)
    line = {"bench": "blocks", "unit": "questions a second of processor time, one thread, median"}
    line |= {"rows": rows, **{name: getattr(options, name) for name in SETTINGS}}
    line |= {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(line | {"machine": platform.machine()}))


if __name__ == "__main__":
    main()
