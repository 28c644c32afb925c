"""Delimiters that are a token of the language model's vocabulary: which one, and its embedding.

After: OG-LLaVA, section 5.7 (row O7, as future work: the end-of-mask token as an entry of the
vocabulary).
Differs: nothing is added to the vocabulary: the token is one that it has and does not use (Llama 3
reserves 250 of them).
"""

from __future__ import annotations

import torch
from torch import nn

from regiontok.core.tokens import DELIMITER, Tokens
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings


def delimiter_token(settings: TokenizerSettings) -> str:
    """The text of the token that delimits masks; "" if none does.

    >>> delimiter_token(TokenizerSettings(place_tokens="delimiter(token='<eom>')"))
    '<eom>'
    """
    places = registry.build_pipeline("place", settings.place_tokens)
    return next((place.token for place in places if place.token), "")


def check_delimiter(settings: TokenizerSettings, token_id: int, vocabulary: int) -> None:
    """Raise if a delimiter of the vocabulary and its id do not fit.

    Args:
        settings: settings that may name a delimiter of the vocabulary.
        token_id: its id, or -1.
        vocabulary: tokens of the vocabulary.

    Raises:
        ValueError: If a delimiter of the vocabulary has no id in it, or there is an id without such
            a delimiter.
    """
    token = delimiter_token(settings)
    if token and not 0 <= token_id < vocabulary:
        raise ValueError(
            f"the delimiter {token!r} needs its id in the vocabulary of {vocabulary}: "
            f"delimiter_token_id is {token_id}"
        )
    if not token and token_id >= 0:
        raise ValueError(
            f"delimiter_token_id is {token_id}, but place_tokens names no token: say "
            "\"delimiter(token='...')\""
        )


def with_embeddings(tokens: Tokens, token_id: int, embed: nn.Module) -> Tokens:
    """The tokens with the embedding of `token_id` in each delimiter; it learns as embeddings do."""
    row = embed(torch.tensor([token_id], device=tokens.values.device)).to(tokens.values.dtype)
    return tokens.but(torch.where((tokens.kind == DELIMITER)[:, None], row, tokens.values))
