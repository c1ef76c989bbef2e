"""What a Struct holds, as JSON that says what its writer meant."""

from typing import Any

# Up to here every whole number is one double, and a double is no other whole number.
_EXACT = 2.0**53


def whole_numbers(value: Any) -> Any:
    """Return JSON with whole numbers written as such: a Struct knows floating point only."""
    if isinstance(value, dict):
        return {key: whole_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [whole_numbers(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value
