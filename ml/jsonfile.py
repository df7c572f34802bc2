"""Writing JSON files the one way."""

import json
import math
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Indented UTF-8 with a final line break; what is not a number (NaN) becomes null."""
    text = json.dumps(nan_to_null(value), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def nan_to_null(value: Any) -> Any:
    """The same nested value with None for every NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: nan_to_null(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_null(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
