"""Audio on the web, for hosts that the config names."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import urllib3

from sift_ray.corpora.audio_source import AudioUnavailableError

_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
_TRIES: Final = urllib3.Retry(total=3, backoff_factor=1.0, status_forcelist=(429, 500, 502, 503, 504), redirect=0)
_CHUNK: Final = 1 << 20


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    return urllib3.PoolManager(maxsize=16)  # (certificates are checked; SSL_CERT_FILE names others)


def may_fetch(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether the address is https on one of `hosts`, without a user or password in it."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and parts.hostname in hosts and parts.username is None
    except ValueError:
        return False


def fetch(url: str, most_bytes: int) -> bytes:
    """Return what lies at an https address; redirects are not followed, as they could lead anywhere.

    Raises:
        AudioUnavailableError: missing_audio (404, 410), too_large, or storage_error after three tries.
    """
    try:
        answer = _pool().request("GET", url, preload_content=False, timeout=_TIMEOUT, retries=_TRIES, redirect=False)
        try:
            if answer.status in (404, 410):
                raise AudioUnavailableError("missing_audio", f"{url}: HTTP {answer.status}")
            if answer.status != 200:
                raise AudioUnavailableError("storage_error", f"{url}: HTTP {answer.status}")
            content = bytearray()
            for chunk in answer.stream(_CHUNK):
                content += chunk
                if len(content) > most_bytes:
                    raise AudioUnavailableError("too_large", f"{url}: more than {most_bytes:,} bytes")
            return bytes(content)
        finally:
            answer.close()
    except urllib3.exceptions.HTTPError as error:
        raise AudioUnavailableError("storage_error", f"{url}: {error}") from error
