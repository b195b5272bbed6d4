from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.key_answer import KeyAnswer
from ...models.update_key import UpdateKey
from ...types import UNSET, Response, Unset


def _get_kwargs(
    id: str,
    *,
    body: None | Unset | UpdateKey = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "patch",
        "url": "/api/keys/{id}".format(
            id=quote(str(id), safe=""),
        ),
    }

    if isinstance(body, UpdateKey):
        _kwargs["json"] = body.to_dict()
    else:
        _kwargs["json"] = body

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> KeyAnswer | None:
    if response.status_code == 200:
        response_200 = KeyAnswer.from_dict(response.json())

        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[KeyAnswer]:
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
    body: None | Unset | UpdateKey = UNSET,
) -> Response[KeyAnswer]:
    """Changes the name and the quotas of an API key.

     If a quota is lower than the current usage, nothing that exists ends, but new requests are refused.

    Args:
        id (str):
        body (None | Unset | UpdateKey):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[KeyAnswer]
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
    body: None | Unset | UpdateKey = UNSET,
) -> KeyAnswer | None:
    """Changes the name and the quotas of an API key.

     If a quota is lower than the current usage, nothing that exists ends, but new requests are refused.

    Args:
        id (str):
        body (None | Unset | UpdateKey):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        KeyAnswer
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
    body: None | Unset | UpdateKey = UNSET,
) -> Response[KeyAnswer]:
    """Changes the name and the quotas of an API key.

     If a quota is lower than the current usage, nothing that exists ends, but new requests are refused.

    Args:
        id (str):
        body (None | Unset | UpdateKey):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[KeyAnswer]
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
    body: None | Unset | UpdateKey = UNSET,
) -> KeyAnswer | None:
    """Changes the name and the quotas of an API key.

     If a quota is lower than the current usage, nothing that exists ends, but new requests are refused.

    Args:
        id (str):
        body (None | Unset | UpdateKey):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        KeyAnswer
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            body=body,
        )
    ).parsed
