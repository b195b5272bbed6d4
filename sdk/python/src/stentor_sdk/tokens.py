"""Tokens of anchors and listeners: JWT (RFC 7519) with HS256, signed without a request to the node."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any

# Shortest secret that a node accepts, in bytes.
_SECRET_MIN = 32
_HOUR = 3600


class TokenSigner:
    """Signer of tokens, with one of the secrets in `auth.jwt_secrets`."""

    def __init__(self, secret: str, issuer: str = "stentor") -> None:
        """`secret` is `kid:secret`, as in a line of `auth.jwt_secrets_file`; `issuer` is `auth.issuer`."""
        self._kid, _, text = secret.partition(":")
        self._secret = text.encode()
        self._issuer = issuer
        if not self._kid or len(self._secret) < _SECRET_MIN:
            raise ValueError(
                f"the secret must be kid:secret, as in auth.jwt_secrets, with {_SECRET_MIN} bytes or more"
            )

    def anchor(
        self,
        room: str,
        user: str,
        *,
        role: str = "anchor",
        ttl: int = 12 * _HOUR,
        room_created_at: int | None = None,
    ) -> str:
        """Returns a token with which `user` may speak in `room`, valid for `ttl` seconds.

        `room_created_at`, the `created_at` of the room, makes the token useless for a later room with the same id.
        Without it, the room must exist when the token is signed.
        """
        return self._sign("stentor/anchor", role, room, user, ttl, {}, room_created_at)

    def listener(
        self,
        room: str,
        *,
        user: str | None = None,
        name: str | None = None,
        ttl: int = 6 * _HOUR,
        room_created_at: int | None = None,
    ) -> str:
        """Returns a token with which one listener may hear `room`, valid for `ttl` seconds.

        `user` is a user id; random if None. Others see `name` in the chat and among the raised hands.
        `room_created_at`: see `anchor`.
        """
        more = {} if name is None else {"name": name}
        user = user or str(uuid.uuid4())
        return self._sign("stentor/listener", "listener", room, user, ttl, more, room_created_at)

    def _sign(
        self, aud: str, role: str, room: str, user: str, ttl: int, more: dict[str, Any], created_at: int | None
    ) -> str:
        iat = int(time.time())
        claims = {
            "exp": iat + ttl,
            "iat": iat,
            "aud": aud,
            "iss": self._issuer,
            "sub": user,
            "roomId": room,
            "role": role,
            "jti": str(uuid.uuid4()),
            **more,
        }
        if created_at is not None:
            claims["roomCreatedAt"] = created_at
        signed = f"{_part({'typ': 'JWT', 'alg': 'HS256', 'kid': self._kid})}.{_part(claims)}"
        return f"{signed}.{_base64url(hmac.digest(self._secret, signed.encode(), hashlib.sha256))}"


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
