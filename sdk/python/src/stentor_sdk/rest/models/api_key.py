from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.key_usage import KeyUsage
    from ..models.quotas import Quotas


T = TypeVar("T", bound="ApiKey")


@_attrs_define
class ApiKey:
    """API key, without its secret.

    Attributes:
        id (str): Id of the key: the part of its text between the first two underscores.
        name (str):
        scopes (list[str]):
        created_at (int): Time at which the key was created.
        quotas (Quotas): Limits of an API key; absent or null: no limit.
        usage (KeyUsage): Rooms that count against the quotas of a key.
        expires_at (int | None | Unset): Time from which the key is refused; absent if it does not expire.
        revoked_at (int | None | Unset): Time at which the key was revoked; absent if it was not.
    """

    id: str
    name: str
    scopes: list[str]
    created_at: int
    quotas: Quotas
    usage: KeyUsage
    expires_at: int | None | Unset = UNSET
    revoked_at: int | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        name = self.name

        scopes = self.scopes

        created_at = self.created_at

        quotas = self.quotas.to_dict()

        usage = self.usage.to_dict()

        expires_at: int | None | Unset
        if isinstance(self.expires_at, Unset):
            expires_at = UNSET
        else:
            expires_at = self.expires_at

        revoked_at: int | None | Unset
        if isinstance(self.revoked_at, Unset):
            revoked_at = UNSET
        else:
            revoked_at = self.revoked_at

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "name": name,
                "scopes": scopes,
                "createdAt": created_at,
                "quotas": quotas,
                "usage": usage,
            }
        )
        if expires_at is not UNSET:
            field_dict["expiresAt"] = expires_at
        if revoked_at is not UNSET:
            field_dict["revokedAt"] = revoked_at

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.key_usage import KeyUsage
        from ..models.quotas import Quotas

        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        scopes = cast(list[str], d.pop("scopes"))

        created_at = d.pop("createdAt")

        quotas = Quotas.from_dict(d.pop("quotas"))

        usage = KeyUsage.from_dict(d.pop("usage"))

        def _parse_expires_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        expires_at = _parse_expires_at(d.pop("expiresAt", UNSET))

        def _parse_revoked_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        revoked_at = _parse_revoked_at(d.pop("revokedAt", UNSET))

        api_key = cls(
            id=id,
            name=name,
            scopes=scopes,
            created_at=created_at,
            quotas=quotas,
            usage=usage,
            expires_at=expires_at,
            revoked_at=revoked_at,
        )

        api_key.additional_properties = d
        return api_key

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
