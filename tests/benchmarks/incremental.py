"""How much of a repository's prompt stays the same from commit to commit.

    python -m tests.benchmarks.incremental [REPOSITORY] [--commits 50] [--shape jamba2-mini]

Each of the last commits (first parents) is checked out into a work tree of its own and read as
`jamba ingest` reads it.  Of the tokens of one commit's prompt, the share is counted that a context
saved at the commit before gives back: the tokens before the first difference, cut down to the last
checkpoint, which is placed as for a model of that shape on a GPU.  No model runs; tokens are the
embedded model's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from jamba_cli import prompts
from jamba_cli.contexts.marks import places
from jamba_cli.reader import Reader
from jamba_cli.sources import repo
from jamba_cli.sources.document import Document
from jamba_cli.sources.options import ReadOptions
from jamba_cli.sources.resolve import read_sources
from runtime.contexts import Mark, checkpoints
from runtime.models import ModelEntry, known

HERE = Path(__file__).parents[2]
ORDERS = ("last commit", "path")
OUTLINES: tuple[prompts.Outline, ...] = ("last", "first")
CHUNK_TOKENS = 16_384


@contextmanager
def work_tree(repository: Path) -> Iterator[Path]:
    """A detached work tree of the repository, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git(repository, "worktree", "add", "--quiet", "--detach", str(tree))
        try:
            yield tree
        finally:
            git(repository, "worktree", "remove", "--force", str(tree))


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def read(tree: Path, order: str) -> Document:
    """The work tree in one of the orders."""
    if order == "path":
        with mock.patch.object(repo, "last_changes", return_value=None):
            return read_sources([str(tree)], ReadOptions())
    return read_sources([str(tree)], ReadOptions())


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids up to the document's end, and where among them checkpoints are."""

    ids: Sequence[int]
    checkpoints: Sequence[int]

    def gives_back(self, ids: Sequence[int]) -> int:
        """The tokens of another prompt that a saved context of this one gives back."""
        pairs = zip(self.ids, ids, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        return max((place for place in self.checkpoints if place <= same), default=0)


def prompt(
    document: Document, reader: Reader, outline: prompts.Outline, shape: ModelEntry
) -> Prompt:
    """The prompt of a document with the tree of files in front of or behind the files."""
    with mock.patch.dict(prompts.OUTLINE, {reader.style: outline}):
        ids = reader.prompt(document, "").shared
        marks = places(document, ids, reader.tokenizer, style=reader.style)
    chosen = checkpoints.choose(
        len(ids),
        [Mark(place.position, place.label) for place in marks],
        kv_bytes_per_token=shape.kv_bytes_per_token,
        state_bytes=shape.state_bytes,
        chunk_tokens=CHUNK_TOKENS,
    )
    return Prompt(ids, sorted(chosen))


Shares = dict[tuple[str, prompts.Outline], list[float]]


def measure(repository: Path, commits: int, shape: ModelEntry) -> tuple[Shares, int]:
    """The shares by order of files and place of the outline; the last prompt's length."""
    listed = git(repository, "rev-list", "--first-parent", f"-n{commits + 1}", "HEAD").split()
    reader = Reader("nano")
    shares: Shares = {(order, outline): [] for order in ORDERS for outline in OUTLINES}
    before: dict[tuple[str, prompts.Outline], Prompt] = {}
    length = 0
    with work_tree(repository) as tree:
        for commit in reversed(listed):
            git(tree, "checkout", "--quiet", "--detach", commit)
            for order in ORDERS:
                document = read(tree, order)
                for outline in OUTLINES:
                    now = prompt(document, reader, outline, shape)
                    length = len(now.ids)
                    if (order, outline) in before:
                        given = before[order, outline].gives_back(now.ids)
                        shares[order, outline].append(given / length)
                    before[order, outline] = now
    return shares, length


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", nargs="?", type=Path, default=HERE)
    parser.add_argument("--commits", type=int, default=50)
    parser.add_argument("--shape", default="jamba2-mini")
    arguments = parser.parse_args()
    shape = known(arguments.shape)
    if shape is None:
        parser.error(f"no such model: {arguments.shape}")
    shares, length = measure(arguments.repository, arguments.commits, shape)
    count = len(shares["path", "last"])
    print(f"{count} commits, the last with {length:,} tokens; checkpoints as for {shape.name}")
    print(
        f"{'files in the order of':<22} {'outline':<8} {'mean':>6} {'median':>7} {'over half':>10}"
    )
    for (order, outline), found in shares.items():
        over_half = sum(share > 0.5 for share in found) / len(found)
        print(
            f"{order:<22} {outline:<8} {statistics.mean(found):>6.1%} "
            f"{statistics.median(found):>7.1%} {over_half:>10.0%}"
        )


if __name__ == "__main__":
    main()
