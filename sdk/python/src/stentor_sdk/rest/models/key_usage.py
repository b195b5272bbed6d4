from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="KeyUsage")


@_attrs_define
class KeyUsage:
    """Rooms that count against the quotas of a key.

    Attributes:
        rooms (int): Number of existing rooms that the key has created.
        rooms_on_air (int): Number of these rooms that are on air or backstage, or that their Janus and mixer have not
            released
            yet.
    """

    rooms: int
    rooms_on_air: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        rooms = self.rooms

        rooms_on_air = self.rooms_on_air

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "rooms": rooms,
                "roomsOnAir": rooms_on_air,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        rooms = d.pop("rooms")

        rooms_on_air = d.pop("roomsOnAir")

        key_usage = cls(
            rooms=rooms,
            rooms_on_air=rooms_on_air,
        )

        key_usage.additional_properties = d
        return key_usage

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
