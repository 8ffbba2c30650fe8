"""What are settings and results recorded in? Immutable, validated records."""

from pydantic import BaseModel, ConfigDict


class FrozenRecord(BaseModel):
    """An immutable record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
