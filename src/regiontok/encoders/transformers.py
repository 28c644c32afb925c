"""Any vision transformer of transformers: CLIP, SigLIP, DINOv2, DINOv3, AIMv2, MLCD, RICE, ViT.

After: diagnostic study, appendix E.1 (CLIP ViT-L/14-336 and SigLIP2 so400m-patch14-384, frozen);
LLaVA-1.5's `pad` and its layer -2.

Families. CLIP, SigLIP and SigLIP 2 of fixed size, MetaCLIP 2, DINOv2 with and without registers,
DINOv3, AIMv2, MLCD and RICE (which is an MLCD), ViT, ViT-MSN, I-JEPA, Pixio, TIPSv2. The Perception
Encoder and what else only timm has: `timm('...')`.

Layers. `layer=-1` is `last_hidden_state` as the model returns it: CLIP, MetaCLIP 2, MLCD and RICE
have not put it through a final norm, all others have (AIMv2's is an RMSNorm). Every other number
indexes `hidden_states`, which no final norm has touched: 0 the embeddings (those of CLIP and MLCD
after their first norm), k the output of block k, -2 that of the block before the last (LLaVA's
choice). So layer=24 of a model with 24 blocks is its last block without the norm.

Loading. Safetensors, no remote code; weights that are missing are an error, never a random layer.
Pickled weights, where there are no others, are read as tensors only
(`regiontok.system.checkpoint`). A hub name is downloaded into the hub's cache.

Sizes. Position embeddings are interpolated by the model's own code where the canvas is not the size
it was made for. DINOv3, MLCD and RICE are rotary and need none, nor does AIMv2-native (sines); for
AIMv2's learned table transformers has no such code, and timm's is used (bicubic, antialiased;
timm's AIMv2 gives the same numbers). `size=(224, 448)` is a canvas 224 high and 448 wide. A smaller
`size` is image down-sampling, the baseline of token reducers: 168 px at patch 14 are 144 tokens.
Under `crop`, a canvas that is not square takes the largest central part of its own shape, as far in
as the checkpoint's processor crops.

Attention of CLS. `cls_attention=True` gives each grid the attention of CLS on the patches in the
block whose output `layer` takes, mean over heads, as the library's eager attention has it;
registers and CLS itself hold the rest of the sum of 1. Whatever attention function runs, no n x n
weights are kept.

Differs: pixels go through Frame and Pillow, not through the checkpoint's image processor; on 80
photos (23 of them upright) they equal transformers' PIL backend bit for bit. transformers' default,
the torchvision backend, is itself 2 to 14 levels of 255 off its PIL backend; DINOv3 has no other,
and lies within one level of ours. `framing="letterbox"` resizes, then pads with the mean colour;
LLaVA pads, then resizes: a shift of less than a canvas pixel, 1.56 levels of 255 in the mean over
40 photos of COCO and 8.76 in the worst. SigLIP2's NaFlex checkpoints (`model_type` siglip2) have no
fixed canvas: `naflex('...')` reads them. RADIO: `radio('...')`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from regiontok.core.cls_attention import attention_of_first, watched_block
from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.preprocess import Preprocess, image_processor
from regiontok.encoders._hidden_states import Dtype
from regiontok.encoders._token_encoder import TokenEncoder
from regiontok.encoders._transformers_families import FAMILIES, READ_ELSEWHERE, TowerFamily
from regiontok.system.checkpoint import fingerprint, locate, read_json
from regiontok.system.devices import resolve_device
from regiontok.system.loading import clear_model_errors
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, shared_model

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class Transformers(TokenEncoder):
    """A frozen vision transformer from a transformers checkpoint, as a patch encoder.

    Nothing is read before the first use.

    Attributes:
        model: hub name (`"openai/clip-vit-large-patch14"`), or a folder that `save_pretrained`
            wrote with a preprocessor_config.json.
        layer: which hidden state; see the module's docstring.
        size: side of a square canvas in pixels, or (height, width); None is the checkpoint's own.
        framing: "stretch", "letterbox" or "crop"; None is the checkpoint's own (CLIP, DINOv2: crop;
            SigLIP, ViT: stretch).
        dtype: type of weights and features.
        attention: which of transformers' attention functions runs.
        revision: branch, tag or commit of a hub name.
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        cls_attention: also give the attention of CLS on the patches, what `prumerge` and
            `visionzip` choose by.
        device: where the model runs; features stay there.
        batch: pictures a forward pass. A layer other than -1 keeps all hidden states of a batch:
            0.5 GB for 8 pictures in CLIP ViT-L/14-336 and float32.

    >>> from regiontok.settings.registry import build, render
    >>> render(build("encoder", "transformers('facebook/dinov2-base', layer=-2)"))
    "transformers('facebook/dinov2-base', layer=-2)"
    """

    model: str
    layer: int = -1
    size: int | Pair | None = None
    framing: Framing | None = None
    dtype: Dtype = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    revision: str | None = None
    shuffle: int | None = None
    cls_attention: bool = False
    device: str = field(default="cpu", metadata={"run": True})
    batch: int = field(default=8, metadata={"run": True})

    version: ClassVar[int] = 1
    can_tune: ClassVar[bool] = True
    # the study's, which used it with CLIP, SigLIP2 and RADIO; not measured here for any other
    # family: there an exact budget, merge(k=...), is the safer choice
    threshold: ClassVar[float] = 0.7

    def frame(self, size: Pair) -> Frame:
        """See `Encoder`."""
        # first, so that a folder that is no checkpoint at all is called that
        patch = self._pair("patch_size")
        return self._preprocess.frame(size, patch, framing=self.framing, size=self.size)

    @property
    def blocks(self) -> int:
        """How many blocks the network has."""
        return int(self._config.num_hidden_layers)

    @property
    def width(self) -> int:
        """See `Encoder`."""
        return int(self._config.hidden_size)

    @property
    def summaries(self) -> int:
        """See `Encoder`."""
        count = self._family.summaries
        return int(getattr(self._config, count)) if isinstance(count, str) else count

    @cached_property
    def identity(self) -> str:
        """The hash of the weights' files and the json files beside them, and who resizes pixels.

        Versions of libraries are no part of it: they are provenance.

        Raises:
            ValueError: If the encoder is being tuned.
        """
        if self._learns:
            raise ValueError(
                f"{self.model} is being tuned: nothing may be cached by weights that change"
            )
        return fingerprint(self._folder, "pixels: pillow")

    def blank(self) -> nn.Module:
        """The vision tower without the checkpoint's weights, of which nothing is read."""
        config = copy.deepcopy(self._checkpoint[1] if self._family.within else self._config)
        config._attn_implementation = self.attention
        tower = self._tower_class(config, **dict(self._family.build))
        return getattr(tower, self._family.within) if self._family.within else tower

    def tunable(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy of the vision tower that may learn; no other encoder shares it.

        It has the checkpoint's weights, of type `dtype`.
        """
        return self._load(dtype).to(resolve_device(self.device)).requires_grad_(True)

    def tuned(self, module: nn.Module) -> Transformers:
        """This encoder with the weights of `module`, on its device and in its type."""
        encoder = copy.copy(self)  # with all that was read of the folder
        encoder.__dict__.pop("identity", None)
        encoder.__dict__.update(_module=module, _learning=True)
        return encoder

    @property
    def _prefix_order(self) -> range:
        field_name = self._family.registers
        return range(self.summaries + (getattr(self._config, field_name) if field_name else 0))

    def _sequences(
        self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame
    ) -> tuple[Float[Tensor, "b n d"], Sequence[Float[Tensor, "n"] | None]]:
        # not inference_mode, whose tensors could not take part in the training of what comes after
        with torch.set_grad_enabled(self._learns and torch.is_grad_enabled()):
            return self._forward(pixels)

    def _forward(
        self, pixels: UInt8[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b n d"], Sequence[Float[Tensor, "n"] | None]]:
        self.check_layer()
        # a weight says where and in what type: a tuned module is moved with its model
        weight = next(self._module.parameters())
        values = self._preprocess.values(pixels, weight.device, weight.dtype)
        canvas = (pixels.shape[2], pixels.shape[3])
        resized = canvas != self._pair("image_size")
        options = {"interpolate_pos_encoding": True} if self._family.asks and resized else {}
        options["output_hidden_states"] = self.layer != -1
        attention: Sequence[Tensor | None] = [None] * len(pixels)
        with self._positions_for(canvas):
            if self.cls_attention:
                with watched_block(self._module, self._attended_block()) as projected:
                    output = self._module(pixel_values=values, **options)
                heads = self._config.num_attention_heads
                attention = list(attention_of_first(**projected, heads=heads).detach())
            else:
                output = self._module(pixel_values=values, **options)
        return self._hidden_state(output), attention

    def _hidden_state(self, output: Any) -> Float[Tensor, "b n d"]:
        last = output.last_hidden_state
        hidden = last if self.layer == -1 else output.hidden_states[self.layer]
        if hidden.requires_grad:
            # what lies behind the layer gets zero gradients, not None: DDP waits for every
            # parameter that learns
            later = [last, getattr(output, "pooler_output", None)]
            hidden = hidden + sum(tensor.mean() * 0 for tensor in later if tensor is not None)
        return hidden

    @contextmanager
    def _positions_for(self, canvas: Pair) -> Iterator[None]:
        """A context in which a learned position table answers for the canvas's own grid.

        Only a table that the model cannot interpolate itself needs it.
        """
        patch, image = self._pair("patch_size"), self._pair("image_size")
        grid, table_grid = ((size[0] // patch[0], size[1] // patch[1]) for size in (canvas, image))
        # AIMv2-native has no table, its positions are sines of any grid
        name = self._family.table
        table = dict(self._module.named_modules()).get(name) if name else None
        if table is None or grid == table_grid:
            yield
            return
        handle = table.register_forward_hook(
            lambda _module, _input, positions: resample_abs_pos_embed(
                positions, list(grid), list(table_grid), num_prefix_tokens=0
            )
        )
        try:
            yield
        finally:
            handle.remove()

    def _attended_block(self) -> int:
        """The block whose output `layer` takes, from 0.

        Raises:
            ValueError: If there is no such block, no CLS token, or no attention that projections
                alone give.
        """
        if self.blocks_passed == 0:
            raise ValueError(
                f"layer={self.layer} is before the first block, where there is no attention; "
                "take a later one"
            )
        if not self.has_cls or self._family.rotary:
            why = "turns queries and keys by position" if self.has_cls else "has no CLS token"
            raise ValueError(
                f"{self.model}: {self._family.tower} {why}, so cls_attention=True has nothing to "
                "give"
            )
        return self.blocks_passed - 1

    def _pair(self, name: str) -> Pair:
        value = getattr(self._config, name)
        return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))

    @cached_property
    def _folder(self) -> Path:
        return locate(self.model, self.revision)

    @property
    def _family(self) -> TowerFamily:
        return self._checkpoint[0]

    @property
    def _config(self) -> Any:
        """The config of the vision tower."""
        return getattr(self._checkpoint[1], "vision_config", self._checkpoint[1])

    @property
    def _tower_class(self) -> Any:
        return getattr(need("transformers", extra="hub"), self._family.tower)

    @cached_property
    def _checkpoint(self) -> tuple[TowerFamily, Any]:
        """The checkpoint's family, and its whole config."""
        library = need("transformers", extra="hub")
        path = self._folder / "config.json"
        if not path.is_file():
            raise ValueError(
                f"{self._folder} has no config.json: it is no folder that transformers' "
                "save_pretrained wrote"
            )
        config = read_json(path)
        model_type = config.get("model_type")
        if model_type not in FAMILIES:
            other = READ_ELSEWHERE.get(str(model_type))
            other = other or ("timm" if "architecture" in config else "")
            hint = f" (that is read by {other}({self.model!r}))" if other else ""
            raise ValueError(
                f"{self.model}: model_type {model_type!r}{hint} is not one of {', '.join(FAMILIES)}"
            )
        family = FAMILIES[model_type]
        if not hasattr(library, family.tower):
            raise ValueError(
                f"{self.model}: transformers {library.__version__} has no {family.tower}; "
                "a newer one has"
            )
        if family.within and "vision_config" not in config:
            # a tower alone, under the whole model's type
            model_type = f"{model_type}_vision_model"
            options = {key: value for key, value in config.items() if key != "model_type"}
            return FAMILIES[model_type], library.AutoConfig.for_model(model_type, **options)
        with clear_model_errors(self.model):
            return family, library.AutoConfig.from_pretrained(
                str(self._folder), trust_remote_code=False, local_files_only=True
            )

    @cached_property
    def _preprocess(self) -> Preprocess:
        processor = image_processor(self._folder)
        with clear_model_errors(self.model):
            return Preprocess.of(processor, self.model)

    @property
    def _learns(self) -> bool:
        return bool(self.__dict__.get("_learning"))

    @cached_property
    def _module(self) -> nn.Module:
        settings = ("transformers", self.dtype, self.attention, self.device)
        return shared_model(
            self._folder,
            settings,
            lambda: self._load().to(resolve_device(self.device)).eval().requires_grad_(False),
        )

    def _load(self, dtype: torch.dtype | None = None) -> nn.Module:
        return load_pretrained(
            self._tower_class,
            self._folder,
            self.model,
            within=self._family.within,
            config=self._checkpoint[1] if self._family.within else self._config,
            dtype=dtype or getattr(torch, self.dtype),
            attn_implementation=self.attention,
            **dict(self._family.build),
        )
