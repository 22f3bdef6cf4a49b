"""Words, numbers and lists out of a job file's values, each mistake a fault with its line."""

from __future__ import annotations

import re
from typing import Any

from synthgen.jobs.tree import Faults, Value, known_pairs

_NAME = re.compile(r"\w[\w.-]{0,63}")


def safe_name(value: Value | None, default: str, what: str, faults: Faults, line: int = 1) -> str:
    """A word that can be a folder; `default` where there is none."""
    if value is None and default:
        default = re.sub(r"[^\w.-]+", "-", default).strip(".-") or "job"
        return default[:64]
    if value is None:
        faults.add(line, f"a step without {what}; give it one ({what}: tasks), its folder is called so")
        return ""
    if not isinstance(value.data, str):
        quoted = (
            "" if value.data is None or isinstance(value.data, list | dict) else f'; quote it: {what}: "{value.data}"'
        )
        faults.add(value.line, f"{what} must be text, this is {value.kind}{quoted}")
        return ""
    if not _NAME.fullmatch(value.data):
        rule = "letters, digits, - . and _, a letter or digit first, 64 at most"
        faults.add(value.line, f"{what} {value.data[:80]!r} is no name for a folder; use {rule}")
        return ""
    return value.data


def text(value: Value | None, what: str, faults: Faults) -> str | None:
    """The text of a value, None where there is none or it is at fault."""
    if value is None:
        return None
    if isinstance(value.data, str) and value.data.strip():
        return value.data
    shown = "empty" if value.data is None or isinstance(value.data, str) else value.kind
    faults.add(value.line, f"{what} must be text, this is {shown}")
    return None


def texts(value: Value | None, what: str, faults: Faults) -> tuple[str, ...]:
    """One text or a list of them; a number in the list is its text."""
    if value is None:
        return ()
    if isinstance(value.data, list):
        found = []
        for one in value.data:
            if isinstance(one.data, dict | list | bool) or one.data in (None, ""):
                faults.add(one.line, f"{what} must be a list of texts, this is {one.kind}")
            else:
                found.append(str(one.data))
        return tuple(found)
    one_text = text(value, what, faults)
    return () if one_text is None else (one_text,)


def number(
    value: Value | None,
    what: str,
    faults: Faults,
    *,
    whole: bool = False,
    low: float | None = None,
    above: float | None = None,
) -> float | None:
    """The number of a value, also where YAML takes it for text (2e6); None where there is none or it is at fault."""
    if value is None:
        return None
    found = _number(value.data)
    kind = "a whole number" if whole else "a number"
    if found is None or (whole and found != int(found)):
        shown = f" ({value.data!r})" if isinstance(value.data, str) else ""
        faults.add(value.line, f"{what} must be {kind}, this is {value.kind}{shown}")
        return None
    if (low is not None and found < low) or (above is not None and found <= above):
        bound = f"at least {low:g}" if low is not None else f"more than {above:g}"
        faults.add(value.line, f"{what} must be {bound}, this is {found:g}")
        return None
    return found


def _number(data: Any) -> float | None:
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        return None
    try:
        found = float(data)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 2**63 else None  # NaN too


def numbers(
    value: Value | None, what: str, keys: tuple[str, ...], faults: Faults, low: float | None = None
) -> dict[str, float]:
    """A mapping of numbers, all above 0 unless `low` is given."""
    if value is None:
        return {}
    if not isinstance(value.data, dict):
        faults.add(value.line, f"{what} must be a mapping of {', '.join(keys)}, this is {value.kind}")
        return {}
    found = {}
    for key, one in known_pairs(value, keys, what, faults):
        amount = number(one, f"{what}: {key}", faults, low=low, above=None if low is not None else 0)
        if amount is not None:
            found[key] = amount
    return found
