"""What a plan assumes of data and models that are not on this machine: their published sizes.

A --dry-run of a paper's recipe is asked for before anything is downloaded, on a machine without a
network, or before a gated model is granted. Sizes of language models are those of their config.json
on the hub; grids and widths of encoders stand in `regiontok.settings.catalogue`.

After: LLaVA-1.5 (558,128 and 665,298 records); Cambrian-1 ("Cambrian-7M");
LLaVA-NeXT (about 740,000) and LLaVA-OneVision (about 4 and 3.2 million).
Differs: lengths of texts are assumed, one for all samples but the longest, which fills the longest
row that a stage allows: captions of 25 tokens, conversations of 390 (LLaVA-665k under Vicuna's
template). Numbers of records are rounded but for LLaVA-1.5's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, PretrainedConfig

from regiontok.core.tiling import Tiling
from regiontok.data.generated import is_generated
from regiontok.data.lengths import Measure
from regiontok.data.records import Records, RecordSource
from regiontok.settings import registry
from regiontok.settings.catalogue import CATALOGUE, absent_encoder, full_encoder_call
from regiontok.settings.recipe import Recipe, Stage, TokenizerSettings
from regiontok.settings.spec import parse_one
from regiontok.system.hub import availability
from regiontok.system.loading import check_layers, clear_model_errors

# hub name -> the sizes in its config.json
LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "lmsys/vicuna-7b-v1.5": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
    },
    "meta-llama/Llama-3.1-8B-Instruct": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    },
    "meta-llama/Llama-3.2-3B-Instruct": {
        "model_type": "llama",
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2-7B-Instruct": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
    },
    "Qwen/Qwen2.5-7B-Instruct": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
    },
    "Qwen/Qwen3-8B": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 12288,
        "vocab_size": 151936,
    },
    "Qwen/Qwen3-0.6B": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}
# name of a file of records -> their number, and the tokens of text of one
RECORDS = {
    "blip_laion_cc_sbu_558k.json": (558_128, 25),
    "llava_v1_5_mix665k.json": (665_298, 390),
    "Cambrian7M_withsystemprompt.jsonl": (7_000_000, 390),
    "llava_next_740k.json": (740_000, 390),
    "mid_stage_4m.json": (4_000_000, 390),
    "single_image_3m.json": (3_200_000, 390),
}
# a photo of COCO, (height, width) in pixels, and the usual patch: they choose the grid of tiles
PHOTO, TILE_PATCH = (480, 640), 14
ASSUMED = 100  # lengths that stand for those of all records


def language_model_config(name: str, revision: str | None = None) -> PretrainedConfig:
    """The config of a language model; of one whose sizes are published the hub is not asked.

    A model on this machine always speaks for itself.

    Args:
        name: hub name or folder.
        revision: branch, tag or commit of a hub name; None is its main branch.

    Raises:
        ValueError: If its config cannot be read, or says an absurd number of layers.
    """
    sizes = LANGUAGE_MODELS.get(name)
    if sizes is None or availability(name) != "no":
        with clear_model_errors(name):
            config: PretrainedConfig = AutoConfig.from_pretrained(name, revision=revision or "main")
        check_layers(config.to_dict(), name)
        return config
    return AutoConfig.for_model(**sizes)


@dataclass(frozen=True, eq=False)
class AssumedSamples:
    """What stands for the records of a stage that cannot be measured.

    Attributes:
        records: as many records as there would be; none of them can be read.
        measure: lengths that stand for theirs.
        notes: what was assumed, in words.
    """

    records: Records
    measure: Measure
    notes: tuple[str, ...]


def assumed_samples(recipe: Recipe, stage: Stage) -> AssumedSamples | None:
    """What is assumed of a stage whose records are not here; None if all of them are.

    None, too, if there are records of which nothing is known: reading them says what is missing.
    """
    sources = [(data, Path(data.records)) for data in stage.data]
    absent = [
        path for data, path in sources if not is_generated(data.records) and not path.exists()
    ]
    if not absent or any(path.name not in RECORDS for _, path in sources):
        return None
    ranges: list[RecordSource] = []
    for data, path in sources:
        start = ranges[-1].stop if ranges else 0
        count, _ = RECORDS[path.name]
        ranges.append(RecordSource(data.records, data.weight, start, start + count))
    text = round(np.mean([RECORDS[path.name][1] for _, path in sources]))
    visual, origin = assumed_visual_tokens(recipe)
    if recipe.model:
        visual *= registry.build("connector", recipe.model.connector).rows
    notes = [
        f"{path} is not here: {RECORDS[path.name][0]:,} records of {RECORDS[path.name][1]} tokens "
        "of text are assumed"
        for path in absent
    ]
    return AssumedSamples(
        Records([], ranges, []),
        _measure(text, visual, stage),
        (*notes, f"{visual} visual tokens an image: {origin}"),
    )


def _measure(text: int, visual: int, stage: Stage) -> Measure:
    """Lengths of which all but the longest are alike."""
    texts = np.full(ASSUMED, text)
    texts[-1] = max(text, stage.max_length - visual)
    visuals = np.full(ASSUMED, visual)
    return Measure(
        text=texts,
        visual=visuals,
        reasons={},
        images=np.ones(ASSUMED, np.int64),
        image_tokens=visuals,
        limit=stage.max_length,
    )


def assumed_visual_tokens(recipe: Recipe) -> tuple[int, str]:
    """Visual tokens of an image, and where the number comes from.

    It is what the recipe's table gives, or else what its steps make, or else every patch.
    """
    if "tokens" in recipe.figures:
        return round(recipe.figures["tokens"]), "the recipe's [expect]"
    settings = recipe.tokenizer
    patches, seen = _patches(settings)
    if not registry.build("pool", settings.pool).one_token:
        return patches, f"{seen}; masks that overlap make more"
    count, origin = patches, seen
    for step in registry.build_pipeline("step", settings.regions):
        if step.exact_count is not None:
            count, origin = step.exact_count, "what its steps make"
        elif not step.keeps_count:
            count, origin = patches, f"at most {seen}"
    return count + settings.whole + settings.cls, origin


def _patches(settings: TokenizerSettings) -> tuple[int, str]:
    """Patches that are seen of an image, and that in words."""
    height, width = _grid(settings)
    if not settings.tiles:
        return height * width, "its patches"
    tile = (height * TILE_PATCH, width * TILE_PATCH)
    rows, columns = Tiling.of(settings.tiles).best(PHOTO, tile)
    words = f"the patches of {rows} x {columns} tiles and of the whole, as of a photo of "
    return (rows * columns + 1) * height * width, words + f"{PHOTO[1]} x {PHOTO[0]}"


def _grid(settings: TokenizerSettings) -> tuple[int, int]:
    """An encoder's grid, read off the catalogue if its weights are not here."""
    call, entry = full_encoder_call(settings.encoder), absent_encoder(settings.encoder)
    if entry is None:
        return registry.build("encoder", call).frame((64, 64)).grid
    size = dict(call.kwargs).get("size")
    for other in CATALOGUE:
        other_size = dict(parse_one(other.spec).kwargs).get("size")
        if other.hub == entry.hub and other.grid and other_size == size:
            return other.grid
    raise ValueError(
        f"{entry.hub} is not here, and the catalogue does not know its grid at size={size}"
    )
