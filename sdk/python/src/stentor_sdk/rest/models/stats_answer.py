from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.fleet_stats import FleetStats
    from ..models.room_stats import RoomStats


T = TypeVar("T", bound="StatsAnswer")


@_attrs_define
class StatsAnswer:
    """Totals, as the answering node sees them.

    Attributes:
        success (bool): Always true.
        rooms (RoomStats): Number of rooms, in total and by status.
        listeners (int): Number of listeners of all rooms.
        januses (FleetStats): Totals of all Janus instances or of all mixers.
        mixers (FleetStats): Totals of all Janus instances or of all mixers.
    """

    success: bool
    rooms: RoomStats
    listeners: int
    januses: FleetStats
    mixers: FleetStats
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        rooms = self.rooms.to_dict()

        listeners = self.listeners

        januses = self.januses.to_dict()

        mixers = self.mixers.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "rooms": rooms,
                "listeners": listeners,
                "januses": januses,
                "mixers": mixers,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.fleet_stats import FleetStats
        from ..models.room_stats import RoomStats

        d = dict(src_dict)
        success = d.pop("success")

        rooms = RoomStats.from_dict(d.pop("rooms"))

        listeners = d.pop("listeners")

        januses = FleetStats.from_dict(d.pop("januses"))

        mixers = FleetStats.from_dict(d.pop("mixers"))

        stats_answer = cls(
            success=success,
            rooms=rooms,
            listeners=listeners,
            januses=januses,
            mixers=mixers,
        )

        stats_answer.additional_properties = d
        return stats_answer

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
