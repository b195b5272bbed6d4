from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="Source")


@_attrs_define
class Source:
    """Source of a room.

    Attributes:
        source_id (str): Id of the source: the user id under which it is a member of the room.
        kind (str): `url` or `file`.
        loop (bool): True if the input starts over when it ends.
        muted (bool): True if the source is muted.
        status (str): `waiting`, `playing` or `ended`. A source plays while its room is on air or backstage.
        created_at (int): Time at which the source was added.
        url (None | str | Unset): Scheme, host and port of the URL, and the application of an RTMP URL. The rest may
            contain a secret
            and is replaced by `…`.
        file (None | str | Unset): Path below `sources.folder`.
        title (None | str | Unset): Name shown in the room.
        reason (None | str | Unset): Reason for the last failed attempt to play; absent if the source was heard after
            it, or never failed.
    """

    source_id: str
    kind: str
    loop: bool
    muted: bool
    status: str
    created_at: int
    url: None | str | Unset = UNSET
    file: None | str | Unset = UNSET
    title: None | str | Unset = UNSET
    reason: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        source_id = self.source_id

        kind = self.kind

        loop = self.loop

        muted = self.muted

        status = self.status

        created_at = self.created_at

        url: None | str | Unset
        if isinstance(self.url, Unset):
            url = UNSET
        else:
            url = self.url

        file: None | str | Unset
        if isinstance(self.file, Unset):
            file = UNSET
        else:
            file = self.file

        title: None | str | Unset
        if isinstance(self.title, Unset):
            title = UNSET
        else:
            title = self.title

        reason: None | str | Unset
        if isinstance(self.reason, Unset):
            reason = UNSET
        else:
            reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "sourceId": source_id,
                "kind": kind,
                "loop": loop,
                "muted": muted,
                "status": status,
                "createdAt": created_at,
            }
        )
        if url is not UNSET:
            field_dict["url"] = url
        if file is not UNSET:
            field_dict["file"] = file
        if title is not UNSET:
            field_dict["title"] = title
        if reason is not UNSET:
            field_dict["reason"] = reason

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        source_id = d.pop("sourceId")

        kind = d.pop("kind")

        loop = d.pop("loop")

        muted = d.pop("muted")

        status = d.pop("status")

        created_at = d.pop("createdAt")

        def _parse_url(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        url = _parse_url(d.pop("url", UNSET))

        def _parse_file(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        file = _parse_file(d.pop("file", UNSET))

        def _parse_title(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        title = _parse_title(d.pop("title", UNSET))

        def _parse_reason(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        reason = _parse_reason(d.pop("reason", UNSET))

        source = cls(
            source_id=source_id,
            kind=kind,
            loop=loop,
            muted=muted,
            status=status,
            created_at=created_at,
            url=url,
            file=file,
            title=title,
            reason=reason,
        )

        source.additional_properties = d
        return source

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
