from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.chapter import Chapter
    from ..models.loudness import Loudness
    from ..models.recorded_anchor import RecordedAnchor
    from ..models.track import Track


T = TypeVar("T", bound="Recording")


@_attrs_define
class Recording:
    """Recording of a broadcast.

    Attributes:
        recording_id (str): Id of the recording.
        room_id (str): Id of the recorded room.
        state (str):  `recording`, `pending`, `ready`
        started_at (int): Time from which the room was recorded.
        duration_ms (int): Duration of the recorded media, in milliseconds. Media that both mixers of a handover
            recorded count
            twice.
        bytes_ (int): Size of the recorded media, in bytes.
        lost_segments (int): Number of segments that could not be written because a disk was full, slow or failed.
        mixers (list[str]): Mixers that have a part of the recording on their disk.
        anchors (list[RecordedAnchor]): Anchors who were in the room during the recording, in the order of their first
            visit: at most 100,
            with at most 50 visits each. Empty until the event `recording_ready`.
        tracks (list[Track]): Tracks, one per anchor who was recorded. Empty if `recording.tracks` is not set, and until
            the tracks
            are made, shortly after the recording became ready.
        chapters (list[Chapter]): Chapters, in order. A chapter begins at the start of the recording, and whenever the
            anchors in the
            room change. Empty until the event `recording_ready`.
        tags (list[str]): Tags of the room.
        replay_url (str): URL of the replay page. The link needs a replay token as the fragment `#token=`;
            `POST /api/recordings/{id}/token` returns such a link.
        hls_url (str): URL of the recording's playlist, which can be played in the state `ready`.
        download_url (str): URL of the recording as one M4A file, which can be downloaded in the state `ready`. The
            request needs
            a replay token, as the parameter `token` or as `Authorization: Bearer`.
        title (None | str | Unset): Title of the room; absent if it had none.
        ended_at (int | None | Unset): Time at which the last mixer closed its part; absent before that.
        stored_at (int | None | Unset): Time at which the copy in object storage was complete; absent before that.
        loudness (Loudness | None | Unset):
        owner (None | str | Unset): Owner of the room; absent if it had none.
    """

    recording_id: str
    room_id: str
    state: str
    started_at: int
    duration_ms: int
    bytes_: int
    lost_segments: int
    mixers: list[str]
    anchors: list[RecordedAnchor]
    tracks: list[Track]
    chapters: list[Chapter]
    tags: list[str]
    replay_url: str
    hls_url: str
    download_url: str
    title: None | str | Unset = UNSET
    ended_at: int | None | Unset = UNSET
    stored_at: int | None | Unset = UNSET
    loudness: Loudness | None | Unset = UNSET
    owner: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.loudness import Loudness

        recording_id = self.recording_id

        room_id = self.room_id

        state = self.state

        started_at = self.started_at

        duration_ms = self.duration_ms

        bytes_ = self.bytes_

        lost_segments = self.lost_segments

        mixers = self.mixers

        anchors = []
        for anchors_item_data in self.anchors:
            anchors_item = anchors_item_data.to_dict()
            anchors.append(anchors_item)

        tracks = []
        for tracks_item_data in self.tracks:
            tracks_item = tracks_item_data.to_dict()
            tracks.append(tracks_item)

        chapters = []
        for chapters_item_data in self.chapters:
            chapters_item = chapters_item_data.to_dict()
            chapters.append(chapters_item)

        tags = self.tags

        replay_url = self.replay_url

        hls_url = self.hls_url

        download_url = self.download_url

        title: None | str | Unset
        if isinstance(self.title, Unset):
            title = UNSET
        else:
            title = self.title

        ended_at: int | None | Unset
        if isinstance(self.ended_at, Unset):
            ended_at = UNSET
        else:
            ended_at = self.ended_at

        stored_at: int | None | Unset
        if isinstance(self.stored_at, Unset):
            stored_at = UNSET
        else:
            stored_at = self.stored_at

        loudness: dict[str, Any] | None | Unset
        if isinstance(self.loudness, Unset):
            loudness = UNSET
        elif isinstance(self.loudness, Loudness):
            loudness = self.loudness.to_dict()
        else:
            loudness = self.loudness

        owner: None | str | Unset
        if isinstance(self.owner, Unset):
            owner = UNSET
        else:
            owner = self.owner

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "recordingId": recording_id,
                "roomId": room_id,
                "state": state,
                "startedAt": started_at,
                "durationMs": duration_ms,
                "bytes": bytes_,
                "lostSegments": lost_segments,
                "mixers": mixers,
                "anchors": anchors,
                "tracks": tracks,
                "chapters": chapters,
                "tags": tags,
                "replayUrl": replay_url,
                "hlsUrl": hls_url,
                "downloadUrl": download_url,
            }
        )
        if title is not UNSET:
            field_dict["title"] = title
        if ended_at is not UNSET:
            field_dict["endedAt"] = ended_at
        if stored_at is not UNSET:
            field_dict["storedAt"] = stored_at
        if loudness is not UNSET:
            field_dict["loudness"] = loudness
        if owner is not UNSET:
            field_dict["owner"] = owner

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.chapter import Chapter
        from ..models.loudness import Loudness
        from ..models.recorded_anchor import RecordedAnchor
        from ..models.track import Track

        d = dict(src_dict)
        recording_id = d.pop("recordingId")

        room_id = d.pop("roomId")

        state = d.pop("state")

        started_at = d.pop("startedAt")

        duration_ms = d.pop("durationMs")

        bytes_ = d.pop("bytes")

        lost_segments = d.pop("lostSegments")

        mixers = cast(list[str], d.pop("mixers"))

        anchors = []
        _anchors = d.pop("anchors")
        for anchors_item_data in _anchors:
            anchors_item = RecordedAnchor.from_dict(anchors_item_data)

            anchors.append(anchors_item)

        tracks = []
        _tracks = d.pop("tracks")
        for tracks_item_data in _tracks:
            tracks_item = Track.from_dict(tracks_item_data)

            tracks.append(tracks_item)

        chapters = []
        _chapters = d.pop("chapters")
        for chapters_item_data in _chapters:
            chapters_item = Chapter.from_dict(chapters_item_data)

            chapters.append(chapters_item)

        tags = cast(list[str], d.pop("tags"))

        replay_url = d.pop("replayUrl")

        hls_url = d.pop("hlsUrl")

        download_url = d.pop("downloadUrl")

        def _parse_title(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        title = _parse_title(d.pop("title", UNSET))

        def _parse_ended_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        ended_at = _parse_ended_at(d.pop("endedAt", UNSET))

        def _parse_stored_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        stored_at = _parse_stored_at(d.pop("storedAt", UNSET))

        def _parse_loudness(data: object) -> Loudness | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                loudness_type_0 = Loudness.from_dict(data)

                return loudness_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(Loudness | None | Unset, data)

        loudness = _parse_loudness(d.pop("loudness", UNSET))

        def _parse_owner(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        owner = _parse_owner(d.pop("owner", UNSET))

        recording = cls(
            recording_id=recording_id,
            room_id=room_id,
            state=state,
            started_at=started_at,
            duration_ms=duration_ms,
            bytes_=bytes_,
            lost_segments=lost_segments,
            mixers=mixers,
            anchors=anchors,
            tracks=tracks,
            chapters=chapters,
            tags=tags,
            replay_url=replay_url,
            hls_url=hls_url,
            download_url=download_url,
            title=title,
            ended_at=ended_at,
            stored_at=stored_at,
            loudness=loudness,
            owner=owner,
        )

        recording.additional_properties = d
        return recording

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
