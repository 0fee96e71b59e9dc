"""What a command works with: flag > JAMBA_* environment > config.toml > default.

config.toml lies in the user's configuration directory (`jamba doctor` names it); JAMBA_CONFIG
names another file.  A key that nobody knows is an error, never ignored.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jamba_cli.human import parse_bytes, parse_count
from jamba_cli.terminal import visible
from runtime.errors import UsageError


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a number such as 4096 or 16k")
    return parse_count(str(value))


def _bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a number of bytes such as 500M or 50G")
    return parse_bytes(str(value))


def _switch(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value)

    return parse


def parse_device(value: object) -> str:
    """A device name: auto, cpu, cuda, cuda:N or mps; anything else is a ValueError."""
    kind, colon, index = str(value).partition(":")
    plain = not colon and kind in ("auto", "cpu", "cuda", "mps")
    if plain or (kind == "cuda" and index.isdecimal()):
        return str(value)
    raise ValueError("must be auto, cpu, cuda, cuda:N or mps")


def _setting(default: object, parse: Callable[[object], object]) -> Any:
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, slots=True)
class Settings:
    """The values in force; counts are tokens, those of the quota bytes.

    None leaves the choice to the command or model.
    """

    model: str = _setting("nano", _name)
    device: str = _setting("auto", parse_device)
    color: str = _setting("auto", _one_of("auto", "always", "never"))
    progress: bool = _setting(True, _switch)
    scheme: str | None = _setting(None, _one_of("none", "int8", "fp8", "nf4", "w8a8"))
    context: int | None = _setting(None, _count)
    chunk_tokens: int | None = _setting(None, _count)
    max_tokens: int | None = _setting(None, _count)
    over_budget: str = _setting("windows", _one_of("windows", "fail", "drop"))
    save: bool = _setting(True, _switch)
    context_quota: int = _setting(20_000_000_000, _bytes)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)


_PARSERS: dict[str, Callable[[object], object]] = {
    item.name: item.metadata["parse"] for item in fields(Settings) if item.metadata
}


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where config.toml is looked for."""
    if named := environ.get("JAMBA_CONFIG"):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("jamba") / "config.toml"


def contexts_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where saved contexts lie; JAMBA_CONTEXTS names another folder."""
    if named := environ.get("JAMBA_CONTEXTS"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("jamba") / "contexts"


def load_settings(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings in force; a flag of None was not given.

    Raises UsageError that names the key and where it stands.  `origins` of the result says where
    each value that is not a default came from.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    path = config_path(environ)
    layers = (
        (_read_config(path, required="JAMBA_CONFIG" in environ), visible(str(path)), "{}"),
        (_read_environ(environ), "environment", "JAMBA_{}"),
        (given, "command line", "--{}"),
    )
    for layer, origin, shape in layers:
        for key, value in layer.items():
            values[key] = _parse(key, value, origin, shape)
            origins[key] = origin
    return Settings(**values, origins=origins)  # type: ignore[arg-type]


def _parse(key: str, value: object, origin: str, shape: str) -> object:
    if key not in _PARSERS:
        raise UsageError(
            f"{origin}: '{visible(key)}' is not a setting",
            hint=f"the settings are {', '.join(_PARSERS)}",
        )
    shown = shape.format(key.upper() if shape.startswith("J") else key)
    shown = shown.replace("_", "-") if shape.startswith("-") else shown
    try:
        return _PARSERS[key](value)
    except ValueError as error:
        text = visible(str(value))
        raise UsageError(f"{origin}: {shown} = {text}: {error}") from error


def _read_environ(environ: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {
        key: environ[f"JAMBA_{key.upper()}"]
        for key in _PARSERS
        if environ.get(f"JAMBA_{key.upper()}")
    }
    if "color" not in found and (environ.get("NO_COLOR") or environ.get("JAMBA_NO_COLOR")):
        found["color"] = "never"
    if "save" not in found and environ.get("JAMBA_NO_SAVE"):
        found["save"] = False
    return found


def _read_config(path: Path, *, required: bool) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise UsageError(f"JAMBA_CONFIG: {visible(str(path))}: no such file") from None
        return {}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{visible(str(path))}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{visible(str(path))}: can't be read: {error}") from error
