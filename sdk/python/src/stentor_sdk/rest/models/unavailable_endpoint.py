from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="UnavailableEndpoint")


@_attrs_define
class UnavailableEndpoint:
    """Period in which an endpoint is not available.

    Attributes:
        since (int): Time of the first failure.
        attempts (int): Failures since then.
        next_ (int): Time of the next attempt.
        error (str): Reason for the latest failure.
    """

    since: int
    attempts: int
    next_: int
    error: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        since = self.since

        attempts = self.attempts

        next_ = self.next_

        error = self.error

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "since": since,
                "attempts": attempts,
                "next": next_,
                "error": error,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        since = d.pop("since")

        attempts = d.pop("attempts")

        next_ = d.pop("next")

        error = d.pop("error")

        unavailable_endpoint = cls(
            since=since,
            attempts=attempts,
            next_=next_,
            error=error,
        )

        unavailable_endpoint.additional_properties = d
        return unavailable_endpoint

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
