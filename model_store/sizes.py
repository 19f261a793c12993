"""Sizes as people write them."""

import re

from model_store.errors import UsageError

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)}
_UNITS |= {f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Bytes: `50GB` (10⁹), `50GiB` (2³⁰), `1.5TB` or a plain number of bytes; raises UsageError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2] if match and match[2] != "KB" else "kB") if match else None
    size = int(float(match[1]) * unit) if match and unit is not None else 0
    if size <= 0:
        units = ", ".join(unit for unit in _UNITS if unit)
        raise UsageError(f"{text!r} is not a size.", f"Write a number above zero and a unit, 50GB or 50GiB ({units}).")
    return size
