from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..models.mark_label import MarkLabel
from ..types import UNSET, Unset

T = TypeVar("T", bound="SetMark")


@_attrs_define
class SetMark:
    """Cordon label (`mark`) to set on a module.

    Attributes:
        label (MarkLabel):
        ttl (int | None | Unset): Number of seconds after which the label is removed. If absent or null, the label
            stays.
    """

    label: MarkLabel
    ttl: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        label = self.label.value

        ttl: int | None | Unset
        if isinstance(self.ttl, Unset):
            ttl = UNSET
        else:
            ttl = self.ttl

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "label": label,
            }
        )
        if ttl is not UNSET:
            field_dict["ttl"] = ttl

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        label = MarkLabel(d.pop("label"))

        def _parse_ttl(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        ttl = _parse_ttl(d.pop("ttl", UNSET))

        set_mark = cls(
            label=label,
            ttl=ttl,
        )

        return set_mark
