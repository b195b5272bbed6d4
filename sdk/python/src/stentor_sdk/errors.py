"""Errors of the room API."""

from __future__ import annotations

from typing import Any

import httpx


class StentorError(Exception):
    """Refusal or failure of a request. `code` is stable; the message is for people and may change.

    `code` equals a member of `stentor_sdk.rest.models.Code`; a newer server may send others. `retry_after` is the
    number of seconds after which the same request may succeed, or None if it would fail again.
    """

    def __init__(self, response: httpx.Response) -> None:
        try:
            body: Any = response.json()
        except ValueError:
            body = None
        # A proxy in front of the server may answer with another body.
        told = body if isinstance(body, dict) else {}
        super().__init__(told.get("error") or f"HTTP status {response.status_code}")
        self.code: str = told.get("code") or "unexpected_answer"
        self.status: int = response.status_code
        self.request_id: str | None = told.get("requestId") or response.headers.get("x-request-id")
        self.details: dict[str, Any] | None = told.get("details")
        retry_after = response.headers.get("retry-after", "")
        self.retry_after: int | None = int(retry_after) if retry_after.isdecimal() else None
