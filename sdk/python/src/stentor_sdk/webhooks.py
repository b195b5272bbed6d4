"""Verification of webhooks, by the Standard Webhooks specification (symmetric signatures, `v1`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

# Largest accepted difference between the time of a webhook and the clock here, in seconds.
_TOLERANCE = 300


class WebhookError(Exception):
    """Refusal of a webhook: answer with status 401, and do not use its content."""


class WebhookVerifier:
    """Verifier of webhooks, with the secrets of one endpoint."""

    def __init__(self, *secrets: str) -> None:
        """`secrets` are `whsec_…`; several while a secret is being replaced."""
        try:
            self._keys = [base64.b64decode(secret.removeprefix("whsec_"), validate=True) for secret in secrets]
        except binascii.Error as error:
            raise ValueError("a webhook secret must be whsec_ and base64") from error
        if not self._keys or not all(self._keys):
            raise ValueError("a webhook secret is required")

    def verify(self, body: bytes | str, headers: Mapping[str, str], now: float | None = None) -> Any:
        """Returns the content of a webhook that is genuine and not older than five minutes.

        A webhook may arrive more than once. Its id, in the header `webhook-id`, is the same each time. `body` is the
        body as it arrived, not parsed and serialised again. `now` is the time in seconds since 1970.

        Raises `WebhookError` if the webhook is refused.
        """
        body = body.encode() if isinstance(body, str) else body
        found = {name.lower(): value for name, value in headers.items()}
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            if not found.get(name):
                raise WebhookError(f"the header {name} is missing")
        timestamp = found["webhook-timestamp"]
        if not (timestamp.isascii() and timestamp.isdecimal()):
            raise WebhookError("webhook-timestamp must be seconds since 1970")
        if abs((time.time() if now is None else now) - int(timestamp)) > _TOLERANCE:
            message = "the webhook is too old or from the future: compare the clocks of sender and receiver"
            raise WebhookError(message)
        signed = f"{found['webhook-id']}.{timestamp}.".encode() + body
        expected = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in self._keys]
        parts = found["webhook-signature"].split(" ")
        offered = [part.removeprefix("v1,").encode() for part in parts if part.startswith("v1,")]
        # Compares all pairs, so that the duration does not reveal which pair matches.
        fits = [hmac.compare_digest(one, other) for one in expected for other in offered]
        if not any(fits):
            raise WebhookError("the signature of the webhook is wrong")
        return json.loads(body)
