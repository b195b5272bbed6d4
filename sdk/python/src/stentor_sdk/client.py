"""The connection to a node with the role `rooms`."""

from __future__ import annotations

import httpx

from .errors import StentorError
from .rest.client import Client


class _Client(Client):
    """Generated client whose requests raise `StentorError` for every refusal."""

    def get_httpx_client(self) -> httpx.Client:
        client = super().get_httpx_client()
        client.event_hooks = {"response": [_check]}
        return client

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        client = super().get_async_httpx_client()
        client.event_hooks = {"response": [_check_async]}
        return client


def connect(url: str, api_key: str | None = None, *, timeout: float = 10.0) -> Client:
    """Returns the client that the functions of the room API take.

    The functions return the body of the answer. They raise `StentorError` for every refusal, and `httpx.HTTPError` if
    the node does not answer within `timeout` seconds.

    `url` is the address of the room API, e.g. `http://127.0.0.1:3000`; `api_key` one of `auth.api_keys`, or None for
    `auth.mode: open`.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    return _Client(base_url=url.rstrip("/"), headers=headers, timeout=httpx.Timeout(timeout))


def _check(response: httpx.Response) -> None:
    if not response.is_success:
        response.read()
        raise StentorError(response)


async def _check_async(response: httpx.Response) -> None:
    if not response.is_success:
        await response.aread()
        raise StentorError(response)
