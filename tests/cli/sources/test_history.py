"""In a git work tree the files come by their last commit, and no setting of it runs a program."""

from __future__ import annotations

import subprocess

import pytest
from folders import git, paths, read, write

from jamba_cli.sources import history
from jamba_cli.sources.history import UNCOMMITTED, last_changes

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """README, a manifest, and code that was changed in another order than it is called."""
    root = write(tmp_path / "r", {"README.md": "# r\n", "src/a.py": "a = 1\n", "src/z.py": "z\n"})
    git(root, "init", "-q", "-b", "main")

    def at(seconds: int, files: dict[str, str | bytes]) -> None:
        write(root, files)
        stamp = f"{seconds} +0000"
        monkeypatch.setenv("GIT_COMMITTER_DATE", stamp)
        git(root, "add", "-A")
        git(root, *IDENTITY, "commit", "-q", "-m", "x", "--date", stamp)

    at(1_100_000_000, {})
    at(1_200_000_000, {"pyproject.toml": "[project]\n", "src/b.py": "b = 1\n"})
    at(1_300_000_000, {"src/a.py": "a = 2\n"})
    return root, at


def test_what_was_changed_longest_ago_comes_first(repository):
    root, _ = repository
    assert paths(read(root)) == ["README.md", "pyproject.toml", "src/z.py", "src/b.py", "src/a.py"]


def test_what_is_not_committed_comes_last(repository):
    root, _ = repository
    write(root, {"src/z.py": "z changed\n", "new.py": "n\n", "staged.py": "s\n"})
    git(root, "add", "staged.py")
    assert paths(read(root)) == [
        "README.md", "pyproject.toml", "src/b.py", "src/a.py",
        "new.py", "src/z.py", "staged.py",
    ]  # fmt: skip


def test_an_edit_leaves_everything_before_it_where_it_was(repository):
    root, at = repository
    before = paths(read(root))
    at(1_400_000_000, {"src/b.py": "b = 2\n"})
    after = paths(read(root))
    assert after[:3] == before[:3]
    assert after[-1] == "src/b.py"


def test_the_tree_of_files_does_not_change_with_the_order(repository):
    root, at = repository
    before = read(root).outline
    at(1_400_000_000, {"src/b.py": "b = 2\n"})
    assert read(root).outline == before
    assert before.index("README.md") < before.index("pyproject.toml") < before.index("a.py")


def test_a_merge_counts_as_one_change_on_the_main_line(repository):
    root, at = repository
    git(root, "checkout", "-q", "-b", "side")
    at(1_350_000_000, {"src/z.py": "side\n"})
    git(root, "checkout", "-q", "main")
    at(1_400_000_000, {"src/b.py": "b = 3\n"})
    git(root, *IDENTITY, "merge", "-q", "--no-ff", "-m", "merge", "side")
    times = last_changes(root, ["src/z.py", "src/b.py"], largest=10**6)
    assert times == {"src/z.py": 1_400_000_000, "src/b.py": 1_400_000_000}


def test_a_folder_inside_a_repository_has_its_own_paths(repository):
    root, _ = repository
    times = last_changes(root / "src", ["a.py", "b.py", "z.py"], largest=10**6)
    assert times == {"a.py": 1_300_000_000, "b.py": 1_200_000_000, "z.py": 1_100_000_000}


def test_without_a_history_the_order_is_by_kind_and_path(repository, tmp_path, monkeypatch):
    root, _ = repository
    plain = write(tmp_path / "plain", {"z.py": "z\n", "a.py": "a\n", "CHANGES": "c\n"})
    assert last_changes(plain, ["z.py"], largest=10**6) is None
    assert paths(read(plain)) == ["a.py", "z.py", "CHANGES"]
    monkeypatch.setattr(history, "TIMEOUT_S", -1.0)  # as if it took too long
    assert last_changes(root, ["src/a.py"], largest=10**6) is None
    empty = write(tmp_path / "empty", {"b.py": "b\n"})
    git(empty, "init", "-q")
    assert last_changes(empty, ["b.py"], largest=10**6) is None


def test_large_files_are_not_compared_and_odd_names_are_found(repository):
    root, at = repository
    odd = "src/ä \n\x01 9\n.py"
    at(1_500_000_000, {odd: "odd\n"})
    write(root, {"src/z.py": "changed\n", odd: "changed\n"})
    times = last_changes(root, ["src/z.py", odd], largest=3)
    assert times == {"src/z.py": 1_100_000_000, odd: 1_500_000_000}
    times = last_changes(root, ["src/z.py", odd], largest=10**6)
    assert times == {"src/z.py": UNCOMMITTED, odd: UNCOMMITTED}


def test_no_setting_of_the_repository_runs_a_program(repository, tmp_path):
    root, at = repository
    marker = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    at(1_400_000_000, {".gitattributes": "*.py filter=evil diff=evil\n"})
    for key in (
        "filter.evil.clean", "filter.evil.process", "diff.evil.command", "diff.evil.textconv",
        "gpg.program", "core.pager", "pager.log", "diff.external", "core.sshCommand",
    ):  # fmt: skip
        git(root, "config", key, str(program))
    git(root, "config", "log.showSignature", "true")
    write(root, {"src/a.py": "a = 9\n"})
    subprocess.run(["git", "-C", str(root), "diff", "--name-only"], capture_output=True)
    assert marker.exists()  # so it would have run
    marker.unlink()
    assert paths(read(root))[-1] == "src/a.py"
    assert not marker.exists()
