from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.assigned_janus import AssignedJanus
    from ..models.assigned_mixer import AssignedMixer
    from ..models.room_profile_custom_type_0 import RoomProfileCustomType0


T = TypeVar("T", bound="Room")


@_attrs_define
class Room:
    """State of a room.

    Attributes:
        room_id (str): Id of the room.
        pin (str): PIN of the room.
        hls_url (str): URL of the room's playlist for listeners.
        max_anchors (int): Maximum number of anchors in the room.
        status (str):  `created`, `backstage`, `starting`, `onair`, `degraded`, `removing`
        created_at (int): Time at which the room was created.
        listeners (int): Number of listeners: those that requested the room's playlist from any node within the last ten
            seconds, and those of the plain stream. On a node that does not mix the room, the number is up to ten
            seconds older.
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
        rewind_url (None | str | Unset): URL of the rewind playlist; absent if the room offers no rewind.
        started_at (int | None | Unset): Time of the latest start; absent if the room was never started.
        end_reason (None | str | Unset): Reason why the latest broadcast or backstage ended: `stopped`, `max_duration`,
            `empty` or `other`.
            Absent if none has ended.
        epoch (int | None | Unset): Number of the current assignment to a Janus instance and a mixer; it rises with each
            assignment.
            Absent while the room is not live.
        janus (AssignedJanus | None | Unset):
        mixer (AssignedMixer | None | Unset):
        recording (None | str | Unset): Id of the recording of the current broadcast; absent while it is not recorded.
        anchors (int | None | Unset): Number of anchors in the room now, across all gateways; absent while presence is
            unavailable.
    """

    room_id: str
    pin: str
    hls_url: str
    max_anchors: int
    status: str
    created_at: int
    listeners: int
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
    rewind_url: None | str | Unset = UNSET
    started_at: int | None | Unset = UNSET
    end_reason: None | str | Unset = UNSET
    epoch: int | None | Unset = UNSET
    janus: AssignedJanus | None | Unset = UNSET
    mixer: AssignedMixer | None | Unset = UNSET
    recording: None | str | Unset = UNSET
    anchors: int | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.assigned_janus import AssignedJanus
        from ..models.assigned_mixer import AssignedMixer
        from ..models.room_profile_custom_type_0 import RoomProfileCustomType0

        room_id = self.room_id

        pin = self.pin

        hls_url = self.hls_url

        max_anchors = self.max_anchors

        status = self.status

        created_at = self.created_at

        listeners = self.listeners

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

        rewind_url: None | str | Unset
        if isinstance(self.rewind_url, Unset):
            rewind_url = UNSET
        else:
            rewind_url = self.rewind_url

        started_at: int | None | Unset
        if isinstance(self.started_at, Unset):
            started_at = UNSET
        else:
            started_at = self.started_at

        end_reason: None | str | Unset
        if isinstance(self.end_reason, Unset):
            end_reason = UNSET
        else:
            end_reason = self.end_reason

        epoch: int | None | Unset
        if isinstance(self.epoch, Unset):
            epoch = UNSET
        else:
            epoch = self.epoch

        janus: dict[str, Any] | None | Unset
        if isinstance(self.janus, Unset):
            janus = UNSET
        elif isinstance(self.janus, AssignedJanus):
            janus = self.janus.to_dict()
        else:
            janus = self.janus

        mixer: dict[str, Any] | None | Unset
        if isinstance(self.mixer, Unset):
            mixer = UNSET
        elif isinstance(self.mixer, AssignedMixer):
            mixer = self.mixer.to_dict()
        else:
            mixer = self.mixer

        recording: None | str | Unset
        if isinstance(self.recording, Unset):
            recording = UNSET
        else:
            recording = self.recording

        anchors: int | None | Unset
        if isinstance(self.anchors, Unset):
            anchors = UNSET
        else:
            anchors = self.anchors

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "roomId": room_id,
                "pin": pin,
                "hlsUrl": hls_url,
                "maxAnchors": max_anchors,
                "status": status,
                "createdAt": created_at,
                "listeners": listeners,
            }
        )
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
        if rewind_url is not UNSET:
            field_dict["rewindUrl"] = rewind_url
        if started_at is not UNSET:
            field_dict["startedAt"] = started_at
        if end_reason is not UNSET:
            field_dict["endReason"] = end_reason
        if epoch is not UNSET:
            field_dict["epoch"] = epoch
        if janus is not UNSET:
            field_dict["janus"] = janus
        if mixer is not UNSET:
            field_dict["mixer"] = mixer
        if recording is not UNSET:
            field_dict["recording"] = recording
        if anchors is not UNSET:
            field_dict["anchors"] = anchors

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.assigned_janus import AssignedJanus
        from ..models.assigned_mixer import AssignedMixer
        from ..models.room_profile_custom_type_0 import RoomProfileCustomType0

        d = dict(src_dict)
        room_id = d.pop("roomId")

        pin = d.pop("pin")

        hls_url = d.pop("hlsUrl")

        max_anchors = d.pop("maxAnchors")

        status = d.pop("status")

        created_at = d.pop("createdAt")

        listeners = d.pop("listeners")

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

        def _parse_rewind_url(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        rewind_url = _parse_rewind_url(d.pop("rewindUrl", UNSET))

        def _parse_started_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        started_at = _parse_started_at(d.pop("startedAt", UNSET))

        def _parse_end_reason(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        end_reason = _parse_end_reason(d.pop("endReason", UNSET))

        def _parse_epoch(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        epoch = _parse_epoch(d.pop("epoch", UNSET))

        def _parse_janus(data: object) -> AssignedJanus | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                janus_type_0 = AssignedJanus.from_dict(data)

                return janus_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AssignedJanus | None | Unset, data)

        janus = _parse_janus(d.pop("janus", UNSET))

        def _parse_mixer(data: object) -> AssignedMixer | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                mixer_type_0 = AssignedMixer.from_dict(data)

                return mixer_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AssignedMixer | None | Unset, data)

        mixer = _parse_mixer(d.pop("mixer", UNSET))

        def _parse_recording(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        recording = _parse_recording(d.pop("recording", UNSET))

        def _parse_anchors(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        anchors = _parse_anchors(d.pop("anchors", UNSET))

        room = cls(
            room_id=room_id,
            pin=pin,
            hls_url=hls_url,
            max_anchors=max_anchors,
            status=status,
            created_at=created_at,
            listeners=listeners,
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
            rewind_url=rewind_url,
            started_at=started_at,
            end_reason=end_reason,
            epoch=epoch,
            janus=janus,
            mixer=mixer,
            recording=recording,
            anchors=anchors,
        )

        room.additional_properties = d
        return room

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
