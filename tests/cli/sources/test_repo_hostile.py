"""Folders made to trap a reader: links, pipes, odd names, settings that run programs."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from jamba_cli.sources.globs import Globs
from jamba_cli.sources.repo import list_folder
from jamba_cli.sources.resolve import ReadOptions, read_sources
from runtime.errors import InputError
from tests.cli.sources.folders import git, paths, read, reasons, write

NO_GLOBS = Globs((), option="--include")


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@contextmanager
def unprivileged():
    """Root may read everything; for this test be nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder():
    """A folder that nobody may enter and read, unlike pytest's own."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    yield root
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(root)


def test_patterns_made_to_hang_are_passed_over(tmp_path):
    name = "a" * 250
    traps = "*a*a*a*a*a*a*a*a*b\n**/a/**/a/**/a/**/a/**/b\n*.c*\n"
    write(tmp_path, {".gitignore": traps, name: "x\n", "x.cc": ""})
    started = time.perf_counter()
    assert set(list_folder(tmp_path, NO_GLOBS).files) == {".gitignore", name}
    assert time.perf_counter() - started < 5


def test_settings_of_a_hostile_repository_run_nothing(tmp_path):
    marker = tmp_path / "ran"
    root = write(tmp_path / "repo", {"a.py": "a\n"})
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "config", "core.fsmonitor", f"touch '{marker}'; false")
    git(root, "ls-files", "-o", "--exclude-standard")
    assert marker.exists()  # so it would have run
    marker.unlink()
    assert paths(read(root)) == ["a.py"]
    assert not marker.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_owner_is_walked_with_a_warning(tmp_path):
    root = write(tmp_path / "repo", {"a.py": "a\n", "b.log": "b\n", ".gitignore": "*.log\n"})
    git(root, "init", "-q")
    os.chown(root, 65534, 65534)
    document = read(root)
    assert paths(document) == [".gitignore", "a.py"]
    assert len(document.warnings) == 1
    assert "repo: listed without git" in document.warnings[0]
    assert "dubious ownership" in document.warnings[0]


def test_a_damaged_repository_is_walked_with_a_warning(tmp_path):
    root = write(tmp_path / "repo", {"a.py": "a\n", ".git/HEAD": "junk"})
    document = read(root)
    assert paths(document) == ["a.py"]
    assert "listed without git" in document.warnings[0]


@pytest.mark.parametrize("with_git", [True, False])
def test_links_are_not_followed_and_loops_end(tmp_path, with_git):
    write(tmp_path, {"outside/secret.txt": "secret\n", "repo/a.py": "a\n", "repo/d/b.py": "b\n"})
    root = tmp_path / "repo"
    links = {
        "loop": ".",
        "d/up": "..",
        "out": "../outside",
        "out.txt": "../outside/secret.txt",
        "to_a.py": "a.py",
        "broken": "nowhere",
        "self": "self",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    if with_git:
        git(root, "init", "-q")
    document = read(root)
    assert paths(document) == ["a.py", "d/b.py"]
    assert reasons(document) == {
        "loop": "link inside the folder",
        "d/up": "link inside the folder",
        "out": "link out of the folder",
        "out.txt": "link out of the folder",
        "to_a.py": "link inside the folder",
        "broken": "broken link",
        "self": "broken link",
    }


def test_a_tracked_folder_that_became_a_link_is_not_followed(tmp_path):
    write(tmp_path, {"outside/x.py": "secret\n", "repo/a.py": "a\n", "repo/d/x.py": "x\n"})
    root = tmp_path / "repo"
    git(root, "init", "-q")
    git(root, "add", ".")
    shutil.rmtree(root / "d")
    (root / "d").symlink_to("../outside")
    document = read(root)
    assert paths(document) == ["a.py"]
    assert reasons(document)["d/x.py"] == "behind a link"
    assert not any("secret" in part.text for part in document.parts)


def test_pipes_sockets_and_huge_files_do_not_stop_the_reading(tmp_path):
    write(tmp_path, {"a.py": "a\n"})
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server, (tmp_path / "huge.txt").open("wb") as huge:
        server.bind(str(tmp_path / "sock"))
        huge.truncate(5 * 2**30)
        huge.seek(0)
        huge.write(b"text\n" * 2000)
        huge.flush()
        document = read(tmp_path)
    assert paths(document) == ["a.py"]
    assert reasons(document) == {
        "pipe": "a named pipe",
        "sock": "a socket",
        "huge.txt": "too large (5 GiB, the limit is 20 MiB)",
    }


def test_unreadable_files_and_folders_are_named(public_folder):
    write(public_folder, {"a.py": "a\n", "b.py": "b\n", "d/c.py": "c\n"})
    (public_folder / "b.py").chmod(0)
    (public_folder / "d").chmod(0)
    with unprivileged():
        document = read(public_folder)
        with pytest.raises(InputError, match=r"b\.py: unreadable \(Permission denied\)"):
            read_sources([str(public_folder / "b.py")], ReadOptions())
    assert paths(document) == ["a.py"]
    assert reasons(document) == {
        "b.py": "unreadable (Permission denied)",
        "d/": "unreadable (Permission denied)",
    }


def test_a_file_that_vanishes_while_reading_is_named(tmp_path):
    write(tmp_path, {"a.py": "a\n", "b.py": "b\n", "c.py": "c\n"})

    def vanish(progress):
        if progress.path == "a.py":
            (tmp_path / "b.py").unlink()

    document = read_sources([str(tmp_path)], ReadOptions(), on_progress=vanish)
    assert paths(document) == ["a.py", "c.py"]
    assert reasons(document) == {"b.py": "vanished while reading"}


@pytest.mark.parametrize("with_git", [True, False])
def test_names_are_shown_without_control_characters(tmp_path, with_git):
    names = {
        b"new\nline.py": "new\\nline.py",
        b"esc\x1b[31m.py": "esc\\x1b[31m.py",
        b"latin\xe9.py": "latin\\xe9.py",
        "\u202egpj.py".encode(): "\\u202egpj.py",
        "größe ok.py".encode(): "größe ok.py",
    }
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("x = 1\n")
    if with_git:
        git(tmp_path, "init", "-q")
    document = read(tmp_path)
    assert sorted(paths(document)) == sorted(names.values())
    assert document.outline.isprintable() or set(document.outline) - {"\n"} == {
        char for char in document.outline if char.isprintable()
    }


@pytest.fixture
def deep_folder():
    """Removed by `rm`, because deeper trees than Python's recursion limit break pytest's own."""
    root = Path(tempfile.mkdtemp())
    yield root
    subprocess.run(["rm", "-rf", str(root)], check=True)


def test_deep_nesting_is_read(deep_folder):
    # Deeper than Python's recursion limit, shorter than the system's longest path.
    depth = 1500
    here = os.open(deep_folder, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        bottom = os.open("a.py", os.O_WRONLY | os.O_CREAT, dir_fd=here)
        os.write(bottom, b"deep\n")
        os.close(bottom)
    finally:
        os.close(here)
    write(deep_folder, {"b.py": "b\n"})
    document = read(deep_folder)
    assert paths(document) == ["b.py", "d/" * depth + "a.py"]
    assert document.outline.splitlines()[-1].strip() == "a.py"


def test_files_and_folders_deeper_than_a_path_can_be_are_named(deep_folder):
    name = "n" * 250
    here = os.open(deep_folder, os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir(name, dir_fd=here)
            inner = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    finally:
        os.close(here)
    write(deep_folder, {"b.py": "b\n"})
    document = read(deep_folder)
    assert paths(document) == ["b.py"]
    assert list(reasons(document).values()) == ["unreadable (File name too long)"]
