from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="FleetStats")


@_attrs_define
class FleetStats:
    """Totals of all Janus instances or of all mixers.

    Attributes:
        known (int): Number of known modules.
        healthy (int): Number of healthy modules.
        pickable (int): Number of modules that accept another room.
        capacity (int): Sum of the capacities of the healthy modules.
        load (int): Number of rooms assigned to the modules.
    """

    known: int
    healthy: int
    pickable: int
    capacity: int
    load: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        known = self.known

        healthy = self.healthy

        pickable = self.pickable

        capacity = self.capacity

        load = self.load

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "known": known,
                "healthy": healthy,
                "pickable": pickable,
                "capacity": capacity,
                "load": load,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        known = d.pop("known")

        healthy = d.pop("healthy")

        pickable = d.pop("pickable")

        capacity = d.pop("capacity")

        load = d.pop("load")

        fleet_stats = cls(
            known=known,
            healthy=healthy,
            pickable=pickable,
            capacity=capacity,
            load=load,
        )

        fleet_stats.additional_properties = d
        return fleet_stats

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
