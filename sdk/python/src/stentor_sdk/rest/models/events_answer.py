from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.ledger_entry import LedgerEntry


T = TypeVar("T", bound="EventsAnswer")


@_attrs_define
class EventsAnswer:
    """Page of the ledger.

    Attributes:
        success (bool): Always true.
        events (list[LedgerEntry]): Events in the order in which they happened.
        next_ (str): Value of `after` for the next page.
        more (bool): True if the ledger has more events after this page. The conditions of the request may exclude all
            of
            them.
        oldest (None | str | Unset): Cursor of the oldest event that is kept; absent if the ledger is empty. If the
            cursor in `after` is
            lower, events between the two may have been deleted.
    """

    success: bool
    events: list[LedgerEntry]
    next_: str
    more: bool
    oldest: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        events = []
        for events_item_data in self.events:
            events_item = events_item_data.to_dict()
            events.append(events_item)

        next_ = self.next_

        more = self.more

        oldest: None | str | Unset
        if isinstance(self.oldest, Unset):
            oldest = UNSET
        else:
            oldest = self.oldest

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "events": events,
                "next": next_,
                "more": more,
            }
        )
        if oldest is not UNSET:
            field_dict["oldest"] = oldest

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.ledger_entry import LedgerEntry

        d = dict(src_dict)
        success = d.pop("success")

        events = []
        _events = d.pop("events")
        for events_item_data in _events:
            events_item = LedgerEntry.from_dict(events_item_data)

            events.append(events_item)

        next_ = d.pop("next")

        more = d.pop("more")

        def _parse_oldest(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        oldest = _parse_oldest(d.pop("oldest", UNSET))

        events_answer = cls(
            success=success,
            events=events,
            next_=next_,
            more=more,
            oldest=oldest,
        )

        events_answer.additional_properties = d
        return events_answer

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
