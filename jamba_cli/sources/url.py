"""Fetches one file over http or https: bounded in size and time, redirects included."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from jamba_cli.sources.names import safe_name, size_text
from runtime.errors import InputError, UsageError

TIMEOUT_S = 20.0
"""For the connection and each answer of the server."""

TOTAL_S = 300.0
_CHUNK_BYTES = 2**16
_DOWNLOAD = "download the file with a browser or curl and give its path"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The body of an answer, and what the server says it is."""

    data: bytes
    content_type: str  # "text/html"; "" if not told
    charset: str | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; the library would go on to ftp."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_scheme(newurl)
        except UsageError as error:
            raise InputError(f"the server redirects: {error.message}", hint=_DOWNLOAD) from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_scheme(url: str) -> None:
    """Raises UsageError unless the address is one of http or https without a password."""
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username
    except ValueError as error:
        raise UsageError(f"{safe_name(url)}: not a valid address") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise UsageError(
            f"{safe_name(parts.scheme)}:// addresses are not supported",
            hint=f"only http and https are; {_DOWNLOAD}",
        )
    if not host:
        raise UsageError(f"{safe_name(url)}: the address has no host")
    if user is not None:
        raise UsageError("an address with a user name or password is not supported", hint=_DOWNLOAD)


def url_name(url: str) -> str:
    """The file name at the end of an address; the host's name if there is none."""
    parts = urlsplit(url)
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or url


def url_shown(url: str) -> str:
    """The address without its query, which may hold a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def fetch(url: str, *, limit_bytes: int) -> Fetched:
    """Gets the file at an address; raises InputError for every failure of net or server."""
    check_scheme(url)
    shown = safe_name(url_shown(url))
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    try:
        request = urllib.request.Request(_ascii_url(url), headers={"User-Agent": "jamba-cli"})
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return _read(answer, shown, limit_bytes)
    except urllib.error.HTTPError as error:
        with error:
            message = f"{shown}: the server answered {error.code} {safe_name(error.reason or '')}"
            raise InputError(message.rstrip(), hint=_DOWNLOAD) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{shown}: {_why(error)}", hint=f"offline? {_DOWNLOAD}") from error


def _ascii_url(url: str) -> str:
    parts = urlsplit(url)
    safe = "/%:@!$&'()*+,;=~?"
    host = parts.netloc.encode("idna").decode("ascii") if not parts.netloc.isascii() else None
    return urlunsplit(
        (parts.scheme, host or parts.netloc, quote(parts.path, safe), quote(parts.query, safe), "")
    )


def _read(answer: Any, shown: str, limit_bytes: int) -> Fetched:
    content_type = answer.headers.get_content_type() if answer.headers["Content-Type"] else ""
    if content_type.partition("/")[0] in ("image", "audio", "video", "font"):
        raise InputError(f"{shown}: it is {content_type}, not text or PDF")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InputError(f"{shown}: the server sends it compressed, unasked", hint=_DOWNLOAD)
    told = answer.headers.get("Content-Length", "")
    if told.isdecimal() and int(told) > limit_bytes:
        raise InputError(f"{shown}: too large ({size_text(int(told))})", hint=_DOWNLOAD)
    pieces, size, end = [], 0, time.monotonic() + TOTAL_S
    while piece := answer.read1(_CHUNK_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > limit_bytes:
            raise InputError(f"{shown}: larger than {size_text(limit_bytes)}", hint=_DOWNLOAD)
        if time.monotonic() > end:
            raise InputError(f"{shown}: not complete after {TOTAL_S:.0f} s", hint=_DOWNLOAD)
    if told.isdecimal() and size < int(told):
        raise InputError(f"{shown}: the connection ended early", hint="try again")
    return Fetched(b"".join(pieces), content_type, answer.headers.get_content_charset())


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return "the host is not found"
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(reason, OSError) and reason.strerror:
        return f"can't be reached ({safe_name(reason.strerror.lower())})"
    return f"can't be read ({safe_name(str(reason)) or type(reason).__name__})"
