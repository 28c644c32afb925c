"""A released model without its language model: the tower and the projector alone are loaded.

After: nothing.
Differs: nothing known: the visual tokens are those of the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from torch import nn

from regiontok.system.errors import RegiontokError


class LanguageModelAbsent(RegiontokError, ValueError):
    """A model was asked for words that was loaded without its language model."""


class AbsentModule(nn.Module):
    """Stands where a part of a language model was left out."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to be called.

        Raises:
            LanguageModelAbsent: Always.
        """
        raise LanguageModelAbsent(
            "this model was loaded without its language model: it makes visual tokens and says "
            "nothing; load it by from_vlm"
        )


@cache
def class_of_eyes(model_class: Any, left_out: Sequence[str]) -> Any:
    """A class of transformers whose models have no language model, and never read its weights.

    Args:
        model_class: a class of models that see and speak.
        left_out: the modules that only speaking needs, such as "model.language_model".
    """

    class Eyes(model_class):  # type: ignore[misc]  # a class that is known when it is loaded
        # such weights are in the checkpoint, and are neither read nor reported
        _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012 - transformers' own form
            rf"(^|\.){name.rpartition('.')[2]}\." for name in left_out
        ]

        def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(config, *args, **kwargs)  # while it is loaded, without memory
            for name in left_out:
                self.set_submodule(name, AbsentModule())
            self.all_tied_weights_keys: dict[str, str] = {}  # both ends are gone

    # transformers looks up how to rename old weights, and whose code it is, by these
    Eyes.__name__, Eyes.__qualname__ = model_class.__name__, model_class.__qualname__
    Eyes.__module__ = model_class.__module__
    return Eyes
