from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.api_key import ApiKey


T = TypeVar("T", bound="NewKeyAnswer")


@_attrs_define
class NewKeyAnswer:
    """Answer with a new API key.

    Attributes:
        success (bool): Always true.
        secret (str): Text of the key, for `Authorization: Bearer`. It is shown only here and cannot be restored.
        key (ApiKey): API key, without its secret.
    """

    success: bool
    secret: str
    key: ApiKey
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        secret = self.secret

        key = self.key.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "secret": secret,
                "key": key,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.api_key import ApiKey

        d = dict(src_dict)
        success = d.pop("success")

        secret = d.pop("secret")

        key = ApiKey.from_dict(d.pop("key"))

        new_key_answer = cls(
            success=success,
            secret=secret,
            key=key,
        )

        new_key_answer.additional_properties = d
        return new_key_answer

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
