from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.visit import Visit


T = TypeVar("T", bound="RecordedAnchor")


@_attrs_define
class RecordedAnchor:
    """Anchor of a recorded room.

    Attributes:
        user_id (str): Id of the user.
        role (str): Role of a user in the room. `host`, `co_host`, `anchor`, `listener`
        visits (list[Visit]): Times at which the user was in the room, in order.
        display_name (None | str | Unset): Name of the user, if known.
        source (None | str | Unset): `whip` if the user published with WHIP, `url` or `file` for a source; absent for
            clients with a
            WebSocket.
        recording_consent (bool | Unset): True if, on every join, the user agreed to be recorded, as `recording.consent:
            required` demands.
        spoken_ms (int | None | Unset): Time that the user has spoken in the recording, in milliseconds; absent if
            unknown.
    """

    user_id: str
    role: str
    visits: list[Visit]
    display_name: None | str | Unset = UNSET
    source: None | str | Unset = UNSET
    recording_consent: bool | Unset = UNSET
    spoken_ms: int | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        user_id = self.user_id

        role = self.role

        visits = []
        for visits_item_data in self.visits:
            visits_item = visits_item_data.to_dict()
            visits.append(visits_item)

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

        recording_consent = self.recording_consent

        spoken_ms: int | None | Unset
        if isinstance(self.spoken_ms, Unset):
            spoken_ms = UNSET
        else:
            spoken_ms = self.spoken_ms

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "userId": user_id,
                "role": role,
                "visits": visits,
            }
        )
        if display_name is not UNSET:
            field_dict["displayName"] = display_name
        if source is not UNSET:
            field_dict["source"] = source
        if recording_consent is not UNSET:
            field_dict["recordingConsent"] = recording_consent
        if spoken_ms is not UNSET:
            field_dict["spokenMs"] = spoken_ms

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.visit import Visit

        d = dict(src_dict)
        user_id = d.pop("userId")

        role = d.pop("role")

        visits = []
        _visits = d.pop("visits")
        for visits_item_data in _visits:
            visits_item = Visit.from_dict(visits_item_data)

            visits.append(visits_item)

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

        recording_consent = d.pop("recordingConsent", UNSET)

        def _parse_spoken_ms(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        spoken_ms = _parse_spoken_ms(d.pop("spokenMs", UNSET))

        recorded_anchor = cls(
            user_id=user_id,
            role=role,
            visits=visits,
            display_name=display_name,
            source=source,
            recording_consent=recording_consent,
            spoken_ms=spoken_ms,
        )

        recorded_anchor.additional_properties = d
        return recorded_anchor

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
