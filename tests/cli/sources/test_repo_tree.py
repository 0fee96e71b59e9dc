"""The tree at the top of a prompt."""

from jamba_cli.sources.tree import MAX_LINES, file_tree


def test_folders_are_indented_and_chains_joined():
    tree = file_tree(["README.md", "src/a/b/x.py", "src/a/b/y.py", "docs/d.md", "docs/sub/e.md"])
    assert tree.split("\n") == [
        "5 files:",
        "README.md",
        "docs/",
        "  d.md",
        "  sub/",
        "    e.md",
        "src/a/b/",
        "  x.py",
        "  y.py",
    ]


def test_one_file_needs_no_tree():
    assert file_tree([]) == file_tree(["a.py"]) == file_tree(["a.py", "a.py"]) == ""


def test_many_files_are_shown_by_number():
    paths = [f"pkg{i}/mod{j}/f{k}.py" for i in range(5) for j in range(8) for k in range(30)]
    lines = file_tree([*paths, "README.md"]).split("\n")
    assert lines[0] == "1,201 files (large folders only by their number of files):"
    assert len(lines) <= MAX_LINES + 1
    assert "README.md" in lines
    assert "  mod7/ (30 files)" in lines
    counted = sum(int(line.split("(")[1].split()[0]) for line in lines[1:] if "(" in line)
    shown = sum(line.endswith(".py") for line in lines)
    assert counted + shown == 1200


def test_one_huge_flat_folder_is_cut():
    lines = file_tree([f"f{k}" for k in range(500)]).split("\n")
    assert len(lines) == MAX_LINES + 2
    assert lines[-1] == "... and 300 more files"


def test_exactly_the_bound_is_shown_whole():
    assert len(file_tree([f"d/f{k}" for k in range(MAX_LINES)]).split("\n")) == MAX_LINES + 2


def test_absolute_and_relative_paths_side_by_side():
    assert file_tree(["/etc/hosts", "etc/hosts"]).split("\n")[1:] == [
        "/etc/",
        "  hosts",
        "etc/",
        "  hosts",
    ]
