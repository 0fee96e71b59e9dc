"""Which files of a folder are read: ignore rules, links, special files, credentials, order."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from jamba_cli.sources.document import Document
from jamba_cli.sources.globs import Globs
from jamba_cli.sources.repo import list_folder
from jamba_cli.sources.resolve import ReadOptions, read_sources
from runtime.errors import InputError, UsageError

NO_GLOBS = Globs((), option="--include")

TRUTH = {
    ".gitignore",
    "LICENSE",
    "README.md",
    "a/.gitignore",
    "a/important.txt",
    "blob",
    "docs/gen.md",
    "docs/latin1.c",
    "docs/utf16.txt",
    "src/keep.log",
    "src/main.py",
    "src/util.py",
    "tracked.log",
}


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def without_git(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    assert shutil.which("git") is None


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def read(root: Path, **options) -> Document:
    return read_sources([str(root)], ReadOptions(**options))


def paths(document: Document) -> list[str]:
    return [part.path for part in document.parts]


def reasons(document: Document) -> dict[str, str]:
    return {item.path: item.reason for item in document.skipped}


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


@pytest.fixture
def peers_repository(tmp_path) -> Path:
    """The case of cli.md 5.1, on which every packer errs."""
    root = write(
        tmp_path / "repo",
        {
            ".gitignore": "*.log\n!keep.log\n/gen.md\nbuild/\n",
            "LICENSE": "free\n",
            "README.md": "# Read\n",
            "a/.gitignore": "*.txt\n!important.txt\n",
            "a/important.txt": "important\n",
            "a/x.txt": "x\n",
            "blob": b"\x7fELF\0\0\0",
            "build/out.py": "out = 1\n",
            "docs/gen.md": "not the anchored one\n",
            "docs/latin1.c": "/* déjà vu */\n".encode("latin-1"),
            "docs/utf16.txt": "größe\nzwei\n".encode("utf-16"),
            "gen.md": "generated\n",
            "info.md": "of info/exclude\n",
            "src/debug.log": "debug\n",
            "src/keep.log": "kept\n",
            "src/main.py": "print('main')\n",
            "src/util.py": "x = 1\n",
            "tracked.log": "tracked although ignored\n",
            ".venv/.gitignore": "*\n",
            ".venv/lib/x.py": "x = 1\n",
        },
    )
    git(root, "init", "-q")
    (root / ".git/info/exclude").write_text("info.md\n")
    git(root, "add", "-f", "tracked.log", "src/main.py")
    return root


def test_git_and_this_agree_on_the_13_files(peers_repository):
    told = git(peers_repository, "ls-files", "-co", "--exclude-standard").split()
    assert set(told) == TRUTH
    assert set(list_folder(peers_repository, NO_GLOBS).files) == TRUTH


def test_without_git_only_the_tracked_but_ignored_file_is_missing(peers_repository, without_git):
    found = list_folder(peers_repository, NO_GLOBS)
    assert set(found.files) == TRUTH - {"tracked.log"}


def test_encodings_and_binaries_of_the_13_files(peers_repository):
    document = read(peers_repository)
    text = {part.path: part.text for part in document.parts}
    assert set(text) == TRUTH - {"blob"}
    assert reasons(document) == {"blob": "binary"}
    assert text["docs/latin1.c"] == "/* déjà vu */\n"
    assert text["docs/utf16.txt"] == "größe\nzwei\n"
    assert document.warnings == ("docs/latin1.c: not UTF-8; read as Windows-1252 (a guess)",)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_sub_folder_follows_the_rules_above_it(peers_repository, hidden, monkeypatch, tmp_path):
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert sorted(paths(read(peers_repository / "src"))) == ["keep.log", "main.py", "util.py"]


@pytest.mark.parametrize("hidden", [False, True])
def test_an_ignored_folder_is_read_when_named(peers_repository, hidden, monkeypatch, tmp_path):
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert paths(read(peers_repository / "build")) == ["out.py"]


@pytest.mark.parametrize("hidden", [False, True])
def test_include_brings_ignored_files_back(peers_repository, hidden, monkeypatch, tmp_path):
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "src/debug.log" in paths(read(peers_repository, include=("*.log",)))
    assert "build/out.py" in paths(read(peers_repository, include=("build/**",)))
    with_python = paths(read(peers_repository, include=("*.py",)))
    assert "build/out.py" in with_python
    assert ".venv/lib/x.py" not in with_python
    assert ".venv/lib/x.py" in paths(read(peers_repository, include=(".venv/**",)))
    assert "gen.md" not in paths(read(peers_repository, include=("*", "**/*")))


@pytest.mark.parametrize("hidden", [False, True])
def test_jambaignore_holds_for_tracked_files_too(peers_repository, hidden, monkeypatch, tmp_path):
    write(peers_repository, {".jambaignore": "src/\n*.c\n", "docs/.jambaignore": "!latin1.c\n"})
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    found = paths(read(peers_repository))
    assert "src/main.py" not in found
    assert "docs/latin1.c" in found
    assert paths(read(peers_repository, include=("src/main.py",))).count("src/main.py") == 1
    with pytest.raises(UsageError, match="--exclude: not a valid pattern"):
        read(peers_repository, exclude=("!",))


def test_rules_below_an_ignored_folder_take_nothing_back(tmp_path):
    write(
        tmp_path,
        {
            ".gitignore": b"\xef\xbb\xbfout/\r\n*.tmp\r\n!\r\n",
            "out/.gitignore": "!kept.py\n",
            "out/kept.py": "x\n",
            "in/a.tmp": "x\n",
            "in/a.py": "x\n",
        },
    )
    assert set(list_folder(tmp_path, NO_GLOBS).files) == {".gitignore", "in/a.py"}


def test_patterns_made_to_hang_are_passed_over(tmp_path):
    name = "a" * 250
    write(
        tmp_path,
        {
            ".gitignore": "*a*a*a*a*a*a*a*a*b\n**/a/**/a/**/a/**/a/**/b\n*.c*\n",
            name: "x\n",
            "x.cc": "",
        },
    )
    started = time.perf_counter()
    assert set(list_folder(tmp_path, NO_GLOBS).files) == {".gitignore", name}
    assert time.perf_counter() - started < 5


def test_the_git_file_of_a_work_tree_is_not_read(tmp_path):
    write(tmp_path, {".git": "gitdir: /nowhere\n", "a.py": "a\n"})
    document = read(tmp_path)
    assert paths(document) == ["a.py"]
    assert "listed without git" in document.warnings[0]


def test_exclude_is_named_and_beats_include(tmp_path):
    write(tmp_path, {"a.py": "a\n", "b.py": "b\n"})
    document = read(tmp_path, include=("*.py",), exclude=("b.py",))
    assert paths(document) == ["a.py"]
    assert reasons(document) == {"b.py": "--exclude"}


def test_repositories_inside_are_listed_by_their_own_rules(tmp_path):
    root = write(tmp_path / "outer", {"a.py": "a\n", ".gitignore": "*.skip\n"})
    for name in ("module", "clone"):
        write(root / name, {"in.py": "b\n", "out.tmp": "t\n", ".gitignore": "*.tmp\n"})
        git(root / name, "init", "-q")
        git(root / name, "add", ".")
    git(root / "module", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m")
    git(root, "init", "-q")
    git(root, "-c", "advice.addEmbeddedRepo=false", "add", "module", "a.py")
    told = git(root, "ls-files", "--stage", "module")
    assert told.startswith("160000")  # a submodule to git
    listing = list_folder(root, NO_GLOBS)
    assert {"a.py", "module/in.py", "clone/in.py"} <= set(listing.files)
    assert not {"module/out.tmp", "clone/out.tmp"} & set(listing.files)


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


def test_attributes_of_the_repository_decide(tmp_path):
    root = write(
        tmp_path / "repo",
        {
            ".gitattributes": "llama/** linguist-vendored\napi.py linguist-generated=true\n"
            "own.min.js -linguist-generated\nvendor/** -linguist-vendored\n",
            "llama/a.c": "int a;\n",
            "api.py": "x = 1\n",
            "own.min.js": "var a;\n",
            "vendor/mine.py": "x = 1\n",
            "a.py": "a\n",
        },
    )
    git(root, "init", "-q")
    document = read(root)
    assert sorted(paths(document)) == [".gitattributes", "a.py", "own.min.js", "vendor/mine.py"]
    assert reasons(document) == {"llama/a.c": "vendored", "api.py": "generated"}
    assert "api.py" in paths(read(root, include=("api.py",)))


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


def test_what_changes_least_comes_first(tmp_path):
    names = [
        "README.md",
        "pyproject.toml",
        "docs/README.md",
        "docs/guide.md",
        "lib/a.py",
        "lib/b.py",
        "zz.py",
        "conftest.py",
        "lib/a_test.go",
        "tests/helpers.py",
        "tests/test_a.py",
        "CHANGELOG.md",
    ]
    write(tmp_path, dict.fromkeys(reversed(names), "x = 1\n"))
    assert sorted(paths(read(tmp_path))) == sorted(names)
    found = paths(read(tmp_path))
    assert found[:2] == names[:2]
    assert found[-1] == "CHANGELOG.md"
    tests = ["conftest.py", "lib/a_test.go", "tests/helpers.py", "tests/test_a.py"]
    assert found[-5:-1] == tests
    assert found.index("docs/README.md") < found.index("docs/guide.md") < found.index("lib/a.py")


def test_references_name_the_original_lines(tmp_path):
    lines = [f"line {number}" for number in range(1, 400)]
    write(
        tmp_path,
        {"crlf.txt": "\r\n".join(lines), "lf.txt": "\n".join(lines), "b.txt": "\ufeff\n\nthird"},
    )
    for part in read(tmp_path).parts:
        sought = "third" if part.path == "b.txt" else "line 256"
        line = "3" if part.path == "b.txt" else "256"
        assert part.reference(part.text.index(sought)) == f"[{part.path}:{line}]"


def test_a_folder_without_anything_to_read_is_an_error_that_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files in this folder"):
        read(tmp_path / "empty")
    write(tmp_path / "full", {"a.png": "x", "b.png": "x", "uv.lock": "x", ".env": "KEY=1"})
    with pytest.raises(InputError) as caught:
        read(tmp_path / "full")
    said = "nothing to read; left out: 2 image, 1 looks like a credential, 1 lock file"
    assert said in caught.value.message
    assert "--include '.env'" in caught.value.hint
    read(tmp_path / "full", include=(".env",))  # the advice helps
    # One good source beside it does not hide the failure.
    write(tmp_path, {"good.py": "x = 1\n"})
    with pytest.raises(InputError, match="nothing to read"):
        read_sources([str(tmp_path / "good.py"), str(tmp_path / "full")], ReadOptions())
