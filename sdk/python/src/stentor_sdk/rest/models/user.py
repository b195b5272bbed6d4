from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="User")


@_attrs_define
class User:
    """User who was created through the API, is banned, or is in the room with a token from elsewhere.

    Attributes:
        user_id (str): Id of the user.
        person_id (str): Id of the user in the listener channel of the room.
        role (str): Role of a user in the room. `host`, `co_host`, `anchor`, `listener`
        created_at (int | None | Unset): Time at which the user was created; absent if the user was not created through
            the API.
        removed_at (int | None | Unset): Time since which no token of the user is valid for this room. Absent unless the
            user is banned, or was
            kicked within the last seconds.
        connected (bool | None | Unset): True if the user is in the room now; absent while presence is unavailable.
        display_name (None | str | Unset): Display name. Like `muted` and `status`, present only while the user is
            connected.
        muted (bool | None | Unset): True if the user is muted.
        status (None | str | Unset): `onair` or `idle`.
        source (None | str | Unset): `whip` if the user publishes with WHIP, `url` or `file` for a source; absent for
            clients with a
            WebSocket.
        spoken_ms (int | None | Unset): Time that the user has spoken in the room, in milliseconds, up to some seconds
            ago; absent while it is
            not known.
    """

    user_id: str
    person_id: str
    role: str
    created_at: int | None | Unset = UNSET
    removed_at: int | None | Unset = UNSET
    connected: bool | None | Unset = UNSET
    display_name: None | str | Unset = UNSET
    muted: bool | None | Unset = UNSET
    status: None | str | Unset = UNSET
    source: None | str | Unset = UNSET
    spoken_ms: int | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        user_id = self.user_id

        person_id = self.person_id

        role = self.role

        created_at: int | None | Unset
        if isinstance(self.created_at, Unset):
            created_at = UNSET
        else:
            created_at = self.created_at

        removed_at: int | None | Unset
        if isinstance(self.removed_at, Unset):
            removed_at = UNSET
        else:
            removed_at = self.removed_at

        connected: bool | None | Unset
        if isinstance(self.connected, Unset):
            connected = UNSET
        else:
            connected = self.connected

        display_name: None | str | Unset
        if isinstance(self.display_name, Unset):
            display_name = UNSET
        else:
            display_name = self.display_name

        muted: bool | None | Unset
        if isinstance(self.muted, Unset):
            muted = UNSET
        else:
            muted = self.muted

        status: None | str | Unset
        if isinstance(self.status, Unset):
            status = UNSET
        else:
            status = self.status

        source: None | str | Unset
        if isinstance(self.source, Unset):
            source = UNSET
        else:
            source = self.source

        spoken_ms: int | None | Unset
        if isinstance(self.spoken_ms, Unset):
            spoken_ms = UNSET
        else:
            spoken_ms = self.spoken_ms

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "userId": user_id,
                "personId": person_id,
                "role": role,
            }
        )
        if created_at is not UNSET:
            field_dict["createdAt"] = created_at
        if removed_at is not UNSET:
            field_dict["removedAt"] = removed_at
        if connected is not UNSET:
            field_dict["connected"] = connected
        if display_name is not UNSET:
            field_dict["displayName"] = display_name
        if muted is not UNSET:
            field_dict["muted"] = muted
        if status is not UNSET:
            field_dict["status"] = status
        if source is not UNSET:
            field_dict["source"] = source
        if spoken_ms is not UNSET:
            field_dict["spokenMs"] = spoken_ms

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        user_id = d.pop("userId")

        person_id = d.pop("personId")

        role = d.pop("role")

        def _parse_created_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        created_at = _parse_created_at(d.pop("createdAt", UNSET))

        def _parse_removed_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        removed_at = _parse_removed_at(d.pop("removedAt", UNSET))

        def _parse_connected(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        connected = _parse_connected(d.pop("connected", UNSET))

        def _parse_display_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        display_name = _parse_display_name(d.pop("displayName", UNSET))

        def _parse_muted(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        muted = _parse_muted(d.pop("muted", UNSET))

        def _parse_status(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        status = _parse_status(d.pop("status", UNSET))

        def _parse_source(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        source = _parse_source(d.pop("source", UNSET))

        def _parse_spoken_ms(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        spoken_ms = _parse_spoken_ms(d.pop("spokenMs", UNSET))

        user = cls(
            user_id=user_id,
            person_id=person_id,
            role=role,
            created_at=created_at,
            removed_at=removed_at,
            connected=connected,
            display_name=display_name,
            muted=muted,
            status=status,
            source=source,
            spoken_ms=spoken_ms,
        )

        user.additional_properties = d
        return user

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
