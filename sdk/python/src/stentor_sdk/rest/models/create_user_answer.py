from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="CreateUserAnswer")


@_attrs_define
class CreateUserAnswer:
    """Created user, with a token.

    Attributes:
        success (bool): Always true.
        user_id (str): Id of the user.
        person_id (str): Id of the user in the listener channel of the room.
        role (str): Permissions of an anchor. `host`, `anchor`
        token (str): Token for the WebSocket at `wsUrl`, valid until `expiresAt`.
        expires_at (int): Time at which the token expires.
        ws_url (str): URL of the WebSocket for anchors.
        whip_url (str): URL at which broadcast software publishes with WHIP (RFC 9725), with the token as its bearer
            token.
        invite_url (str): URL of the page for speaking. The token is in the fragment, which browsers never send to a
            server.
        pin (str): PIN of the room. Optional in `join`: the token alone is sufficient.
    """

    success: bool
    user_id: str
    person_id: str
    role: str
    token: str
    expires_at: int
    ws_url: str
    whip_url: str
    invite_url: str
    pin: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        user_id = self.user_id

        person_id = self.person_id

        role = self.role

        token = self.token

        expires_at = self.expires_at

        ws_url = self.ws_url

        whip_url = self.whip_url

        invite_url = self.invite_url

        pin = self.pin

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "userId": user_id,
                "personId": person_id,
                "role": role,
                "token": token,
                "expiresAt": expires_at,
                "wsUrl": ws_url,
                "whipUrl": whip_url,
                "inviteUrl": invite_url,
                "pin": pin,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        success = d.pop("success")

        user_id = d.pop("userId")

        person_id = d.pop("personId")

        role = d.pop("role")

        token = d.pop("token")

        expires_at = d.pop("expiresAt")

        ws_url = d.pop("wsUrl")

        whip_url = d.pop("whipUrl")

        invite_url = d.pop("inviteUrl")

        pin = d.pop("pin")

        create_user_answer = cls(
            success=success,
            user_id=user_id,
            person_id=person_id,
            role=role,
            token=token,
            expires_at=expires_at,
            ws_url=ws_url,
            whip_url=whip_url,
            invite_url=invite_url,
            pin=pin,
        )

        create_user_answer.additional_properties = d
        return create_user_answer

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
