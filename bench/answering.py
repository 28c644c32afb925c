"""What `regiontok answer` costs over a bare loop of transformers on the same prompts.

    python bench/answering.py

A LLaVA-1.5 of random weights (a tower of 12 layers over 16 x 16 patches, a Llama of 8 layers)
answers the same questions about generated pictures on files, in batches, either way in turn. The
bare loop opens the pictures, calls the processor, `generate` and `batch_decode`. regiontok's reads
the question file's pictures, encodes them by the model's own tower, hands on its own tokens, and
writes every answer with its question. Replies must be the same. "clock" is the best of the rounds
over the best, "cpu" the same in seconds of the processor, which others on the machine do not
change. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from regiontok.evaluation.answers import read_answers
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.jobs.answer.run import answer
from regiontok.miniworld.scenes import make_scene
from regiontok.model.mini import TEMPLATE, mini_tokenizer
from regiontok.model.vlm import RegionVLM
from regiontok.released.conversation import ReleasedConversationModel

SIDE, PATCH = 224, 14


def random_llava() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A small LLaVA-1.5 with random weights, and its processor."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=384,
            intermediate_size=1536,
            num_hidden_layers=12,
            num_attention_heads=6,
            image_size=SIDE,
            patch_size=PATCH,
        ),
        text_config=LlamaConfig(
            vocab_size=260,
            hidden_size=512,
            intermediate_size=1376,
            num_hidden_layers=8,
            num_attention_heads=8,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=3,
        vision_feature_layer=-2,
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None
    square = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square),
        mini_tokenizer(),
        PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return model, processor


def write_questions(folder: Path, count: int) -> None:
    """A POPE of questions about generated scenes."""
    rows = []
    for number in range(count):
        Image.fromarray(make_scene(number, (240, 320)).pixels).save(folder / f"{number}.png")
        text = f"Is there a {('disc', 'square', 'ring')[number % 3]} in the image?"
        row = {"question_id": number, "image": f"{number}.png", "text": text, "label": "yes"}
        rows.append(json.dumps(row))
    (folder / "coco_pope_random.json").write_text("\n".join(rows) + "\n")


def bare(model, processor, plan: AnswerPlan, batches) -> list[str]:
    """The replies of a loop without regiontok."""
    replies = []
    for batch in batches:
        texts = [
            processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": plan.prompt(q)}],
                    }
                ],
                tokenize=False,
                add_generation_prompt=True,
            )
            for q in batch
        ]
        images = [Image.open(q.images[0].path).convert("RGB") for q in batch]
        inputs = processor(
            images=images, text=texts, padding=True, padding_side="left", return_tensors="pt"
        )
        with torch.no_grad():
            ids = model.generate(**inputs, **plan.decoding)
        new_ids = ids[:, inputs["input_ids"].shape[1] :]
        replies += processor.batch_decode(new_ids, skip_special_tokens=True)
    return [reply.strip() for reply in replies]


def timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds on the clock and of the processor, and what came out."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - start, time.process_time() - cpu, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--longest", type=int, default=8, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    model, processor = random_llava()
    conversation_model = ReleasedConversationModel(RegionVLM.from_vlm(model, processor))
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "regiontok": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_questions(folder, options.questions)
        plan = AnswerPlan.of(
            AnswerOptions(
                model="random",
                bench="pope",
                data=folder,
                batch=options.batch,
                longest=options.longest,
            )
        )
        batches = plan.batches(set(), Ranks())
        order = [question.id for batch in batches for question in batch]
        for number in range(options.rounds + 1):
            *own, replies = timed(lambda: bare(model, processor, plan, batches))
            out = folder / f"run{number}"
            *ours, _ = timed(lambda out=out: answer(plan, out, model=conversation_model))
            said = {one.question.id: one.reply for one in read_answers(out).answers}
            assert [said[id] for id in order] == replies, "the replies differ"
            if number:  # the first round warms up
                times["bare"].append(tuple(own))
                times["regiontok"].append(tuple(ours))
    best = {
        name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()
    }
    clock, cpu = (best["regiontok"][i] / best["bare"][i] - 1 for i in (0, 1))
    for name, (seconds, processor_seconds) in best.items():
        print(f"{name:10} {seconds:.2f} s on the clock, {processor_seconds:.2f} s of the processor")
    print(f"regiontok costs {clock:+.1%} on the clock, {cpu:+.1%} of the processor")
    report = {"bench": "answering", "best": best, "clock": clock, "cpu": cpu}
    print(json.dumps(report | vars(options)))


if __name__ == "__main__":
    main()
