"""Settings models that refuse an unknown key and name the nearest right one."""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `; did you mean 'x'?` when something known is near, else the list of what is known."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known are: {', '.join(sorted(known))}"


class Strict(BaseModel):
    """Base of all settings: frozen, and an unknown or misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, values: Any) -> Any:
        known = [name for key, field in cls.model_fields.items() for name in (key, field.alias) if name]
        if isinstance(values, dict):
            for key in values:
                if key not in known:
                    message = f"unknown key '{key}'{did_you_mean(str(key), known)}"
                    raise PydanticCustomError("unknown_key", "{message}", {"message": message, "key": str(key)})
        return values
