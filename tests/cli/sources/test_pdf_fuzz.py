"""Damaged PDFs by the hundred: each gives a document or an expected error, and soon.

pdfium is C++, so a fault in it ends the process and a loop in it can't be interrupted: the files
are read in a child process, which names each before it reads it.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
VARIANTS = 420
LIMIT_S = 5.0  # for one file, on a busy machine; a few milliseconds are usual


def samples() -> list[bytes]:
    from tests.pdf_samples import (
        image,
        locked,
        running_pages,
        text_at,
        two_columns,
        write_pdf,
    )

    outline = {
        100: b"<< /Type /Outlines /First 101 0 R /Last 101 0 R /Count 1 >>",
        101: b"<< /Title (One) /Parent 100 0 R /Dest [10 0 R /Fit] >>",
    }
    catalog = b"/Outlines 100 0 R /PageLabels << /Nums [0 << /S /r >>] >>"
    pages = [*running_pages(4), image(1.0), b"", text_at(72, 72, "last")]
    plain = write_pdf(pages, catalog=catalog, extra=outline, info={"Title": "A title"})
    packed = write_pdf(pages, compress=True, unicode_map={0x41: "\ufb01", 0x42: "\ufffd"})
    return [plain, packed, two_columns(row_wise=True)[0], locked(packed, user="")]


def variants(count: int) -> Iterator[bytes]:
    """Samples cut short, with bits flipped, with runs overwritten, repeated or exchanged."""
    dice = random.Random(20261122)
    sources = samples()
    numbers = (b"0", b"-1", b"4294967296", b"99999999999999999999", b"1e38", b"nan", b"<<", b"R")
    for index in range(count):
        data = bytearray(sources[index % len(sources)])
        kind = index // len(sources) % 5
        if kind == 0:
            del data[dice.randrange(len(data)) :]
        elif kind == 1:
            for _ in range(dice.choice((1, 4, 32))):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        elif kind == 2:
            start = dice.randrange(len(data))
            data[start : start + 40] = dice.randbytes(40)
        elif kind == 3:
            digits = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
            for at in dice.sample(digits, 3):
                data[at : at + 1] = dice.choice(numbers)
        else:
            start, end = sorted(dice.sample(range(len(data)), 2))
            data[end:end] = data[start : min(end, start + 500)]
        yield bytes(data)


def child(count: int) -> None:
    """Read all variants; a line before and a line after each."""
    from jamba_cli.sources.document import Document
    from jamba_cli.sources.pdf import PdfOptions, read_pdf
    from runtime.errors import JambaError

    for index, data in enumerate(variants(count)):
        sys.stdout.write(f"{index} ")
        sys.stdout.flush()
        start = time.monotonic()
        try:
            document = read_pdf(data, display="f.pdf", options=PdfOptions())
        except JambaError as error:
            outcome = "error" if "\n" not in error.message else "error-of-many-lines"
        else:
            assert isinstance(document, Document)
            assert document.parts
            for part in document.parts:
                part.text.encode()
                assert not any(ord(char) < 32 and char not in "\n\t" for char in part.text)
            outcome = "document"
        sys.stdout.write(f"{outcome} {time.monotonic() - start:.3f}\n")
        sys.stdout.flush()


def test_damaged_files_give_a_document_or_one_line_of_error_in_time():
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, str(VARIANTS)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    last = lines[-1] if lines else ""
    assert done.returncode == 0, f"ended with {done.returncode} at {last!r}\n{done.stderr[-3000:]}"
    assert done.stderr == ""
    outcomes = [line.split() for line in lines]
    assert [int(number) for number, _, _ in outcomes] == list(range(VARIANTS))
    assert {outcome for _, outcome, _ in outcomes} == {"document", "error"}
    slowest = max(outcomes, key=lambda outcome: float(outcome[2]))
    assert float(slowest[2]) < LIMIT_S, f"variant {slowest[0]} took {slowest[2]} s"
    # Most of the damage is slight, and slight damage must not cost the whole text.
    assert sum(outcome == "document" for _, outcome, _ in outcomes) > VARIANTS / 2


if __name__ == "__main__":
    child(int(sys.argv[1]))
