from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="FeedAnswer")


@_attrs_define
class FeedAnswer:
    """Answer with the URL of a feed.

    Attributes:
        success (bool): Always true.
        feed_url (str): URL of the feed, with its token. Everybody who has the URL can read the feed and download its
            recordings.
        expires_at (int): Time at which the URL expires.
    """

    success: bool
    feed_url: str
    expires_at: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        feed_url = self.feed_url

        expires_at = self.expires_at

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "feedUrl": feed_url,
                "expiresAt": expires_at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        success = d.pop("success")

        feed_url = d.pop("feedUrl")

        expires_at = d.pop("expiresAt")

        feed_answer = cls(
            success=success,
            feed_url=feed_url,
            expires_at=expires_at,
        )

        feed_answer.additional_properties = d
        return feed_answer

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
