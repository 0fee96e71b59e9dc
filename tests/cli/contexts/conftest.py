"""A tiny model, a document, and commands on both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny_model import TEXT, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("models") / "tiny", context=6000))


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "cache" / "jamba" / "contexts"


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def ask(here, model):
    """The JSON result of a question; `ask(..., said=[...])` also gives what stood on stderr."""

    def run(*argv: str, command: str = "ask", said: list[str] | None = None, **environ: str):
        done = here(command, *argv, "-m", model, "--max-tokens", "12", "--json", **environ)
        assert done.returncode == 0, done.stderr
        if said is not None:
            said += done.stderr.splitlines()
        return json.loads(done.stdout)

    return run


@pytest.fixture
def ingested(here, model, notes):
    done = here("ingest", "notes.txt", "--name", "notes", "-m", model)
    assert done.returncode == 0, done.stderr
    return done
