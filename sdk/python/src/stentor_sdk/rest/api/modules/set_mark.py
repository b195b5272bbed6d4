from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.done import Done
from ...models.set_mark import SetMark
from ...types import Response


def _get_kwargs(
    kind: str,
    id: str,
    *,
    body: SetMark,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/api/modules/{kind}/{id}/mark".format(
            kind=quote(str(kind), safe=""),
            id=quote(str(id), safe=""),
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
    kind: str,
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetMark,
) -> Response[Done]:
    """Sets the cordon label (`mark`) of a module.

     A module accepts new rooms only with the label `ready` or without a label. With `cordon`, its
    existing
    rooms stay; with `draining`, `drained` or `unready`, they move to other modules.

    Args:
        kind (str):
        id (str):
        body (SetMark): Cordon label (`mark`) to set on a module.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Done]
    """

    kwargs = _get_kwargs(
        kind=kind,
        id=id,
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    kind: str,
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetMark,
) -> Done | None:
    """Sets the cordon label (`mark`) of a module.

     A module accepts new rooms only with the label `ready` or without a label. With `cordon`, its
    existing
    rooms stay; with `draining`, `drained` or `unready`, they move to other modules.

    Args:
        kind (str):
        id (str):
        body (SetMark): Cordon label (`mark`) to set on a module.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Done
    """

    return sync_detailed(
        kind=kind,
        id=id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    kind: str,
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetMark,
) -> Response[Done]:
    """Sets the cordon label (`mark`) of a module.

     A module accepts new rooms only with the label `ready` or without a label. With `cordon`, its
    existing
    rooms stay; with `draining`, `drained` or `unready`, they move to other modules.

    Args:
        kind (str):
        id (str):
        body (SetMark): Cordon label (`mark`) to set on a module.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Done]
    """

    kwargs = _get_kwargs(
        kind=kind,
        id=id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    kind: str,
    id: str,
    *,
    client: AuthenticatedClient | Client,
    body: SetMark,
) -> Done | None:
    """Sets the cordon label (`mark`) of a module.

     A module accepts new rooms only with the label `ready` or without a label. With `cordon`, its
    existing
    rooms stay; with `draining`, `drained` or `unready`, they move to other modules.

    Args:
        kind (str):
        id (str):
        body (SetMark): Cordon label (`mark`) to set on a module.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Done
    """

    return (
        await asyncio_detailed(
            kind=kind,
            id=id,
            client=client,
            body=body,
        )
    ).parsed
