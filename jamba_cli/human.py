"""Numbers as people write and read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_BYTE_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)


def parse_count(text: str) -> int:
    """A number of tokens: `4096`, `16k`, `1.5M`; k, M and G are powers of 1024.

    Raises ValueError for anything else, for zero and for what is not a whole number.
    """
    return _parse(text, _COUNT, _FACTORS, "number", "4096, 16k or 1.5M")


def parse_bytes(text: str) -> int:
    """A number of bytes: `500M`, `1.5 GB`; k, M, G and T are powers of 1000, as in `format_bytes`.

    Raises ValueError for anything else, for zero and for what is not a whole number.
    """
    such_as = "500M or 50G (k, M, G, T: powers of 1000)"
    return _parse(text, _BYTES, _BYTE_FACTORS, "number of bytes", such_as)


def _parse(
    text: str, pattern: re.Pattern[str], factors: Mapping[str, int], what: str, such_as: str
) -> int:
    """A number and its unit, which are the pattern's two groups."""
    match = pattern.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if match is None:
        raise ValueError(f"'{text}' is not a {what} such as {such_as}")
    value = Decimal(match[1]) * factors[match[2].lower()]
    if value < 1 or value != int(value):
        raise ValueError(f"'{text}' is not a whole {what} above zero")
    return int(value)


def format_bytes(count: float) -> str:
    """Bytes in powers of 1000: `812 B`, `2.1 MB`, `47 MB`, `103 GB`."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:.0f} {unit}"


def format_seconds(seconds: float) -> str:
    """A duration: `0.2 s`, `9.8 s`, `1 min 05 s`, `2 h 03 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_rate(count: float, seconds: float) -> str:
    """Things a second, without the unit: `418`, `7.3`, `12,000`; `-` before any time has passed."""
    if seconds <= 0:
        return "-"
    rate = count / seconds
    return f"{rate:.1f}" if rate < 9.95 else f"{rate:,.0f}"


def format_age(seconds: float) -> str:
    """How long ago: `just now`, `5 min ago`, `3 h ago`, `12 days ago`."""
    for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min")):
        count = int(seconds // size)
        if count >= 1:
            plural = "s" if unit == "day" and count > 1 else ""
            return f"{count} {unit}{plural} ago"
    return "just now"
