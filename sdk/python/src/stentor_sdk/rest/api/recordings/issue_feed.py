from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.feed_answer import FeedAnswer
from ...models.new_feed import NewFeed
from ...types import Response


def _get_kwargs(
    *,
    body: NewFeed,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/feeds",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> FeedAnswer | None:
    if response.status_code == 200:
        response_200 = FeedAnswer.from_dict(response.json())

        return response_200

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[FeedAnswer]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: NewFeed,
) -> Response[FeedAnswer]:
    """Issues the URL of a podcast feed.

     The feed is RSS 2.0 and lists the recordings that can be played, the newest first, including those
    that
    are made later. The URL needs no other credential: give it to the subscribers of a private feed, or
    publish it.

    Args:
        body (NewFeed): Podcast feed. It has either `owner` or `tag`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FeedAnswer]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: NewFeed,
) -> FeedAnswer | None:
    """Issues the URL of a podcast feed.

     The feed is RSS 2.0 and lists the recordings that can be played, the newest first, including those
    that
    are made later. The URL needs no other credential: give it to the subscribers of a private feed, or
    publish it.

    Args:
        body (NewFeed): Podcast feed. It has either `owner` or `tag`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FeedAnswer
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: NewFeed,
) -> Response[FeedAnswer]:
    """Issues the URL of a podcast feed.

     The feed is RSS 2.0 and lists the recordings that can be played, the newest first, including those
    that
    are made later. The URL needs no other credential: give it to the subscribers of a private feed, or
    publish it.

    Args:
        body (NewFeed): Podcast feed. It has either `owner` or `tag`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FeedAnswer]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: NewFeed,
) -> FeedAnswer | None:
    """Issues the URL of a podcast feed.

     The feed is RSS 2.0 and lists the recordings that can be played, the newest first, including those
    that
    are made later. The URL needs no other credential: give it to the subscribers of a private feed, or
    publish it.

    Args:
        body (NewFeed): Podcast feed. It has either `owner` or `tag`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FeedAnswer
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
