"""Sources at an address, against a server on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fpdf import FPDF

from jamba_cli.sources import read as reading
from jamba_cli.sources import url as fetching
from jamba_cli.sources.resolve import ReadOptions, read_sources
from runtime.errors import InputError, UsageError


def three_pages() -> bytes:
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    for text in ("First about models.", "Second about state.", "Third about memory."):
        pdf.add_page()
        pdf.multi_cell(0, 8, text)
    return bytes(pdf.output())


THREE_PAGES = three_pages()
PAGE = b"<html><head><title>T</title></head>\n<body><p>gr\xf6\xdfe</p></body></html>"
CONTENT = {
    "/notes.txt": ("text/plain; charset=utf-8", "größe\n".encode()),
    "/page": ("text/html; charset=iso-8859-1", PAGE),
    "/report.pdf": ("application/pdf", THREE_PAGES),
    "/unlabelled": ("application/octet-stream", THREE_PAGES),
    "/a%20b%C3%A9.md": ("text/markdown", b"# spaced\n"),
    "/code.py": ("", b"x = 1\n"),
    "/nb.ipynb": ("text/plain", b'{"cells": [{"cell_type": "markdown", "source": "# hi"}]}'),
    "/logo.png": ("image/png", b"\x89PNG\0"),
    "/blob": ("application/octet-stream", b"\0\1\2"),
    "/empty": ("text/plain", b""),
}
REDIRECTS = {
    "/moved": "/notes.txt",
    "/to-ftp": "ftp://127.0.0.1/x",
    "/to-file": "file:///etc/passwd",
    "/circle": "/circle",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        bare = self.path.partition("?")[0]
        if bare in REDIRECTS:
            self.send_response(302)
            self.send_header("Location", REDIRECTS[bare])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif bare == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        elif bare == "/slow":
            self.server.release.wait(30)
        elif bare in ("/short", "/large", "/zipped"):
            self.send_response(200)
            length = 10**12 if bare == "/large" else 100 if bare == "/short" else 4
            self.send_header("Content-Length", str(length))
            if bare == "/zipped":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(b"text")
        elif bare in CONTENT:
            kind, body = CONTENT[bare]
            self.send_response(200)
            if kind:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def base():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.release = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def read(*sources, **options):
    return read_sources(sources, ReadOptions(**options))


@pytest.mark.parametrize(
    ("path", "shown", "text"),
    [
        ("/notes.txt", "notes.txt", "größe\n"),
        ("/notes.txt?key=secret", "notes.txt", "größe\n"),
        ("/moved", "moved", "größe\n"),
        ("/page", "page", "T\ngröße"),
        ("/a b\u00e9.md", "a b\u00e9.md", "# spaced\n"),
        ("/a%20b%C3%A9.md", "a b\u00e9.md", "# spaced\n"),
        ("/code.py", "code.py", "x = 1\n"),
        ("/nb.ipynb", "nb.ipynb", "# hi"),
    ],
)
def test_texts(base, path, shown, text):
    (part,) = read(base + path).parts
    assert (part.path, part.text) == (shown, text)


@pytest.mark.parametrize("path", ["/report.pdf#2-3", "/report.pdf#page=2-3", "/unlabelled#2-3"])
def test_pdfs(base, path):
    document = read(base + path)
    assert [part.page for part in document.parts] == [2, 3]
    assert document.single_pdf


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "the server answered 404 Not Found"),
        ("/logo.png", "it is image/png, not text or PDF"),
        ("/blob", "blob: a binary file, not text"),
        ("/empty", "empty: the file is empty"),
        ("/short", "the connection ended early"),
        ("/large", "too large (931.3 GiB)"),
        ("/zipped", "the server sends it compressed"),
        ("/circle", "the server answered 302"),
    ],
)
def test_failures_of_the_server(base, path, message):
    with pytest.raises(InputError) as caught:
        read(base + path)
    assert message in caught.value.message


def test_an_endless_answer_is_cut(base, monkeypatch):
    monkeypatch.setattr(reading, "MAX_NAMED_BYTES", 2**20)
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read(base + "/endless")
    monkeypatch.undo()
    monkeypatch.setattr(fetching, "TOTAL_S", 0.05)
    with pytest.raises(InputError, match="not complete after"):
        read(base + "/endless")


def test_a_silent_server_is_given_up(base, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.2)
    with pytest.raises(InputError, match="no answer within"):
        read(base + "/slow")


@pytest.mark.parametrize("path", ["/to-ftp", "/to-file"])
def test_redirects_stay_http(base, path):
    with pytest.raises((UsageError, InputError), match=r"not (supported|allowed)"):
        read(base + path)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org/a",
        "file:///etc/passwd",
        "data://x",
        "gopher://x/",
        "http://",
        "http://[x",
    ],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(UsageError):
        read(address)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        read("https://me:hunter2@example.org/a.txt")
    assert "hunter2" not in caught.value.message + (caught.value.hint or "")


def test_offline_says_so_and_hides_the_query():
    with pytest.raises(InputError) as caught:
        read("http://127.0.0.1:1/x.pdf?token=hunter2")
    assert "can't be reached" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert "offline?" in caught.value.hint


def test_pages_of_a_text_at_an_address(base):
    with pytest.raises(UsageError, match="--pages is for PDFs"):
        read(base + "/notes.txt", pages="1")


def test_two_addresses_with_the_same_name_are_told_apart(base):
    document = read(base + "/notes.txt", base + "/notes.txt?v=2")
    assert len(document.parts) == 2
    host = base.removeprefix("http://")
    assert all(host in part.path for part in document.parts)
