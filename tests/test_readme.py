"""Every command that the README shows is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jamba_cli.prompts import NOT_FOUND

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
MAKE = [command for command in COMMANDS if command.startswith("make ")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder that looks like the repository, so that what a command writes stays out of it."""
    folder = tmp_path_factory.mktemp("clone")
    for path in ROOT.iterdir():
        if path.name not in (".venv", "scratch"):
            (folder / path.name).symlink_to(path)
    return folder


def run(command: str, clone: Path) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(clone),
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=clone, env=environ,
        capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("command", dict.fromkeys(c for c in COMMANDS if c not in MAKE))
def test_a_command_of_the_readme_works(command, clone):
    done = run(command, clone)
    left_early = "| head" in command and done.returncode == 141
    assert done.returncode == 0 or left_early, done.stderr
    assert "Traceback" not in done.stderr
    if " -o " in command:
        assert (clone / command.split(" -o ")[1].split()[0]).read_text().strip()
    else:
        assert done.stdout.strip()
        assert NOT_FOUND not in done.stdout


def test_the_make_commands_are_the_ones_that_ci_runs():
    assert MAKE == ["make demo", "make test"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in MAKE:
        assert command in script.splitlines()
        assert f"\n{command.removeprefix('make ')}: $(STAMP)" in targets


def test_the_demo_is_the_first_command_of_the_readme():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert COMMANDS[0].removeprefix("jamba ") in makefile


def test_every_link_of_the_documents_leads_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_of_the_code_that_a_document_names_is_there():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:jamba_cli|runtime|quant|tests)/[\w./-]*)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
