"""The families of released models that come with this package: model_type -> "module:Class"."""

from __future__ import annotations

FAMILIES = {
    "gemma3": "regiontok.released.gemma:Gemma3",
    "llava": "regiontok.released.llava:Llava",
    "llava_next": "regiontok.released.llava_next:LlavaNext",
    "llava_onevision": "regiontok.released.llava_next:LlavaOnevision",
    "internvl": "regiontok.released.internvl:InternVL",
    "qwen2_vl": "regiontok.released.qwen:Qwen",
    "qwen2_5_vl": "regiontok.released.qwen:Qwen",
    "qwen3_vl": "regiontok.released.qwen:Qwen",
}
