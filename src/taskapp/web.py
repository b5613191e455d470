"""HTTP with timeouts, and its failures as errors that can, or cannot, be retried."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests

from taskapp.errors import FatalError, TransientError

_RETRIABLE = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@contextmanager
def request(
    method: str,
    url: str,
    *,
    timeout: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    authority: Path | None = None,
) -> Iterator[requests.Response]:
    """The answer to a request, whatever its status; its body is not read yet.

    `authority`: file of the certificates to trust, in place of the public ones.

    `TransientError` when no answer came within `timeout` seconds or the peer is not there, `FatalError` for a
    request that cannot be made.
    """
    try:
        with requests.request(
            method,
            url,
            data=body,
            headers=dict(headers or {}),
            timeout=timeout,
            stream=True,
            verify=str(authority) if authority else True,
        ) as response:
            yield response
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        # Not the exception's text: it repeats the URL, which may hold a secret.
        raise TransientError(f"no answer to {method} from {host(url)}: {type(error).__name__}") from error
    except requests.RequestException as error:
        raise FatalError(f"{method} to {host(url)} is impossible: {type(error).__name__}") from error


def expect_success(response: requests.Response) -> None:
    """Accept 2xx; `TransientError` for what may change (5xx, 408, 425, 429), `FatalError` for the rest."""
    if response.status_code // 100 == 2:
        return
    text = f"{response.request.method} to {host(response.url)} answered {response.status_code}"
    if response.status_code >= 500 or response.status_code in _RETRIABLE:
        raise TransientError(text)
    raise FatalError(text)


def read_limited(response: requests.Response, limit: int) -> bytes:
    """The body, `FatalError` when it has more than `limit` bytes."""
    body = bytearray()
    for chunk in response.iter_content(chunk_size=16_384):
        body += chunk
        if len(body) > limit:
            raise FatalError(f"the answer of {host(response.url)} has more than {limit} bytes")
    return bytes(body)


def host(url: str) -> str:
    """Host and port of `url`, all of it that may appear in a log."""
    return urlsplit(url).netloc.rpartition("@")[2]
