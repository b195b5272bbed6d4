from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define

from ..models.room_role import RoomRole

T = TypeVar("T", bound="SetRole")


@_attrs_define
class SetRole:
    """Role to give.

    Attributes:
        role (RoomRole): Role of a user in the room.
    """

    role: RoomRole

    def to_dict(self) -> dict[str, Any]:
        role = self.role.value

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "role": role,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        role = RoomRole(d.pop("role"))

        set_role = cls(
            role=role,
        )

        return set_role
