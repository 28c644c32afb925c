r"""Answers of vLLM's LLaVA from region tokens that were exported before.

    regiontok export llava-hf/llava-1.5-7b-hf photos/ \
        --regions "merge(k=144) | sort('com')" --out tokens
    python examples/vllm_llava.py tokens --ask "What is in the picture?"

The vision tower is not loaded. It needs vLLM with its pull request 32493 (of January 2026), in an
environment of its own, and a GPU. It was written from vLLM's source and held against its input
checks (tests/serve/test_export.py); vLLM itself has not been run with it. Images with different
numbers of tokens, and models trained by regiontok: see docs/how-to/serve.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from regiontok.serve.vllm_requests import answering, read_manifest, requests, serving

TEMPLATE = "USER: <image>\n{question}\nASSISTANT:"  # LLaVA-1.5's; a trained model has its own


def main() -> None:
    """Ask one question about every exported image; one line of JSON an answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("export", type=Path, help="what `regiontok export` wrote")
    parser.add_argument("--ask", default="What is in the picture?")
    parser.add_argument(
        "--model", help="the LLaVA checkpoint to serve, if it is not the one the tokens come from"
    )
    parser.add_argument("--template", default=TEMPLATE, help="with {question}")
    parser.add_argument("--most", type=int, default=64, help="new tokens")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what vLLM would be told, and stop"
    )
    given = parser.parse_args()
    manifest = read_manifest(given.export)
    prompt = given.template.format(question=given.ask)
    # no token is shorter than a byte, and <image> counts as seven of them: enough, the first token
    # included
    options = serving(manifest, text=len(prompt.encode()) + given.most, model=given.model)
    made = list(requests(given.export, prompt))
    if given.dry_run:
        print(
            json.dumps(
                {
                    "vllm": options,
                    "requests": len(made),
                    "shape": list(made[0]["multi_modal_data"]["image"].shape),
                }
            )
        )
        return
    from vllm import LLM, SamplingParams

    answers = LLM(**options).generate(
        made, SamplingParams(temperature=0, max_tokens=given.most, **answering(manifest))
    )
    for entry, answer in zip(manifest["images"], answers, strict=True):
        print(json.dumps({"image": entry["image"], "answer": answer.outputs[0].text.strip()}))


if __name__ == "__main__":
    main()
