from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..models.key_scope import KeyScope
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.quotas import Quotas


T = TypeVar("T", bound="CreateKey")


@_attrs_define
class CreateKey:
    """API key to create.

    Attributes:
        name (str): Name by which people recognise the key, such as that of the application: 1 to 64 visible characters.
        scopes (list[KeyScope]): Parts of the API that the key may use. The caller must have all of these scopes.
        ttl (int | None | Unset): Number of seconds after which the key expires. If absent or null, it does not.
        quotas (Quotas | Unset): Limits of an API key; absent or null: no limit.
    """

    name: str
    scopes: list[KeyScope]
    ttl: int | None | Unset = UNSET
    quotas: Quotas | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        name = self.name

        scopes = []
        for scopes_item_data in self.scopes:
            scopes_item = scopes_item_data.value
            scopes.append(scopes_item)

        ttl: int | None | Unset
        if isinstance(self.ttl, Unset):
            ttl = UNSET
        else:
            ttl = self.ttl

        quotas: dict[str, Any] | Unset = UNSET
        if not isinstance(self.quotas, Unset):
            quotas = self.quotas.to_dict()

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "name": name,
                "scopes": scopes,
            }
        )
        if ttl is not UNSET:
            field_dict["ttl"] = ttl
        if quotas is not UNSET:
            field_dict["quotas"] = quotas

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.quotas import Quotas

        d = dict(src_dict)
        name = d.pop("name")

        scopes = []
        _scopes = d.pop("scopes")
        for scopes_item_data in _scopes:
            scopes_item = KeyScope(scopes_item_data)

            scopes.append(scopes_item)

        def _parse_ttl(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        ttl = _parse_ttl(d.pop("ttl", UNSET))

        _quotas = d.pop("quotas", UNSET)
        quotas: Quotas | Unset
        if isinstance(_quotas, Unset):
            quotas = UNSET
        else:
            quotas = Quotas.from_dict(_quotas)

        create_key = cls(
            name=name,
            scopes=scopes,
            ttl=ttl,
            quotas=quotas,
        )

        return create_key
