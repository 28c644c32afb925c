"""A trained `RegionVLM` in vLLM: its language model, which reads ready-made visual tokens.

This module is imported by vLLM alone, which then is there.

After: vLLM 0.32, vllm/model_executor/models/llava.py.
Differs: the vision tower and the connector are not part of the model: they run where the requests
come in (`vllm_inputs.py`), and the engine gets tokens of any number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsPP
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from regiontok.serve.served_eyes import check_specs
from regiontok.serve.token_source import NotServed, check_positions
from regiontok.serve.vllm_inputs import (
    RegionDummies,
    RegionInfo,
    RegionProcessor,
    server_options,
)
from regiontok.system.checkpoint import locate

LANGUAGE_MODEL = "language_model."


class RowsModel(nn.Module, SupportsMultiModal, SupportsPP):  # type: ignore[misc]  # vLLM is untyped
    """A language model of vLLM that reads rows in the place of placeholders.

    Attributes:
        language_model: vLLM's own class for it.
        architecture: its name in vLLM; "" takes what the config says.
        hf_to_vllm_mapper: how the checkpoint names the language model's weights.

    Raises:
        ValueError: If the server was started with regions or a segmenter that cannot be built.
    """

    architecture: ClassVar[str] = ""

    packed_modules_mapping = {  # noqa: RUF012 - vLLM's own form
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    hf_to_vllm_mapper = WeightsMapper()

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        _check_specs_of(vllm_config.model_config)
        self.config = vllm_config.model_config.hf_config
        text_config = self.config.get_text_config()
        mixed_in: Any = self  # what vLLM's interface brings is not typed
        mixed_in.configure_mm_token_handling(text_config.vocab_size, [self.config.image_token_id])
        with mixed_in._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                # what is named reads the whole config, as vLLM's own class around it does
                hf_config=None if self.architecture else text_config,
                architectures=[self.architecture or architecture_of(text_config)],
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What stands for a picture in a chat template's text."""
        return "<image>" if modality.startswith("image") else None

    def embed_multimodal(self, **kwargs: Any) -> Sequence[Tensor]:
        """The tokens of each picture, `[k e]`: they came with the request."""
        images: Sequence[Tensor] = kwargs.get("image_embeds", ())
        return tuple(image.reshape(-1, image.shape[-1]) for image in images)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The language model's last rows."""
        embeds = inputs_embeds if intermediate_tensors is None else None
        return self.language_model.model(
            input_ids, positions, intermediate_tensors, inputs_embeds=embeds
        )

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """The language model's logits."""
        logits: Tensor | None = self.language_model.compute_logits(hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load the language model's weights; those of the eyes stay in the file."""
        named = self.hf_to_vllm_mapper.apply(weights)
        own = ((name, value) for name, value in named if name.startswith(LANGUAGE_MODEL))
        loaded: set[str] = AutoWeightsLoader(self).load_weights(own)
        return loaded


def _check_specs_of(model_config: Any) -> None:
    """Refuse a server's own specs that cannot be built.

    That is here and not in `RegionInfo`, because steps import numba: on a CPU a worker of vLLM 0.32
    does not start in a process in which numba is.

    Raises:
        ValueError: See `check_specs`.
    """
    options = server_options(model_config)
    check_specs(model_config.model, revision=model_config.revision or "", **options)


def architecture_of(text_config: Any) -> str:
    """The class of a language model, which configs inside others often do not name.

    Raises:
        NotServed: If transformers knows no such class.
    """
    named = list(text_config.architectures or [])
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text_config.model_type)
    architecture = named[0] if named else known
    if architecture is None:
        raise NotServed(f"{text_config.model_type!r} is no causal language model of transformers")
    return str(architecture)


class TrainedInfo(RegionInfo):
    """A `RegionVLM`: refused where a server cannot give its answers.

    Raises:
        NotServed: If the rows of a mask share a position, or the placeholder is not `<image>`.
    """

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        name = ctx.model_config.model
        _check_positions_of(name, ctx.model_config.revision)
        word = ctx.get_tokenizer().convert_ids_to_tokens(self.image_token_id)
        if word != ServedRegionVLM.get_placeholder_str("image", 0):
            raise NotServed(
                f"{name}: the placeholder of a picture is {word!r} here, and a server writes "
                "<image>: use regiontok export --as-lm"
            )


@cache  # vLLM makes a `TrainedInfo` for each request
def _check_positions_of(name: str, revision: str | None) -> None:
    check_positions(locate(name, revision), name)


@MULTIMODAL_REGISTRY.register_processor(
    RegionProcessor, info=TrainedInfo, dummy_inputs=RegionDummies
)
class ServedRegionVLM(RowsModel):
    """A trained `RegionVLM`."""
