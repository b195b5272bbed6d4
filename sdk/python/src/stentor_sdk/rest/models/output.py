from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="Output")


@_attrs_define
class Output:
    """Output of a room.

    Attributes:
        output_id (str): Id of the output.
        kind (str):  `icecast`, `rtmp`, `srt`
        format_ (str): Codec of the audio that is sent. AAC is not encoded again: the target gets the same frames as
            listeners. `aac`, `mp3`, `opus`
        target (str): Target without its credentials.
        state (str):  `waiting`, `connecting`, `live`, `failing`
        since (int): Time since which the output has this state.
        failures (int): Number of failures in a row.
        created_at (int): Time at which the output was added.
        reason (None | str | Unset): Reason for the last failure; absent unless the state is `failing`.
    """

    output_id: str
    kind: str
    format_: str
    target: str
    state: str
    since: int
    failures: int
    created_at: int
    reason: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        output_id = self.output_id

        kind = self.kind

        format_ = self.format_

        target = self.target

        state = self.state

        since = self.since

        failures = self.failures

        created_at = self.created_at

        reason: None | str | Unset
        if isinstance(self.reason, Unset):
            reason = UNSET
        else:
            reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "outputId": output_id,
                "kind": kind,
                "format": format_,
                "target": target,
                "state": state,
                "since": since,
                "failures": failures,
                "createdAt": created_at,
            }
        )
        if reason is not UNSET:
            field_dict["reason"] = reason

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        output_id = d.pop("outputId")

        kind = d.pop("kind")

        format_ = d.pop("format")

        target = d.pop("target")

        state = d.pop("state")

        since = d.pop("since")

        failures = d.pop("failures")

        created_at = d.pop("createdAt")

        def _parse_reason(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        reason = _parse_reason(d.pop("reason", UNSET))

        output = cls(
            output_id=output_id,
            kind=kind,
            format_=format_,
            target=target,
            state=state,
            since=since,
            failures=failures,
            created_at=created_at,
            reason=reason,
        )

        output.additional_properties = d
        return output

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
