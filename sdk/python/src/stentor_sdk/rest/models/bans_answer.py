from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.ban import Ban


T = TypeVar("T", bound="BansAnswer")


@_attrs_define
class BansAnswer:
    """Answer with the bans of a room.

    Attributes:
        success (bool): Always true.
        bans (list[Ban]): Banned users, ordered by id.
    """

    success: bool
    bans: list[Ban]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        bans = []
        for bans_item_data in self.bans:
            bans_item = bans_item_data.to_dict()
            bans.append(bans_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "bans": bans,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.ban import Ban

        d = dict(src_dict)
        success = d.pop("success")

        bans = []
        _bans = d.pop("bans")
        for bans_item_data in _bans:
            bans_item = Ban.from_dict(bans_item_data)

            bans.append(bans_item)

        bans_answer = cls(
            success=success,
            bans=bans,
        )

        bans_answer.additional_properties = d
        return bans_answer

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
