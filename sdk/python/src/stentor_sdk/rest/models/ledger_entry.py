from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.ledger_entry_data import LedgerEntryData


T = TypeVar("T", bound="LedgerEntry")


@_attrs_define
class LedgerEntry:
    """Event of the ledger.

    Attributes:
        id (str): Id of the event, the same in every delivery.
        cursor (str): Position in the ledger.
        type_ (str): Type of an event. `room_created`, `room_scheduled`, `room_unscheduled`, `backstage_opened`,
            `backstage_closed`, `room_started`, `room_moved`, `room_ended`, `room_deleted`, `anchor_invited`,
            `anchor_joined`, `anchor_left`, `listener_peak`, `hand_raised`, `hand_lowered`, `stage_invited`, `user_banned`,
            `user_unbanned`, `user_kicked`, `role_changed`, `anchor_muted`, `anchor_unmuted`, `room_muted`, `room_locked`,
            `room_unlocked`, `recording_ready`, `output_live`, `output_failed`
        room_id (str): Id of the room.
        time (str): Time of the change in RFC 3339 format, in UTC.
        data (LedgerEntryData): Details, by type; new fields may be added.
    """

    id: str
    cursor: str
    type_: str
    room_id: str
    time: str
    data: LedgerEntryData
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        cursor = self.cursor

        type_ = self.type_

        room_id = self.room_id

        time = self.time

        data = self.data.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "cursor": cursor,
                "type": type_,
                "roomId": room_id,
                "time": time,
                "data": data,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.ledger_entry_data import LedgerEntryData

        d = dict(src_dict)
        id = d.pop("id")

        cursor = d.pop("cursor")

        type_ = d.pop("type")

        room_id = d.pop("roomId")

        time = d.pop("time")

        data = LedgerEntryData.from_dict(d.pop("data"))

        ledger_entry = cls(
            id=id,
            cursor=cursor,
            type_=type_,
            room_id=room_id,
            time=time,
            data=data,
        )

        ledger_entry.additional_properties = d
        return ledger_entry

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
