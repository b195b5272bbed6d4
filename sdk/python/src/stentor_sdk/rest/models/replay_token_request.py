from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="ReplayTokenRequest")


@_attrs_define
class ReplayTokenRequest:
    """Part of a recording for which a replay token is requested: both positions, or none. Without
    positions, the token gives access to the whole recording.

        Attributes:
            from_ (float | None | Unset): Position in seconds at which the part begins.
            to (float | None | Unset): Position in seconds at which the part ends.
    """

    from_: float | None | Unset = UNSET
    to: float | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from_: float | None | Unset
        if isinstance(self.from_, Unset):
            from_ = UNSET
        else:
            from_ = self.from_

        to: float | None | Unset
        if isinstance(self.to, Unset):
            to = UNSET
        else:
            to = self.to

        field_dict: dict[str, Any] = {}

        field_dict.update({})
        if from_ is not UNSET:
            field_dict["from"] = from_
        if to is not UNSET:
            field_dict["to"] = to

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

        def _parse_from_(data: object) -> float | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(float | None | Unset, data)

        from_ = _parse_from_(d.pop("from", UNSET))

        def _parse_to(data: object) -> float | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(float | None | Unset, data)

        to = _parse_to(d.pop("to", UNSET))

        replay_token_request = cls(
            from_=from_,
            to=to,
        )

        return replay_token_request
