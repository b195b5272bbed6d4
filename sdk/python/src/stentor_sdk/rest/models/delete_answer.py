from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.room import Room


T = TypeVar("T", bound="DeleteAnswer")


@_attrs_define
class DeleteAnswer:
    """Answer to the deletion of a room.

    Attributes:
        success (bool): Always true.
        room (None | Room | Unset):
    """

    success: bool
    room: None | Room | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.room import Room

        success = self.success

        room: dict[str, Any] | None | Unset
        if isinstance(self.room, Unset):
            room = UNSET
        elif isinstance(self.room, Room):
            room = self.room.to_dict()
        else:
            room = self.room

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
            }
        )
        if room is not UNSET:
            field_dict["room"] = room

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.room import Room

        d = dict(src_dict)
        success = d.pop("success")

        def _parse_room(data: object) -> None | Room | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                room_type_0 = Room.from_dict(data)

                return room_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Room | Unset, data)

        room = _parse_room(d.pop("room", UNSET))

        delete_answer = cls(
            success=success,
            room=room,
        )

        delete_answer.additional_properties = d
        return delete_answer

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
