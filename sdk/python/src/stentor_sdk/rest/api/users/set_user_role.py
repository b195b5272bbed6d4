from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.done import Done
from ...models.set_role import SetRole
from ...types import Response


def _get_kwargs(
    id: str,
    user_id: str,
    *,
    body: SetRole,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/api/rooms/{id}/users/{user_id}/role".format(
            id=quote(str(id), safe=""),
            user_id=quote(str(user_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Done | None:
    if response.status_code == 200:
        response_200 = Done.from_dict(response.json())

        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Done]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    id: str,
    user_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetRole,
) -> Response[Done]:
    """Gives a user a role in a room, in place of the one that the user's tokens claim. May be repeated.

     The user must have been invited or be in the room. The role stays until it is changed again, or
    until the
    user is created again with another role. `listener` takes the user off the stage: no token of the
    user
    is valid for speaking until the user gets another role, or is created or invited again.

    Args:
        id (str):
        user_id (str):
        body (SetRole): Role to give.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Done]
    """

    kwargs = _get_kwargs(
        id=id,
        user_id=user_id,
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    id: str,
    user_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetRole,
) -> Done | None:
    """Gives a user a role in a room, in place of the one that the user's tokens claim. May be repeated.

     The user must have been invited or be in the room. The role stays until it is changed again, or
    until the
    user is created again with another role. `listener` takes the user off the stage: no token of the
    user
    is valid for speaking until the user gets another role, or is created or invited again.

    Args:
        id (str):
        user_id (str):
        body (SetRole): Role to give.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Done
    """

    return sync_detailed(
        id=id,
        user_id=user_id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    id: str,
    user_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetRole,
) -> Response[Done]:
    """Gives a user a role in a room, in place of the one that the user's tokens claim. May be repeated.

     The user must have been invited or be in the room. The role stays until it is changed again, or
    until the
    user is created again with another role. `listener` takes the user off the stage: no token of the
    user
    is valid for speaking until the user gets another role, or is created or invited again.

    Args:
        id (str):
        user_id (str):
        body (SetRole): Role to give.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Done]
    """

    kwargs = _get_kwargs(
        id=id,
        user_id=user_id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    id: str,
    user_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetRole,
) -> Done | None:
    """Gives a user a role in a room, in place of the one that the user's tokens claim. May be repeated.

     The user must have been invited or be in the room. The role stays until it is changed again, or
    until the
    user is created again with another role. `listener` takes the user off the stage: no token of the
    user
    is valid for speaking until the user gets another role, or is created or invited again.

    Args:
        id (str):
        user_id (str):
        body (SetRole): Role to give.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Done
    """

    return (
        await asyncio_detailed(
            id=id,
            user_id=user_id,
            client=client,
            body=body,
        )
    ).parsed
