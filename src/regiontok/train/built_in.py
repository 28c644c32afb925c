"""Language models that come without a model hub: by name, with the options that each takes.

After: nothing; see the modules that make them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.smollm2 import (
    smollm2_config,
    smollm2_language_model,
    smollm2_tokenizer,
)
from regiontok.settings import spec


@dataclass(frozen=True)
class BuiltIn:
    """A language model that this package makes, or reads out of another Python package.

    Attributes:
        options: the options that it takes, by name.
        tokenizer: makes its tokenizer; it gets the options of a recipe.
        model: makes the model; it gets a seed, which one that is trained ignores, and the options.
        config: gives the model's config without its weights; it gets the options.
    """

    options: tuple[str, ...]
    tokenizer: Callable[[Mapping[str, Any]], PreTrainedTokenizerBase]
    model: Callable[[int, Mapping[str, Any]], PreTrainedModel]
    config: Callable[[Mapping[str, Any]], PretrainedConfig]


BUILT_IN: Mapping[str, BuiltIn] = {
    "mini": BuiltIn(
        options=("width", "layers", "heads", "inner", "vocabulary"),
        tokenizer=lambda options: mini_tokenizer(options.get("vocabulary", "bytes")),
        model=lambda seed, options: mini_language_model(seed, **options),
        config=lambda options: mini_language_model(**options).config,
    ),
    "smollm2": BuiltIn(
        options=(),
        tokenizer=lambda options: smollm2_tokenizer(),
        model=lambda seed, options: smollm2_language_model(),
        config=lambda options: smollm2_config(),
    ),
}


@dataclass(frozen=True)
class BuiltInChoice:
    """A language model that comes without a hub, with a recipe's options.

    Attributes:
        source: what makes it.
        options: the options.
    """

    source: BuiltIn
    options: Mapping[str, Any]

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return self.source.tokenizer(self.options)

    def model(self, seed: int) -> PreTrainedModel:
        """The model; `seed` is that of random weights."""
        return self.source.model(seed, self.options)

    def config(self) -> PretrainedConfig:
        """The model's config."""
        return self.source.config(self.options)


def built_in(language_model: str) -> BuiltInChoice | None:
    """The language model that a recipe names, or None if it is a folder or a hub's.

    Args:
        language_model: such as "smollm2" or "mini(width=96, layers=2, heads=4)".

    Raises:
        ValueError: If it has an option that the model does not take.

    >>> built_in("mini(width=96)").options
    {'width': 96}
    >>> built_in("HuggingFaceTB/SmolLM2-135M-Instruct") is None
    True
    """
    name = language_model.partition("(")[0]
    if name not in BUILT_IN:
        return None
    source = BUILT_IN[name]
    (call,) = spec.parse(language_model)
    options = dict(call.kwargs)
    if call.args or not set(options) <= set(source.options):
        takes = " and ".join(filter(None, [", ".join(source.options[:-1]), *source.options[-1:]]))
        raise ValueError(f"{language_model!r}: {name} takes {takes or 'no options'}")
    return BuiltInChoice(source, options)
