from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.events_answer import EventsAnswer
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    after: str | Unset = UNSET,
    room: str | Unset = UNSET,
    type_: str | Unset = UNSET,
    limit: int | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["after"] = after

    params["room"] = room

    params["type"] = type_

    params["limit"] = limit

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/events",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> EventsAnswer | None:
    if response.status_code == 200:
        response_200 = EventsAnswer.from_dict(response.json())

        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[EventsAnswer]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    after: str | Unset = UNSET,
    room: str | Unset = UNSET,
    type_: str | Unset = UNSET,
    limit: int | Unset = UNSET,
) -> Response[EventsAnswer]:
    """Returns a page of the event ledger or, with `Accept: text/event-stream`, a stream of the events.

     A stream ends with its node, or when its API key is not valid any more; clients reconnect with
    `Last-Event-ID`.

    Args:
        after (str | Unset):
        room (str | Unset):
        type_ (str | Unset):
        limit (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[EventsAnswer]
    """

    kwargs = _get_kwargs(
        after=after,
        room=room,
        type_=type_,
        limit=limit,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    after: str | Unset = UNSET,
    room: str | Unset = UNSET,
    type_: str | Unset = UNSET,
    limit: int | Unset = UNSET,
) -> EventsAnswer | None:
    """Returns a page of the event ledger or, with `Accept: text/event-stream`, a stream of the events.

     A stream ends with its node, or when its API key is not valid any more; clients reconnect with
    `Last-Event-ID`.

    Args:
        after (str | Unset):
        room (str | Unset):
        type_ (str | Unset):
        limit (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        EventsAnswer
    """

    return sync_detailed(
        client=client,
        after=after,
        room=room,
        type_=type_,
        limit=limit,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    after: str | Unset = UNSET,
    room: str | Unset = UNSET,
    type_: str | Unset = UNSET,
    limit: int | Unset = UNSET,
) -> Response[EventsAnswer]:
    """Returns a page of the event ledger or, with `Accept: text/event-stream`, a stream of the events.

     A stream ends with its node, or when its API key is not valid any more; clients reconnect with
    `Last-Event-ID`.

    Args:
        after (str | Unset):
        room (str | Unset):
        type_ (str | Unset):
        limit (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[EventsAnswer]
    """

    kwargs = _get_kwargs(
        after=after,
        room=room,
        type_=type_,
        limit=limit,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    after: str | Unset = UNSET,
    room: str | Unset = UNSET,
    type_: str | Unset = UNSET,
    limit: int | Unset = UNSET,
) -> EventsAnswer | None:
    """Returns a page of the event ledger or, with `Accept: text/event-stream`, a stream of the events.

     A stream ends with its node, or when its API key is not valid any more; clients reconnect with
    `Last-Event-ID`.

    Args:
        after (str | Unset):
        room (str | Unset):
        type_ (str | Unset):
        limit (int | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        EventsAnswer
    """

    return (
        await asyncio_detailed(
            client=client,
            after=after,
            room=room,
            type_=type_,
            limit=limit,
        )
    ).parsed
