"""Vision towers that a plan assumes: those that papers' recipes tune, by their published sizes.

A tower that learns is part of the model, so that its plan needs every layer of it. Of one that is
not on this machine a folder with nothing but a config.json stands in.

After: RICE, Table 1 (row R9), whose second stage tunes the tower.
Differs: sizes are those of the models' papers and config.json, from memory where no copy was there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regiontok.settings import registry
from regiontok.settings.catalogue import absent_encoder, full_encoder_call
from regiontok.settings.recipe import TokenizerSettings
from regiontok.settings.spec import Call
from regiontok.system.strict_json import json_bytes

_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
}
_SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
}
_CLIP_336 = {"model_type": "clip_vision_model", **_LARGE, "image_size": 336}
# hub name -> the tower's part of its config.json
TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14-336": _CLIP_336,
    "DeepGlint-AI/mlcd-vit-large-patch14-336": _CLIP_336,
    "DeepGlint-AI/rice-vit-large-patch14-560": {
        "model_type": "mlcd_vision_model",
        **_LARGE,
        "image_size": 560,
    },
    "apple/aimv2-large-patch14-336": {
        "model_type": "aimv2_vision_model",
        **_LARGE,
        "intermediate_size": 2816,
        "num_attention_heads": 8,
        "image_size": 336,
        "use_head": False,
    },
    "google/siglip-so400m-patch14-384": _SO400M,
    "google/siglip2-so400m-patch14-384": _SO400M,
    "google/siglip2-so400m-patch16-512": {**_SO400M, "patch_size": 16, "image_size": 512},
}


@contextmanager
def tower_settings(settings: TokenizerSettings) -> Iterator[TokenizerSettings]:
    """The settings with an encoder whose layers are known, for as long as the context lasts.

    They are the settings themselves if the encoder is here, or nothing of it is known.
    """
    entry = absent_encoder(settings.encoder)
    if entry is None or entry.hub not in TOWERS:
        yield settings
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(json_bytes(TOWERS[entry.hub]))
        call = full_encoder_call(settings.encoder)
        stand_in = Call(call.name, (folder, *call.args[1:]), call.kwargs)
        text = registry.render(registry.build("encoder", stand_in))
        yield settings.model_copy(update={"encoder": text})
