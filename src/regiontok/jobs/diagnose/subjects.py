"""What `regiontok diagnose` looks at: encoders, each at the layers that were asked for, and the
same networks with random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import version
from typing import Any

from regiontok.settings import registry
from regiontok.tokenizer.regionizer import build_encoder

RANDOM = "random"  # what an encoder's field `weights` says of a network that was never trained


@dataclass(frozen=True, eq=False)
class Subject:
    """One encoder at one layer.

    Attributes:
        encoder: a built encoder.
        name: its spec, without the layer.
        layer: "-2", "stage 1", or "" where it is taken as it was given.
    """

    encoder: Any
    name: str
    layer: str = ""

    @property
    def control(self) -> bool:
        """Its weights are random."""
        return getattr(self.encoder, "weights", "") == RANDOM

    @property
    def title(self) -> str:
        """Encoder and layer in one line."""
        return f"{self.name} [{self.layer}]" if self.layer else self.name

    @property
    def fingerprint(self) -> str:
        """32 hex digits: everything that decides the features of a picture."""
        full = registry.render(self.encoder, full=True)
        text = "\n".join((full, self.encoder.identity, f"pillow {version('pillow')}"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def subjects(
    encoders: Sequence[Any], layers: str = "", *, control: bool = False, device: str = "cpu"
) -> list[Subject]:
    """Every encoder at every layer that was asked for, each followed by its random-weight control
    where one was asked for.

    `layers` are numbers with commas, `all`, or `all:4` for every fourth counted from the last. They
    are `layer` of an encoder that has such a field (0 the embeddings, -1 the model's output), and
    single `stages` of one that has those. An encoder with neither (`filters`) is taken as it is.

    Raises:
        ValueError: no encoder, layers that cannot be read or do not exist, `all` of an encoder that
            does not say how many blocks it has, or a control of encoders that offer none.
    """
    if not encoders:
        raise ValueError("name at least one encoder; `regiontok ls encoder` lists them")
    found = []
    for given in encoders:
        encoder = build_encoder(given) if isinstance(given, str) else given
        encoder = encoder.on(device)
        found += _at_layers(encoder, layers.replace(" ", ""))
    offering = [subject for subject in found if hasattr(subject.encoder, "weights")]
    if control and not offering:
        names = ", ".join(dict.fromkeys(subject.name for subject in found))
        raise ValueError(
            f"no random-weight control of {names}: only encoders with the field weights='random' have one"
        )
    if control:
        found = [
            both
            for subject in found
            for both in ([subject, _control(subject)] if subject in offering else [subject])
        ]
    return list({subject.fingerprint: subject for subject in reversed(found)}.values())[
        ::-1
    ]  # the same features once


def _control(subject: Subject) -> Subject:
    random = replace(subject.encoder, weights=RANDOM)
    return Subject(random, registry.render(_bare(random)), subject.layer)


def _bare(encoder: Any) -> Any:
    """The encoder at its default layer: what its layers have in common."""
    known = {field.name: field.default for field in fields(encoder)}
    return replace(encoder, **{name: known[name] for name in ("stages", "layer") if name in known})


def _at_layers(encoder: Any, layers: str) -> list[Subject]:
    names = {field.name for field in fields(encoder)} if is_dataclass(encoder) else set()
    if layers and "stages" in names:
        count = _stages(encoder)
        bare = registry.render(_bare(encoder))
        chosen = [
            number % count if -count <= number < count else number
            for number in _numbers(layers, range(count), bare)
        ]
        return [
            Subject(replace(encoder, stages=(stage,)), bare, f"stage {stage}") for stage in chosen
        ]
    if layers and "layer" in names:
        blocks = encoder.blocks
        bare = registry.render(_bare(encoder))
        known = None if blocks is None else range(blocks + 1)
        return [
            Subject(replace(encoder, layer=layer), bare, str(layer))
            for layer in _numbers(layers, known, bare)
        ]
    return [Subject(encoder, registry.render(encoder))]


def _stages(encoder: Any) -> int:
    """How many stages there are: the encoder itself refuses the first that is not."""
    for stage in range(100):
        try:
            replace(encoder, stages=(stage,))
        except ValueError:
            return stage
    return 100


def _numbers(layers: str, known: range | None, whose: str) -> list[int]:
    """The numbers that `layers` asks for."""
    word, _, every = layers.partition(":")
    if word == "all":
        if known is None:
            raise ValueError(
                f"{whose} does not say how many blocks it has; name its layers, such as --layers -1,-2,-6"
            )
        if every and (not every.isdigit() or int(every) < 1):
            raise ValueError(f"expected all or all:N with N from 1 on, got {layers!r}")
        return sorted(known[:: -int(every or 1)])
    try:
        return list(dict.fromkeys(int(number) for number in layers.split(",")))
    except ValueError:
        raise ValueError(
            f"expected layers as numbers with commas (-1,-2), all, or all:4; got {layers!r}"
        ) from None
