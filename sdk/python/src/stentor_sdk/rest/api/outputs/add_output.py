from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.new_output import NewOutput
from ...models.output_answer import OutputAnswer
from ...types import Response


def _get_kwargs(
    id: str,
    *,
    body: NewOutput,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/rooms/{id}/outputs".format(
            id=quote(str(id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> OutputAnswer | None:
    if response.status_code == 200:
        response_200 = OutputAnswer.from_dict(response.json())

        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[OutputAnswer]:
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
    body: NewOutput,
) -> Response[OutputAnswer]:
    """Adds an output to a room.

     While the room is on air, its mixer pushes the broadcast to the target, and tries again without
    limit if
    the target fails. The output stays until it is removed or the room is deleted. A target may have a
    public address, or one of `outputs.networks`.

    Args:
        id (str):
        body (NewOutput): Output to add to a room.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[OutputAnswer]
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
    body: NewOutput,
) -> OutputAnswer | None:
    """Adds an output to a room.

     While the room is on air, its mixer pushes the broadcast to the target, and tries again without
    limit if
    the target fails. The output stays until it is removed or the room is deleted. A target may have a
    public address, or one of `outputs.networks`.

    Args:
        id (str):
        body (NewOutput): Output to add to a room.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        OutputAnswer
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
    body: NewOutput,
) -> Response[OutputAnswer]:
    """Adds an output to a room.

     While the room is on air, its mixer pushes the broadcast to the target, and tries again without
    limit if
    the target fails. The output stays until it is removed or the room is deleted. A target may have a
    public address, or one of `outputs.networks`.

    Args:
        id (str):
        body (NewOutput): Output to add to a room.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[OutputAnswer]
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
    body: NewOutput,
) -> OutputAnswer | None:
    """Adds an output to a room.

     While the room is on air, its mixer pushes the broadcast to the target, and tries again without
    limit if
    the target fails. The output stays until it is removed or the room is deleted. A target may have a
    public address, or one of `outputs.networks`.

    Args:
        id (str):
        body (NewOutput): Output to add to a room.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        OutputAnswer
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            body=body,
        )
    ).parsed
