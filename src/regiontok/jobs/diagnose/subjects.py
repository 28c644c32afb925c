"""What `regiontok diagnose` judges: encoders at chosen layers, and the same with random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from regiontok.methods import Encoder
from regiontok.settings import registry
from regiontok.tokenizer.regionizer import resolve_encoder


@dataclass(frozen=True, eq=False)
class Subject:
    """One encoder at one layer.

    Attributes:
        encoder: a built encoder.
        name: its spec, without the layer.
        layer: the name of the layer ("-2", "stage 1"), or "" where the encoder is taken as it is.
    """

    encoder: Encoder
    name: str
    layer: str = ""

    @property
    def control(self) -> bool:
        """True if its weights are random."""
        return self.encoder.is_untrained

    @property
    def title(self) -> str:
        """Encoder and layer in one line."""
        return f"{self.name} [{self.layer}]" if self.layer else self.name

    @property
    def fingerprint(self) -> str:
        """A hash, 32 hexadecimal digits, of all that decides the features of a picture."""
        full = registry.render(self.encoder, full=True)
        text = "\n".join((full, self.encoder.identity, f"pillow {version('pillow')}"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def subjects(
    encoders: Sequence[Encoder | str],
    layers: str = "",
    *,
    control: bool = False,
    device: str = "cpu",
) -> list[Subject]:
    """Every encoder at every chosen layer, each followed by its random-weight control if asked for.

    Args:
        encoders: specs, or built encoders.
        layers: numbers with commas, `all`, or `all:4` for every fourth counted from the last. They
            are numbers of `Encoder.layers`; negative ones count from the last. An encoder that has
            no choice of layers (`filters`) is taken as it is.
        control: whether to add controls.
        device: where the encoders run.

    Raises:
        ValueError: If there is no encoder, if layers cannot be read or do not exist, or if a
            control is asked for and no encoder offers one.
    """
    if not encoders:
        raise ValueError("name at least one encoder; `regiontok ls encoder` lists them")
    judged: list[Subject] = []
    for encoder in encoders:
        judged += _at_layers(resolve_encoder(encoder).on(device), layers.replace(" ", ""))
    if control:
        judged = _with_controls(judged)
    first_by_features = {subject.fingerprint: subject for subject in reversed(judged)}
    return list(first_by_features.values())[::-1]


def _with_controls(judged: Sequence[Subject]) -> list[Subject]:
    """Each subject, followed by the same network with random weights where it offers that."""
    pairs = [(subject, _control(subject)) for subject in judged]
    if all(untrained is None for _, untrained in pairs):
        names = ", ".join(dict.fromkeys(subject.name for subject in judged))
        raise ValueError(
            f"no random-weight control of {names}: only encoders with the field weights='random' "
            "have one"
        )
    return [subject for pair in pairs for subject in pair if subject is not None]


def _control(subject: Subject) -> Subject | None:
    encoder = subject.encoder.untrained()
    if encoder is None:
        return None
    return Subject(encoder, registry.render(encoder.at_layer(None)), subject.layer)


def _at_layers(encoder: Encoder, layers: str) -> list[Subject]:
    """The encoder at every layer that `layers` names, or as it is."""
    if not layers or encoder.layers is None:
        return [Subject(encoder, registry.render(encoder))]
    name = registry.render(encoder.at_layer(None))
    variants = [encoder.at_layer(number) for number in _numbers(layers, encoder.layers)]
    return [Subject(variant, name, variant.layer_name) for variant in variants]


def _numbers(layers: str, available: range) -> list[int]:
    """The numbers that `layers` names."""
    word, _, interval = layers.partition(":")
    if word == "all":
        if interval and (not interval.isdigit() or int(interval) < 1):
            raise ValueError(f"expected all or all:N with N from 1 on, got {layers!r}")
        return sorted(available[:: -int(interval or 1)])
    try:
        return list(dict.fromkeys(int(number) for number in layers.split(",")))
    except ValueError:
        raise ValueError(
            f"expected layers as numbers with commas (-1,-2), all, or all:4; got {layers!r}"
        ) from None
