from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="AddSource")


@_attrs_define
class AddSource:
    """Source to add: either `url` or `file`.

    Attributes:
        url (None | str | Unset): URL of a stream or a file, with a scheme that `sources.schemes` permits. It is stored
            encrypted. The
            passphrase of an `srt` URL has 10 to 79 bytes.
        file (None | str | Unset): Path of a file below `sources.folder`.
        title (None | str | Unset): Name shown in the room.
        loop (bool | None | Unset): True if the input starts over when it ends. By default true for a URL, because the
            end of a live
            stream is usually an interruption, and false for a file.
    """

    url: None | str | Unset = UNSET
    file: None | str | Unset = UNSET
    title: None | str | Unset = UNSET
    loop: bool | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
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

        loop: bool | None | Unset
        if isinstance(self.loop, Unset):
            loop = UNSET
        else:
            loop = self.loop

        field_dict: dict[str, Any] = {}

        field_dict.update({})
        if url is not UNSET:
            field_dict["url"] = url
        if file is not UNSET:
            field_dict["file"] = file
        if title is not UNSET:
            field_dict["title"] = title
        if loop is not UNSET:
            field_dict["loop"] = loop

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)

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

        def _parse_loop(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        loop = _parse_loop(d.pop("loop", UNSET))

        add_source = cls(
            url=url,
            file=file,
            title=title,
            loop=loop,
        )

        return add_source
