from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.room_profile_custom_type_0 import RoomProfileCustomType0


T = TypeVar("T", bound="RoomProfile")


@_attrs_define
class RoomProfile:
    """Profile of a room. An absent field is not set.

    Attributes:
        title (None | str | Unset): Title: at most 100 visible characters.
        description (None | str | Unset): Description: at most 2,000 visible characters; may contain line breaks.
        language (None | str | Unset): Language of the broadcast, a BCP 47 language tag.
        tags (list[str] | None | Unset): Tags: at most 10 of at most 32 visible characters each, in lower case.
        cover_url (None | str | Unset): Image of the room: an https URL.
        owner (None | str | Unset): Owner: an id that the application chooses, at most 255 bytes.
        custom (None | RoomProfileCustomType0 | Unset): JSON object of the application: at most 4,096 bytes, nested at
            most 8 levels deep. Not interpreted.
        listener_limit (int | None | Unset): Maximum number of listeners at the same time.
        recording_mode (None | str | Unset): Selection of the broadcasts of this room that are recorded. Overrides
            `recording.mode`, unless that
            is `off`.
        starts_at (datetime.datetime | None | Unset): Time at which the room goes on air automatically (RFC 3339): in
            the future, and at most a year ahead.
            Each start removes it.
        max_duration (int | None | Unset): Maximum duration of a broadcast, in seconds. Overrides `rooms.max_age`.
        empty_timeout (int | None | Unset): Time without anchors, in seconds, after which a broadcast ends.
        rewind (int | None | Unset): Time that listeners can go back during a broadcast, in seconds; 0: not at all.
            Overrides `hls.rewind`.
        locked (bool | None | Unset): True if no new anchor may join; absent otherwise. Anchors in the room stay, and
            hosts and co-hosts may
            join.
        public (bool | None | Unset): True if title, description and cover are shown to people without a token, as in
            link previews; absent
            otherwise.
    """

    title: None | str | Unset = UNSET
    description: None | str | Unset = UNSET
    language: None | str | Unset = UNSET
    tags: list[str] | None | Unset = UNSET
    cover_url: None | str | Unset = UNSET
    owner: None | str | Unset = UNSET
    custom: None | RoomProfileCustomType0 | Unset = UNSET
    listener_limit: int | None | Unset = UNSET
    recording_mode: None | str | Unset = UNSET
    starts_at: datetime.datetime | None | Unset = UNSET
    max_duration: int | None | Unset = UNSET
    empty_timeout: int | None | Unset = UNSET
    rewind: int | None | Unset = UNSET
    locked: bool | None | Unset = UNSET
    public: bool | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.room_profile_custom_type_0 import RoomProfileCustomType0

        title: None | str | Unset
        if isinstance(self.title, Unset):
            title = UNSET
        else:
            title = self.title

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        language: None | str | Unset
        if isinstance(self.language, Unset):
            language = UNSET
        else:
            language = self.language

        tags: list[str] | None | Unset
        if isinstance(self.tags, Unset):
            tags = UNSET
        elif isinstance(self.tags, list):
            tags = self.tags

        else:
            tags = self.tags

        cover_url: None | str | Unset
        if isinstance(self.cover_url, Unset):
            cover_url = UNSET
        else:
            cover_url = self.cover_url

        owner: None | str | Unset
        if isinstance(self.owner, Unset):
            owner = UNSET
        else:
            owner = self.owner

        custom: dict[str, Any] | None | Unset
        if isinstance(self.custom, Unset):
            custom = UNSET
        elif isinstance(self.custom, RoomProfileCustomType0):
            custom = self.custom.to_dict()
        else:
            custom = self.custom

        listener_limit: int | None | Unset
        if isinstance(self.listener_limit, Unset):
            listener_limit = UNSET
        else:
            listener_limit = self.listener_limit

        recording_mode: None | str | Unset
        if isinstance(self.recording_mode, Unset):
            recording_mode = UNSET
        else:
            recording_mode = self.recording_mode

        starts_at: None | str | Unset
        if isinstance(self.starts_at, Unset):
            starts_at = UNSET
        elif isinstance(self.starts_at, datetime.datetime):
            starts_at = self.starts_at.isoformat()
        else:
            starts_at = self.starts_at

        max_duration: int | None | Unset
        if isinstance(self.max_duration, Unset):
            max_duration = UNSET
        else:
            max_duration = self.max_duration

        empty_timeout: int | None | Unset
        if isinstance(self.empty_timeout, Unset):
            empty_timeout = UNSET
        else:
            empty_timeout = self.empty_timeout

        rewind: int | None | Unset
        if isinstance(self.rewind, Unset):
            rewind = UNSET
        else:
            rewind = self.rewind

        locked: bool | None | Unset
        if isinstance(self.locked, Unset):
            locked = UNSET
        else:
            locked = self.locked

        public: bool | None | Unset
        if isinstance(self.public, Unset):
            public = UNSET
        else:
            public = self.public

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if title is not UNSET:
            field_dict["title"] = title
        if description is not UNSET:
            field_dict["description"] = description
        if language is not UNSET:
            field_dict["language"] = language
        if tags is not UNSET:
            field_dict["tags"] = tags
        if cover_url is not UNSET:
            field_dict["coverUrl"] = cover_url
        if owner is not UNSET:
            field_dict["owner"] = owner
        if custom is not UNSET:
            field_dict["custom"] = custom
        if listener_limit is not UNSET:
            field_dict["listenerLimit"] = listener_limit
        if recording_mode is not UNSET:
            field_dict["recordingMode"] = recording_mode
        if starts_at is not UNSET:
            field_dict["startsAt"] = starts_at
        if max_duration is not UNSET:
            field_dict["maxDuration"] = max_duration
        if empty_timeout is not UNSET:
            field_dict["emptyTimeout"] = empty_timeout
        if rewind is not UNSET:
            field_dict["rewind"] = rewind
        if locked is not UNSET:
            field_dict["locked"] = locked
        if public is not UNSET:
            field_dict["public"] = public

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.room_profile_custom_type_0 import RoomProfileCustomType0

        d = dict(src_dict)

        def _parse_title(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        title = _parse_title(d.pop("title", UNSET))

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        def _parse_language(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        language = _parse_language(d.pop("language", UNSET))

        def _parse_tags(data: object) -> list[str] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                tags_type_0 = cast(list[str], data)

                return tags_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | Unset, data)

        tags = _parse_tags(d.pop("tags", UNSET))

        def _parse_cover_url(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        cover_url = _parse_cover_url(d.pop("coverUrl", UNSET))

        def _parse_owner(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        owner = _parse_owner(d.pop("owner", UNSET))

        def _parse_custom(data: object) -> None | RoomProfileCustomType0 | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                custom_type_0 = RoomProfileCustomType0.from_dict(data)

                return custom_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | RoomProfileCustomType0 | Unset, data)

        custom = _parse_custom(d.pop("custom", UNSET))

        def _parse_listener_limit(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        listener_limit = _parse_listener_limit(d.pop("listenerLimit", UNSET))

        def _parse_recording_mode(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        recording_mode = _parse_recording_mode(d.pop("recordingMode", UNSET))

        def _parse_starts_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                starts_at_type_0 = datetime.datetime.fromisoformat(data)

                return starts_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        starts_at = _parse_starts_at(d.pop("startsAt", UNSET))

        def _parse_max_duration(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        max_duration = _parse_max_duration(d.pop("maxDuration", UNSET))

        def _parse_empty_timeout(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        empty_timeout = _parse_empty_timeout(d.pop("emptyTimeout", UNSET))

        def _parse_rewind(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        rewind = _parse_rewind(d.pop("rewind", UNSET))

        def _parse_locked(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        locked = _parse_locked(d.pop("locked", UNSET))

        def _parse_public(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        public = _parse_public(d.pop("public", UNSET))

        room_profile = cls(
            title=title,
            description=description,
            language=language,
            tags=tags,
            cover_url=cover_url,
            owner=owner,
            custom=custom,
            listener_limit=listener_limit,
            recording_mode=recording_mode,
            starts_at=starts_at,
            max_duration=max_duration,
            empty_timeout=empty_timeout,
            rewind=rewind,
            locked=locked,
            public=public,
        )

        room_profile.additional_properties = d
        return room_profile

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
