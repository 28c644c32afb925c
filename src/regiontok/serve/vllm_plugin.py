"""vLLM's entry point `vllm.general_plugins`: what vLLM can serve beside its own models.

vLLM calls `register` in each of its processes, whatever model it serves. So it only names classes:
they are imported when a server is started for one of them.

After: vLLM 0.32, vllm/plugins/__init__.py.
Differs: nothing known.
"""

from __future__ import annotations

from regiontok.system.errors import first_line
from regiontok.system.logs import module_logger

# what a server is started for, by the `architectures` of its config.json or of --hf-overrides
MODELS = {
    "RegionVLM": "regiontok.serve.vllm_model:ServedRegionVLM",
    "RegionLlava": "regiontok.serve.vllm_released:RegionLlava",
    "RegionQwen": "regiontok.serve.vllm_released:RegionQwen",
}

_LOG = module_logger(__name__)


def register() -> None:
    """Name regiontok's models and the config of a `RegionVLM` to vLLM.

    A server of another model lives on whatever is wrong here: then the log says what, and only
    regiontok's models are unknown.
    """
    try:
        _register()
    except Exception as error:
        _LOG.warning("regiontok's models cannot be served here: %s", first_line(error))


def _register() -> None:
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from regiontok.model.config import RegionVLMConfig

    AutoConfig.register(RegionVLMConfig.model_type, RegionVLMConfig, exist_ok=True)
    for architecture, place in MODELS.items():
        if architecture not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(architecture, place)
