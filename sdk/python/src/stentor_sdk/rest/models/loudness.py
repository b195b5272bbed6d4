from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="Loudness")


@_attrs_define
class Loudness:
    """Loudness of a recording (EBU R 128).

    Attributes:
        range_lu (float): Loudness range in LU.
        integrated_lufs (float | None | Unset): Integrated loudness in LUFS; absent for silence.
    """

    range_lu: float
    integrated_lufs: float | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        range_lu = self.range_lu

        integrated_lufs: float | None | Unset
        if isinstance(self.integrated_lufs, Unset):
            integrated_lufs = UNSET
        else:
            integrated_lufs = self.integrated_lufs

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "rangeLu": range_lu,
            }
        )
        if integrated_lufs is not UNSET:
            field_dict["integratedLufs"] = integrated_lufs

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        range_lu = d.pop("rangeLu")

        def _parse_integrated_lufs(data: object) -> float | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(float | None | Unset, data)

        integrated_lufs = _parse_integrated_lufs(d.pop("integratedLufs", UNSET))

        loudness = cls(
            range_lu=range_lu,
            integrated_lufs=integrated_lufs,
        )

        loudness.additional_properties = d
        return loudness

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
