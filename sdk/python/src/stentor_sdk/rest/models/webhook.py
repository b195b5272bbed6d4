from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.unavailable_endpoint import UnavailableEndpoint
    from ..models.waiting_events import WaitingEvents


T = TypeVar("T", bound="Webhook")


@_attrs_define
class Webhook:
    """Endpoint and its progress.

    Attributes:
        name (str): Name in `webhooks.endpoints`.
        url (str): URL to which events are sent.
        types (list[str]): Types of the events that the endpoint gets; empty if it gets all types.
        rooms (list[str]): Ids of the rooms whose events the endpoint gets; a `*` at the end matches any suffix. Empty
            if it gets
            the events of all rooms.
        waiting (list[WaitingEvents]): Rooms with events that are not delivered yet, at most 100. Further events wait in
            the ledger.
        dead_letters (int): Number of events given up since the endpoint was first configured.
        cursor (None | str | Unset): Cursor up to which every selected event is delivered or given up, except events of
            the rooms in
            `waiting`. Absent until the leader has begun.
        unavailable (None | UnavailableEndpoint | Unset):
    """

    name: str
    url: str
    types: list[str]
    rooms: list[str]
    waiting: list[WaitingEvents]
    dead_letters: int
    cursor: None | str | Unset = UNSET
    unavailable: None | UnavailableEndpoint | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.unavailable_endpoint import UnavailableEndpoint

        name = self.name

        url = self.url

        types = self.types

        rooms = self.rooms

        waiting = []
        for waiting_item_data in self.waiting:
            waiting_item = waiting_item_data.to_dict()
            waiting.append(waiting_item)

        dead_letters = self.dead_letters

        cursor: None | str | Unset
        if isinstance(self.cursor, Unset):
            cursor = UNSET
        else:
            cursor = self.cursor

        unavailable: dict[str, Any] | None | Unset
        if isinstance(self.unavailable, Unset):
            unavailable = UNSET
        elif isinstance(self.unavailable, UnavailableEndpoint):
            unavailable = self.unavailable.to_dict()
        else:
            unavailable = self.unavailable

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "name": name,
                "url": url,
                "types": types,
                "rooms": rooms,
                "waiting": waiting,
                "deadLetters": dead_letters,
            }
        )
        if cursor is not UNSET:
            field_dict["cursor"] = cursor
        if unavailable is not UNSET:
            field_dict["unavailable"] = unavailable

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.unavailable_endpoint import UnavailableEndpoint
        from ..models.waiting_events import WaitingEvents

        d = dict(src_dict)
        name = d.pop("name")

        url = d.pop("url")

        types = cast(list[str], d.pop("types"))

        rooms = cast(list[str], d.pop("rooms"))

        waiting = []
        _waiting = d.pop("waiting")
        for waiting_item_data in _waiting:
            waiting_item = WaitingEvents.from_dict(waiting_item_data)

            waiting.append(waiting_item)

        dead_letters = d.pop("deadLetters")

        def _parse_cursor(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        cursor = _parse_cursor(d.pop("cursor", UNSET))

        def _parse_unavailable(data: object) -> None | UnavailableEndpoint | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                unavailable_type_0 = UnavailableEndpoint.from_dict(data)

                return unavailable_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UnavailableEndpoint | Unset, data)

        unavailable = _parse_unavailable(d.pop("unavailable", UNSET))

        webhook = cls(
            name=name,
            url=url,
            types=types,
            rooms=rooms,
            waiting=waiting,
            dead_letters=dead_letters,
            cursor=cursor,
            unavailable=unavailable,
        )

        webhook.additional_properties = d
        return webhook

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
