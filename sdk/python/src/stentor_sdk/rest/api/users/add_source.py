from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.add_source import AddSource
from ...models.source_answer import SourceAnswer
from ...types import Response


def _get_kwargs(
    id: str,
    *,
    body: AddSource,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/rooms/{id}/sources".format(
            id=quote(str(id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> SourceAnswer | None:
    if response.status_code == 201:
        response_201 = SourceAnswer.from_dict(response.json())

        return response_201

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[SourceAnswer]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: AddSource,
) -> Response[SourceAnswer]:
    """Plays a URL or a file in a room.

     The source is an anchor: it counts against `maxAnchors`, is a member of the room, and can be muted,
    kicked
    and banned. The node that runs the room's Janus instance plays it while the room is on air or
    backstage,
    and tries again if the input fails. `sources.schemes`, `sources.networks` and `sources.folder` say
    what
    may be played.

    Args:
        id (str):
        body (AddSource): Source to add: either `url` or `file`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[SourceAnswer]
    """

    kwargs = _get_kwargs(
        id=id,
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: AddSource,
) -> SourceAnswer | None:
    """Plays a URL or a file in a room.

     The source is an anchor: it counts against `maxAnchors`, is a member of the room, and can be muted,
    kicked
    and banned. The node that runs the room's Janus instance plays it while the room is on air or
    backstage,
    and tries again if the input fails. `sources.schemes`, `sources.networks` and `sources.folder` say
    what
    may be played.

    Args:
        id (str):
        body (AddSource): Source to add: either `url` or `file`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        SourceAnswer
    """

    return sync_detailed(
        id=id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: AddSource,
) -> Response[SourceAnswer]:
    """Plays a URL or a file in a room.

     The source is an anchor: it counts against `maxAnchors`, is a member of the room, and can be muted,
    kicked
    and banned. The node that runs the room's Janus instance plays it while the room is on air or
    backstage,
    and tries again if the input fails. `sources.schemes`, `sources.networks` and `sources.folder` say
    what
    may be played.

    Args:
        id (str):
        body (AddSource): Source to add: either `url` or `file`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[SourceAnswer]
    """

    kwargs = _get_kwargs(
        id=id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: AddSource,
) -> SourceAnswer | None:
    """Plays a URL or a file in a room.

     The source is an anchor: it counts against `maxAnchors`, is a member of the room, and can be muted,
    kicked
    and banned. The node that runs the room's Janus instance plays it while the room is on air or
    backstage,
    and tries again if the input fails. `sources.schemes`, `sources.networks` and `sources.folder` say
    what
    may be played.

    Args:
        id (str):
        body (AddSource): Source to add: either `url` or `file`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        SourceAnswer
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            body=body,
        )
    ).parsed
