"""Readers of the event ledger: page by page, and as an endless stream."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

import httpx

from .errors import StentorError
from .rest.api.events import list_events
from .rest.client import Client
from .rest.models import LedgerEntry
from .rest.types import UNSET

# Seconds without a byte after which a stream counts as dead; a node sends a comment every 15 seconds.
_SILENCE = 40.0
# Shortest and longest delay before a stream is opened again, in seconds.
_DELAYS = (0.5, 8.0)


def pages(
    client: Client, *, after: str | None = None, room: str | None = None, type: str | None = None
) -> Iterator[LedgerEntry]:
    """Yields the events that the ledger has now after the cursor `after`.

    Without `after`, begins with the oldest event. `room` and `type` select events.
    Raises `StentorError` if a request is refused.
    """
    while True:
        page = list_events.sync(
            client=client, after=after or UNSET, room=room or UNSET, type_=type or UNSET, limit=1000
        )
        # `sync` raises an error for every answer that is not a page.
        assert page is not None
        yield from page.events
        if not page.more:
            return
        after = page.next_


def follow(
    client: Client, *, after: str, room: str | None = None, type: str | None = None
) -> Iterator[LedgerEntry]:
    """Yields the events after the cursor `after`, and then every new one, without end.

    After the loss of a connection it continues after the last event, so it yields each event exactly once. The cursor
    `0` is before all events. Raises `StentorError` if the request is refused and would be refused again.
    """
    params = {name: value for name, value in {"room": room, "type": type}.items() if value is not None}
    failures = 0
    while True:
        try:
            for event in _stream(client, {**params, "after": after}):
                failures = 0
                after = event.cursor
                yield event
        except StentorError as error:
            if error.retry_after is None:
                raise
            time.sleep(error.retry_after)
        except httpx.TransportError:
            pass
        failures += 1
        time.sleep(random.random() * min(_DELAYS[0] * 2 ** min(failures, 10), _DELAYS[1]))


def _stream(client: Client, params: dict[str, str]) -> Iterator[LedgerEntry]:
    """Yields the events of one connection."""
    headers = {"Accept": "text/event-stream"}
    timeout = httpx.Timeout(10.0, read=_SILENCE)
    http = client.get_httpx_client()
    with http.stream("GET", "/api/events", params=params, headers=headers, timeout=timeout) as response:
        # The node writes the data of an event in one line.
        for line in response.iter_lines():
            if line.startswith("data:"):
                yield LedgerEntry.from_dict(json.loads(line[5:]))
