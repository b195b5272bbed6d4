from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.quotas import Quotas


T = TypeVar("T", bound="UpdateKey")


@_attrs_define
class UpdateKey:
    """Changes of an API key. Scopes and expiry cannot change: create another key, and revoke this one.

    Attributes:
        name (None | str | Unset): New name; absent or null: unchanged.
        quotas (Quotas | Unset): Limits of an API key; absent or null: no limit.
    """

    name: None | str | Unset = UNSET
    quotas: Quotas | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        name: None | str | Unset
        if isinstance(self.name, Unset):
            name = UNSET
        else:
            name = self.name

        quotas: dict[str, Any] | Unset = UNSET
        if not isinstance(self.quotas, Unset):
            quotas = self.quotas.to_dict()

        field_dict: dict[str, Any] = {}

        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if quotas is not UNSET:
            field_dict["quotas"] = quotas

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.quotas import Quotas

        d = dict(src_dict)

        def _parse_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        name = _parse_name(d.pop("name", UNSET))

        _quotas = d.pop("quotas", UNSET)
        quotas: Quotas | Unset
        if isinstance(_quotas, Unset):
            quotas = UNSET
        else:
            quotas = Quotas.from_dict(_quotas)

        update_key = cls(
            name=name,
            quotas=quotas,
        )

        return update_key
