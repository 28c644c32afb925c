"""The families of released models that come with this package: model_type -> "module:Class"."""

from __future__ import annotations

FAMILIES = {
    "llava": "regiontok.released.llava:Llava",
    "llava_next": "regiontok.released.llava:LlavaNext",
    "llava_onevision": "regiontok.released.llava:LlavaOnevision",
    "internvl": "regiontok.released.internvl:InternVL",
    "qwen2_vl": "regiontok.released.qwen:Qwen",
    "qwen2_5_vl": "regiontok.released.qwen:Qwen",
    "qwen3_vl": "regiontok.released.qwen:Qwen",
}
