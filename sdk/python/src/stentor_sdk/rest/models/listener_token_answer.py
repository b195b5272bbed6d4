from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="ListenerTokenAnswer")


@_attrs_define
class ListenerTokenAnswer:
    """Answer with a listener token.

    Attributes:
        success (bool): Always true.
        token (str): Token for the playlist, media and keys of the room.
        expires_at (int): Time at which the token expires.
        listen_url (str): URL of the page for listening. The token is in the fragment, which browsers never send to a
            server.
        user_id (str): Id of the listener, which is the subject of the token: the id in the request, or a random one.
        person_id (str): Id of the listener in the listener channel of the room.
    """

    success: bool
    token: str
    expires_at: int
    listen_url: str
    user_id: str
    person_id: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        token = self.token

        expires_at = self.expires_at

        listen_url = self.listen_url

        user_id = self.user_id

        person_id = self.person_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "token": token,
                "expiresAt": expires_at,
                "listenUrl": listen_url,
                "userId": user_id,
                "personId": person_id,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        success = d.pop("success")

        token = d.pop("token")

        expires_at = d.pop("expiresAt")

        listen_url = d.pop("listenUrl")

        user_id = d.pop("userId")

        person_id = d.pop("personId")

        listener_token_answer = cls(
            success=success,
            token=token,
            expires_at=expires_at,
            listen_url=listen_url,
            user_id=user_id,
            person_id=person_id,
        )

        listener_token_answer.additional_properties = d
        return listener_token_answer

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
