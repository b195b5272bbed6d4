from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="MachineLoad")


@_attrs_define
class MachineLoad:
    """Average processor usage of a machine.

    Attributes:
        busy_percent (int): Share of all processors in use, percent.
        media_percent (int): Share of all processors used by the Janus and FFmpeg processes of the node, percent.
    """

    busy_percent: int
    media_percent: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        busy_percent = self.busy_percent

        media_percent = self.media_percent

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "busyPercent": busy_percent,
                "mediaPercent": media_percent,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        busy_percent = d.pop("busyPercent")

        media_percent = d.pop("mediaPercent")

        machine_load = cls(
            busy_percent=busy_percent,
            media_percent=media_percent,
        )

        machine_load.additional_properties = d
        return machine_load

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
