from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="PersonAnswer")


@_attrs_define
class PersonAnswer:
    """Id of the user, and the id that the user has in the listener channel.

    Attributes:
        success (bool): Always true.
        user_id (str): Id of the user.
        person_id (str): Id of the user in the listener channel of the room.
    """

    success: bool
    user_id: str
    person_id: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        success = self.success

        user_id = self.user_id

        person_id = self.person_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "userId": user_id,
                "personId": person_id,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        success = d.pop("success")

        user_id = d.pop("userId")

        person_id = d.pop("personId")

        person_answer = cls(
            success=success,
            user_id=user_id,
            person_id=person_id,
        )

        person_answer.additional_properties = d
        return person_answer

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
