"""Audio on the web, for hosts that the config names."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

import urllib3
from urllib3.util import parse_url

from sift_ray.corpora.storage_errors import AudioUnavailableError

_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
_MOST_SECONDS: Final = 600.0  # a server may also send a byte now and then for ever
_BACKOFF: Final = 1.0
_CHUNK: Final = 1 << 16


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    # certificates are checked (SSL_CERT_FILE names other authorities); a server's Retry-After could be a day
    retries = urllib3.Retry(
        total=3,
        redirect=0,
        backoff_factor=_BACKOFF,
        status_forcelist=(429, 500, 502, 503, 504),
        respect_retry_after_header=False,
    )
    return urllib3.PoolManager(maxsize=16, timeout=_TIMEOUT, retries=retries)


def may_fetch(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether the address is https on one of `hosts` (any port), without a user or password in it."""
    try:
        parts = parse_url(url)  # as `fetch` will read it
    except urllib3.exceptions.LocationParseError:
        return False
    host = (parts.host or "").lower()
    return parts.scheme == "https" and host in {name.lower() for name in hosts} and parts.auth is None


def fetch(url: str, most_bytes: int) -> bytes:
    """Return what lies at an https address; redirects are not followed, as they could lead anywhere.

    Raises:
        AudioUnavailableError: missing_audio (404, 410), web_refused (not https, or a redirect), too_large, or
            storage_error (after three more tries where the server is at fault).
    """
    until = time.monotonic() + _MOST_SECONDS
    try:
        if parse_url(url).scheme != "https":
            raise AudioUnavailableError("web_refused", f"{url}: audio on the web is read over https alone")
        answer = _pool().request("GET", url, preload_content=False, redirect=False)
        try:
            _check_answer(url, answer, most_bytes)
            content = bytearray()
            for chunk in answer.stream(_CHUNK):
                content += chunk
                if len(content) > most_bytes:
                    raise AudioUnavailableError("too_large", f"{url}: more than {most_bytes:,} bytes")
                if time.monotonic() > until:
                    raise AudioUnavailableError("storage_error", f"{url}: not all there in {_MOST_SECONDS:.0f} s")
            return bytes(content)
        finally:
            answer.close()
    except urllib3.exceptions.HTTPError as error:
        raise AudioUnavailableError("storage_error", f"{url}: {error}") from error


def _check_answer(url: str, answer: urllib3.BaseHTTPResponse, most_bytes: int) -> None:
    status = answer.status
    if status in (404, 410):
        raise AudioUnavailableError("missing_audio", f"{url}: HTTP {status}")
    if 300 <= status < 400:
        target = answer.headers.get("Location", "elsewhere")
        raise AudioUnavailableError("web_refused", f"{url}: HTTP {status}, redirects to {target}; give that address")
    if status != 200:
        raise AudioUnavailableError("storage_error", f"{url}: HTTP {status}")
    size = answer.headers.get("Content-Length", "")
    if size.isdigit() and int(size) > most_bytes:
        raise AudioUnavailableError("too_large", f"{url}: {int(size):,} bytes are more than {most_bytes:,}")
