"""`regiontok export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import (
    Batch,
    Device,
    ImagePaths,
    Out,
    Overwrite,
    RegionSpec,
    Resume,
    Revision,
    Segmenter,
)
from regiontok.cli.terminal import clear_errors, closing_json, print_tables, warn


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="mini or another name of `regiontok ls models`, a trained model's folder, or a "
            "released LLaVA, LLaVA-NeXT, LLaVA-OneVision, InternVL or Qwen-VL by hub name or "
            "folder."
        ),
    ],
    paths: ImagePaths,
    regions: RegionSpec = "",
    segmenter: Segmenter = "",
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tokens that every image must have. Without it, as many as the first."
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Type of the written tensors: bfloat16, float16 or float32.")
    ] = "bfloat16",
    as_llava: Annotated[
        Path | None,
        typer.Option(
            help="Also write a trained model's language model as a LLaVA checkpoint to this folder."
        ),
    ] = None,
    as_lm: Annotated[
        Path | None,
        typer.Option(
            help="Also write the language model alone to this folder, for prompts that are rows: "
            "then images may have any number of tokens."
        ),
    ] = None,
    revision: Revision = "",
    out: Out = Path("tokens"),
    resume: Resume = False,
    overwrite: Overwrite = False,
    batch: Batch = 8,
    device: Device = "cpu",
) -> None:
    """Write image tokens of the language model's width, for a server that takes image embeddings.

    vLLM is such a server. A bad image is set aside, named and counted (exit status 1); so is one
    with another number of tokens than the first, unless the server takes any mix of numbers: with
    --as-lm, and of Qwen-VL.

    Example: `regiontok export llava-hf/llava-1.5-7b-hf photos/ --regions "merge(0.7)" --as-lm lm`
    """
    with clear_errors():
        from regiontok.cli.progress import tally
        from regiontok.cli.tables import set_aside_tables
        from regiontok.data.collect import collect
        from regiontok.serve.export import Export, check_dtype
        from regiontok.serve.token_source import open_token_source

        tensor_type = check_dtype(dtype)
        images = collect(paths, sys.stdin, note=warn)
        source = open_token_source(
            model, regions=regions, segmenter=segmenter, revision=revision, device=device
        )
        # in front of the pictures, which may take hours: a model that has no such form says so now
        if as_llava:
            from regiontok.serve.llava import write_llava

            write_llava(model, as_llava, dtype=tensor_type)
        if as_lm:
            from regiontok.serve.language_model import write_language_model

            write_language_model(model, as_lm, dtype=tensor_type, revision=revision)
        run = Export(
            source=source,
            out=out,
            k=tokens,
            dtype=tensor_type,
            batch=batch,
            overwrite=overwrite,
            resume=resume,
            equal=False if as_lm else None,
        )
        count = tally(
            run.run(images),
            total=len(images),
            name=lambda image: str(image.item.path),
            go_on="go on with --resume",
        )
        print_tables(set_aside_tables(run.failed))
        manifest = {key: value for key, value in run.manifest.items() if key != "images"}
        closing_json(
            {
                "command": "export",
                "images": len(run.entries),
                "resumed": count.resumed,
                **manifest,
                "out": str(out),
            }
        )
    raise typer.Exit(1 if run.failed else 0)
