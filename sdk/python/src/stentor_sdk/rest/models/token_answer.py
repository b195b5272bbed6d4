from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="TokenAnswer")


@_attrs_define
class TokenAnswer:
    """Answer with a replay token.

    Attributes:
        success (bool): Always true.
        token (str): Token for the playlist, keys and file of the recording.
        expires_at (int): Time at which the token expires.
        replay_url (str): Link to the replay page, with the token.
    """

    success: bool
    token: str
    expires_at: int
    replay_url: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        token = self.token

        expires_at = self.expires_at

        replay_url = self.replay_url

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "token": token,
                "expiresAt": expires_at,
                "replayUrl": replay_url,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        success = d.pop("success")

        token = d.pop("token")

        expires_at = d.pop("expiresAt")

        replay_url = d.pop("replayUrl")

        token_answer = cls(
            success=success,
            token=token,
            expires_at=expires_at,
            replay_url=replay_url,
        )

        token_answer.additional_properties = d
        return token_answer

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
