from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define

from ..models.output_format import OutputFormat
from ..types import UNSET, Unset

T = TypeVar("T", bound="NewOutput")


@_attrs_define
class NewOutput:
    """Output to add to a room.

    Attributes:
        url (str): URL of the target with its credentials: `icecast://user:password@host:port/mount` (with TLS
            `icecasts://…`), `rtmp://host/app/key`, `rtmps://host/app/key` or
            `srt://host:port?streamid=…&passphrase=…` with a passphrase of 10 to 79 bytes. It is stored encrypted
            and never returned.
        format_ (OutputFormat | Unset): Codec of the audio that is sent. AAC is not encoded again: the target gets the
            same frames as listeners.
    """

    url: str
    format_: OutputFormat | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        url = self.url

        format_: str | Unset = UNSET
        if not isinstance(self.format_, Unset):
            format_ = self.format_.value

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "url": url,
            }
        )
        if format_ is not UNSET:
            field_dict["format"] = format_

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        url = d.pop("url")

        _format_ = d.pop("format", UNSET)
        format_: OutputFormat | Unset
        if isinstance(_format_, Unset):
            format_ = UNSET
        else:
            format_ = OutputFormat(_format_)

        new_output = cls(
            url=url,
            format_=format_,
        )

        return new_output
