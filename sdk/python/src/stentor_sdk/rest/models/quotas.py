from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="Quotas")


@_attrs_define
class Quotas:
    """Limits of an API key; absent or null: no limit.

    Attributes:
        rooms (int | None | Unset): Rooms that the key created and that exist.
        rooms_on_air (int | None | Unset): Rooms of the key that are on air or backstage.
        users_per_room (int | None | Unset): Invited users in each room of the key, without those who are banned.
        tokens_per_minute (int | None | Unset): Tokens that each node issues to the key within a minute.
    """

    rooms: int | None | Unset = UNSET
    rooms_on_air: int | None | Unset = UNSET
    users_per_room: int | None | Unset = UNSET
    tokens_per_minute: int | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        rooms: int | None | Unset
        if isinstance(self.rooms, Unset):
            rooms = UNSET
        else:
            rooms = self.rooms

        rooms_on_air: int | None | Unset
        if isinstance(self.rooms_on_air, Unset):
            rooms_on_air = UNSET
        else:
            rooms_on_air = self.rooms_on_air

        users_per_room: int | None | Unset
        if isinstance(self.users_per_room, Unset):
            users_per_room = UNSET
        else:
            users_per_room = self.users_per_room

        tokens_per_minute: int | None | Unset
        if isinstance(self.tokens_per_minute, Unset):
            tokens_per_minute = UNSET
        else:
            tokens_per_minute = self.tokens_per_minute

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if rooms is not UNSET:
            field_dict["rooms"] = rooms
        if rooms_on_air is not UNSET:
            field_dict["roomsOnAir"] = rooms_on_air
        if users_per_room is not UNSET:
            field_dict["usersPerRoom"] = users_per_room
        if tokens_per_minute is not UNSET:
            field_dict["tokensPerMinute"] = tokens_per_minute

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_rooms(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        rooms = _parse_rooms(d.pop("rooms", UNSET))

        def _parse_rooms_on_air(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        rooms_on_air = _parse_rooms_on_air(d.pop("roomsOnAir", UNSET))

        def _parse_users_per_room(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        users_per_room = _parse_users_per_room(d.pop("usersPerRoom", UNSET))

        def _parse_tokens_per_minute(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        tokens_per_minute = _parse_tokens_per_minute(d.pop("tokensPerMinute", UNSET))

        quotas = cls(
            rooms=rooms,
            rooms_on_air=rooms_on_air,
            users_per_room=users_per_room,
            tokens_per_minute=tokens_per_minute,
        )

        quotas.additional_properties = d
        return quotas

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
