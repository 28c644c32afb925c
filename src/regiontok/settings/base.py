"""The base of all settings: frozen, and strict about names and types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Settings that refuse unknown keys and values of another type, and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
