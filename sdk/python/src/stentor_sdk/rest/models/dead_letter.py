from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.ledger_entry import LedgerEntry


T = TypeVar("T", bound="DeadLetter")


@_attrs_define
class DeadLetter:
    """Event that was given up.

    Attributes:
        event (LedgerEntry): Event of the ledger.
        attempts (int): Failed attempts; 0 if the event only waited behind other events.
        error (str): Reason for the latest failure.
        at (int): Time at which the event was given up.
    """

    event: LedgerEntry
    attempts: int
    error: str
    at: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        event = self.event.to_dict()

        attempts = self.attempts

        error = self.error

        at = self.at

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "event": event,
                "attempts": attempts,
                "error": error,
                "at": at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.ledger_entry import LedgerEntry

        d = dict(src_dict)
        event = LedgerEntry.from_dict(d.pop("event"))

        attempts = d.pop("attempts")

        error = d.pop("error")

        at = d.pop("at")

        dead_letter = cls(
            event=event,
            attempts=attempts,
            error=error,
            at=at,
        )

        dead_letter.additional_properties = d
        return dead_letter

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
