"""How are settings and results recorded? As immutable, validated records."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

DiscriminatorNorm = Literal["batch", "none", "spectral"]


class FrozenRecord(BaseModel):
    """An immutable record that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
