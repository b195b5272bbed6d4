from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="Track")


@_attrs_define
class Track:
    """Track of a recording: the sound of one anchor, as long as the recording.

    Attributes:
        number (int): Number of the track in the recording.
        user_id (str): Id of the anchor's user.
        node (str): Node that has the file.
        bytes_ (int): Size of the file, in bytes.
        display_name (None | str | Unset): Name of the user, if known.
        source (None | str | Unset): `whip` if the user published with WHIP, `url` or `file` for a source; absent for
            clients with a
            WebSocket.
    """

    number: int
    user_id: str
    node: str
    bytes_: int
    display_name: None | str | Unset = UNSET
    source: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        number = self.number

        user_id = self.user_id

        node = self.node

        bytes_ = self.bytes_

        display_name: None | str | Unset
        if isinstance(self.display_name, Unset):
            display_name = UNSET
        else:
            display_name = self.display_name

        source: None | str | Unset
        if isinstance(self.source, Unset):
            source = UNSET
        else:
            source = self.source

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "number": number,
                "userId": user_id,
                "node": node,
                "bytes": bytes_,
            }
        )
        if display_name is not UNSET:
            field_dict["displayName"] = display_name
        if source is not UNSET:
            field_dict["source"] = source

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        number = d.pop("number")

        user_id = d.pop("userId")

        node = d.pop("node")

        bytes_ = d.pop("bytes")

        def _parse_display_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        display_name = _parse_display_name(d.pop("displayName", UNSET))

        def _parse_source(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        source = _parse_source(d.pop("source", UNSET))

        track = cls(
            number=number,
            user_id=user_id,
            node=node,
            bytes_=bytes_,
            display_name=display_name,
            source=source,
        )

        track.additional_properties = d
        return track

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
