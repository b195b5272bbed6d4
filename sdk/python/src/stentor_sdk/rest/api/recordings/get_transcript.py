from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...types import UNSET, Response, Unset


def _get_kwargs(
    id: str,
    *,
    q: str | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["q"] = q

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/recordings/{id}/transcript".format(
            id=quote(str(id), safe=""),
        ),
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> str | None:
    if response.status_code == 200:
        response_200 = response.text
        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[str]:
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
    q: str | Unset = UNSET,
) -> Response[str]:
    """Returns the final captions of a recording, one JSON object per line, in the order of their starts.

     Each line has `from` and `to` (milliseconds since the Unix epoch), `text`, `language`, and
    `speaker`,
    which is null, because recognisers get the mix. The answer is empty if the recording has no
    captions, or
    none with the text in `q`.

    Args:
        id (str):
        q (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[str]
    """

    kwargs = _get_kwargs(
        id=id,
        q=q,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    q: str | Unset = UNSET,
) -> str | None:
    """Returns the final captions of a recording, one JSON object per line, in the order of their starts.

     Each line has `from` and `to` (milliseconds since the Unix epoch), `text`, `language`, and
    `speaker`,
    which is null, because recognisers get the mix. The answer is empty if the recording has no
    captions, or
    none with the text in `q`.

    Args:
        id (str):
        q (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        str
    """

    return sync_detailed(
        id=id,
        client=client,
        q=q,
    ).parsed


async def asyncio_detailed(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    q: str | Unset = UNSET,
) -> Response[str]:
    """Returns the final captions of a recording, one JSON object per line, in the order of their starts.

     Each line has `from` and `to` (milliseconds since the Unix epoch), `text`, `language`, and
    `speaker`,
    which is null, because recognisers get the mix. The answer is empty if the recording has no
    captions, or
    none with the text in `q`.

    Args:
        id (str):
        q (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[str]
    """

    kwargs = _get_kwargs(
        id=id,
        q=q,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    id: str,
    *,
    client: AuthenticatedClient | Client,
    q: str | Unset = UNSET,
) -> str | None:
    """Returns the final captions of a recording, one JSON object per line, in the order of their starts.

     Each line has `from` and `to` (milliseconds since the Unix epoch), `text`, `language`, and
    `speaker`,
    which is null, because recognisers get the mix. The answer is empty if the recording has no
    captions, or
    none with the text in `q`.

    Args:
        id (str):
        q (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        str
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            q=q,
        )
    ).parsed
