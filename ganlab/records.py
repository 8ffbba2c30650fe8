"""What are settings and results recorded in? Immutable, validated records."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

DiscriminatorNorm = Literal["batch", "none", "spectral"]


class FrozenRecord(BaseModel):
    """An immutable record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
