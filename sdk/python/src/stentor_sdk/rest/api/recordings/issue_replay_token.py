from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.replay_token_request import ReplayTokenRequest
from ...models.token_answer import TokenAnswer
from ...types import UNSET, Response, Unset


def _get_kwargs(
    id: str,
    *,
    body: None | ReplayTokenRequest | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/recordings/{id}/token".format(
            id=quote(str(id), safe=""),
        ),
    }

    if isinstance(body, ReplayTokenRequest):
        _kwargs["json"] = body.to_dict()
    else:
        _kwargs["json"] = body

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> TokenAnswer | None:
    if response.status_code == 200:
        response_200 = TokenAnswer.from_dict(response.json())

        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[TokenAnswer]:
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
    body: None | ReplayTokenRequest | Unset = UNSET,
) -> Response[TokenAnswer]:
    """Issues a token with which a listener can play one recording, or a part of it.

     The part must lie within the recording. While the broadcast is on air, `from` must be in the past.

    Args:
        id (str):
        body (None | ReplayTokenRequest | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[TokenAnswer]
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
    body: None | ReplayTokenRequest | Unset = UNSET,
) -> TokenAnswer | None:
    """Issues a token with which a listener can play one recording, or a part of it.

     The part must lie within the recording. While the broadcast is on air, `from` must be in the past.

    Args:
        id (str):
        body (None | ReplayTokenRequest | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        TokenAnswer
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
    body: None | ReplayTokenRequest | Unset = UNSET,
) -> Response[TokenAnswer]:
    """Issues a token with which a listener can play one recording, or a part of it.

     The part must lie within the recording. While the broadcast is on air, `from` must be in the past.

    Args:
        id (str):
        body (None | ReplayTokenRequest | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[TokenAnswer]
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
    body: None | ReplayTokenRequest | Unset = UNSET,
) -> TokenAnswer | None:
    """Issues a token with which a listener can play one recording, or a part of it.

     The part must lie within the recording. While the broadcast is on air, `from` must be in the past.

    Args:
        id (str):
        body (None | ReplayTokenRequest | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        TokenAnswer
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            body=body,
        )
    ).parsed
