"""Runs the real entry point, in a process of its own and with a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from entry_point import EXTRA, hermetic_environ

Jamba = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return hermetic_environ(tmp_path)


@pytest.fixture
def jamba(tmp_path: Path) -> Jamba:
    """`jamba("tokens", "a.py", stdin="…", NO_COLOR="1")`; capitals are environment variables."""

    def run(*argv: str, stdin: str = "", extra: bool = False, **environ: str):
        command = [sys.executable, str(EXTRA)] if extra else [sys.executable, "-m", "jamba_cli"]
        return subprocess.run(
            [*command, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=hermetic_environ(tmp_path, **environ),
        )

    return run


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """As `jamba`, in this process: for what does not depend on a start of its own."""
    from jamba_cli.app import main

    def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        for name in [name for name in os.environ if name.startswith("JAMBA_")]:
            monkeypatch.delenv(name)
        for name, value in hermetic_environ(tmp_path, **environ).items():
            if name != "PATH":
                monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = main(argv)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(argv, code, out, err)

    return run
