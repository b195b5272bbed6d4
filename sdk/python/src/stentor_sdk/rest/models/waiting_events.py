from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="WaitingEvents")


@_attrs_define
class WaitingEvents:
    """Room whose events wait for delivery.

    Attributes:
        room_id (str): Id of the room.
        from_ (str): Cursor of its oldest undelivered event.
        attempts (int): Failed attempts for that event.
        next_ (int): Time of the next attempt.
        since (int | None | Unset): Time of the first failed attempt; absent if there was none.
        error (None | str | Unset): Reason why the latest attempt failed.
    """

    room_id: str
    from_: str
    attempts: int
    next_: int
    since: int | None | Unset = UNSET
    error: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        room_id = self.room_id

        from_ = self.from_

        attempts = self.attempts

        next_ = self.next_

        since: int | None | Unset
        if isinstance(self.since, Unset):
            since = UNSET
        else:
            since = self.since

        error: None | str | Unset
        if isinstance(self.error, Unset):
            error = UNSET
        else:
            error = self.error

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "roomId": room_id,
                "from": from_,
                "attempts": attempts,
                "next": next_,
            }
        )
        if since is not UNSET:
            field_dict["since"] = since
        if error is not UNSET:
            field_dict["error"] = error

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        room_id = d.pop("roomId")

        from_ = d.pop("from")

        attempts = d.pop("attempts")

        next_ = d.pop("next")

        def _parse_since(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        since = _parse_since(d.pop("since", UNSET))

        def _parse_error(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        error = _parse_error(d.pop("error", UNSET))

        waiting_events = cls(
            room_id=room_id,
            from_=from_,
            attempts=attempts,
            next_=next_,
            since=since,
            error=error,
        )

        waiting_events.additional_properties = d
        return waiting_events

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
