"""Server SDK for Stentor.

`stentor_sdk.rest` has the functions and types of the room API, generated from its OpenAPI document.
"""

from .client import connect
from .errors import StentorError
from .events import follow, pages
from .tokens import TokenSigner
from .webhooks import WebhookError, WebhookVerifier

__all__ = ["StentorError", "TokenSigner", "WebhookError", "WebhookVerifier", "connect", "follow", "pages"]
