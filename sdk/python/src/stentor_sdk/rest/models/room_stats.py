from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="RoomStats")


@_attrs_define
class RoomStats:
    """Number of rooms, in total and by status.

    Attributes:
        total (int):
        created (int):
        backstage (int):
        starting (int):
        onair (int):
        degraded (int):
        removing (int):
    """

    total: int
    created: int
    backstage: int
    starting: int
    onair: int
    degraded: int
    removing: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        total = self.total

        created = self.created

        backstage = self.backstage

        starting = self.starting

        onair = self.onair

        degraded = self.degraded

        removing = self.removing

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "total": total,
                "created": created,
                "backstage": backstage,
                "starting": starting,
                "onair": onair,
                "degraded": degraded,
                "removing": removing,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        total = d.pop("total")

        created = d.pop("created")

        backstage = d.pop("backstage")

        starting = d.pop("starting")

        onair = d.pop("onair")

        degraded = d.pop("degraded")

        removing = d.pop("removing")

        room_stats = cls(
            total=total,
            created=created,
            backstage=backstage,
            starting=starting,
            onair=onair,
            degraded=degraded,
            removing=removing,
        )

        room_stats.additional_properties = d
        return room_stats

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
