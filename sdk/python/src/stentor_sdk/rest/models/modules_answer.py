from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.module import Module


T = TypeVar("T", bound="ModulesAnswer")


@_attrs_define
class ModulesAnswer:
    """Answer with all known modules.

    Attributes:
        success (bool): Always true.
        januses (list[Module]): Known Janus instances.
        mixers (list[Module]): Known mixers.
    """

    success: bool
    januses: list[Module]
    mixers: list[Module]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        januses = []
        for januses_item_data in self.januses:
            januses_item = januses_item_data.to_dict()
            januses.append(januses_item)

        mixers = []
        for mixers_item_data in self.mixers:
            mixers_item = mixers_item_data.to_dict()
            mixers.append(mixers_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "januses": januses,
                "mixers": mixers,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.module import Module

        d = dict(src_dict)
        success = d.pop("success")

        januses = []
        _januses = d.pop("januses")
        for januses_item_data in _januses:
            januses_item = Module.from_dict(januses_item_data)

            januses.append(januses_item)

        mixers = []
        _mixers = d.pop("mixers")
        for mixers_item_data in _mixers:
            mixers_item = Module.from_dict(mixers_item_data)

            mixers.append(mixers_item)

        modules_answer = cls(
            success=success,
            januses=januses,
            mixers=mixers,
        )

        modules_answer.additional_properties = d
        return modules_answer

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
