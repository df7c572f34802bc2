"""Whether values fit the schema of a recipe."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DECIDED_HERE = frozenset(
    {
        *(".reading_task", ".version", ".name", ".serves"),
        *("data.split", "data.tune_fraction", "data.test_fraction", "data.leave_out"),
        "network.init",
    }
)
"""What nobody is asked: the snapshot says the sides and what is left out, the run's number makes
the version, and the start is asked for by itself."""

TEXT_LENGTH_MAX = 200


def keys(schema: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What may be changed, by `table.key`, in order."""
    for table in schema:
        for key in table["keys"]:
            name = f"{table['name']}.{key['name']}"
            if name not in DECIDED_HERE:
                yield name.removeprefix("."), key


def check(schema: Sequence[Mapping[str, Any]], overrides: Mapping[str, Any]) -> dict[str, str]:
    """Of each override what is wrong with it, empty where nothing is: `unknown`, `type` or
    `choice`."""
    known = dict(keys(schema))
    return {
        name: _wrong(known[name], value) if name in known else "unknown"
        for name, value in overrides.items()
    }


def _wrong(key: Mapping[str, Any], value: Any) -> str:
    if not _is_of(key["type"], value):
        return "type"
    return "choice" if key["choices"] and value not in key["choices"] else ""


def _is_of(kind: str, value: Any) -> bool:
    match kind:
        case "floats":
            return isinstance(value, list) and all(_is_of("float", one) for one in value)
        case "float":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and math.isfinite(value)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str) and len(value) <= TEXT_LENGTH_MAX
