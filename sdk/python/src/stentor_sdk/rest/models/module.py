from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.machine_load import MachineLoad


T = TypeVar("T", bound="Module")


@_attrs_define
class Module:
    """State of a Janus instance or mixer.

    Attributes:
        id (str): Id of the module.
        load (int): Number of rooms assigned to the module, including rooms that are being removed.
        pickable (bool): True if the module accepts another room.
        status (None | str | Unset): `healthy` or `unhealthy`; absent if the module is gone and only its cordon label
            (`mark`) remains.
        host (None | str | Unset):
        url (None | str | Unset):
        capacity (int | None | Unset): Maximum number of rooms the module accepts.
        started_at (int | None | Unset):
        version (None | str | Unset):
        mark (None | str | Unset):
        machine_load (MachineLoad | None | Unset):
        rooms_left (int | None | Unset): Number of rooms that must still move to other modules; present while the cordon
            label (`mark`) is
            `draining` or `drained`.
        reason (None | str | Unset): Reason why the module is not pickable; absent if it is.
    """

    id: str
    load: int
    pickable: bool
    status: None | str | Unset = UNSET
    host: None | str | Unset = UNSET
    url: None | str | Unset = UNSET
    capacity: int | None | Unset = UNSET
    started_at: int | None | Unset = UNSET
    version: None | str | Unset = UNSET
    mark: None | str | Unset = UNSET
    machine_load: MachineLoad | None | Unset = UNSET
    rooms_left: int | None | Unset = UNSET
    reason: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.machine_load import MachineLoad

        id = self.id

        load = self.load

        pickable = self.pickable

        status: None | str | Unset
        if isinstance(self.status, Unset):
            status = UNSET
        else:
            status = self.status

        host: None | str | Unset
        if isinstance(self.host, Unset):
            host = UNSET
        else:
            host = self.host

        url: None | str | Unset
        if isinstance(self.url, Unset):
            url = UNSET
        else:
            url = self.url

        capacity: int | None | Unset
        if isinstance(self.capacity, Unset):
            capacity = UNSET
        else:
            capacity = self.capacity

        started_at: int | None | Unset
        if isinstance(self.started_at, Unset):
            started_at = UNSET
        else:
            started_at = self.started_at

        version: None | str | Unset
        if isinstance(self.version, Unset):
            version = UNSET
        else:
            version = self.version

        mark: None | str | Unset
        if isinstance(self.mark, Unset):
            mark = UNSET
        else:
            mark = self.mark

        machine_load: dict[str, Any] | None | Unset
        if isinstance(self.machine_load, Unset):
            machine_load = UNSET
        elif isinstance(self.machine_load, MachineLoad):
            machine_load = self.machine_load.to_dict()
        else:
            machine_load = self.machine_load

        rooms_left: int | None | Unset
        if isinstance(self.rooms_left, Unset):
            rooms_left = UNSET
        else:
            rooms_left = self.rooms_left

        reason: None | str | Unset
        if isinstance(self.reason, Unset):
            reason = UNSET
        else:
            reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "load": load,
                "pickable": pickable,
            }
        )
        if status is not UNSET:
            field_dict["status"] = status
        if host is not UNSET:
            field_dict["host"] = host
        if url is not UNSET:
            field_dict["url"] = url
        if capacity is not UNSET:
            field_dict["capacity"] = capacity
        if started_at is not UNSET:
            field_dict["startedAt"] = started_at
        if version is not UNSET:
            field_dict["version"] = version
        if mark is not UNSET:
            field_dict["mark"] = mark
        if machine_load is not UNSET:
            field_dict["machineLoad"] = machine_load
        if rooms_left is not UNSET:
            field_dict["roomsLeft"] = rooms_left
        if reason is not UNSET:
            field_dict["reason"] = reason

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.machine_load import MachineLoad

        d = dict(src_dict)
        id = d.pop("id")

        load = d.pop("load")

        pickable = d.pop("pickable")

        def _parse_status(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        status = _parse_status(d.pop("status", UNSET))

        def _parse_host(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        host = _parse_host(d.pop("host", UNSET))

        def _parse_url(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        url = _parse_url(d.pop("url", UNSET))

        def _parse_capacity(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        capacity = _parse_capacity(d.pop("capacity", UNSET))

        def _parse_started_at(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        started_at = _parse_started_at(d.pop("startedAt", UNSET))

        def _parse_version(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        version = _parse_version(d.pop("version", UNSET))

        def _parse_mark(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        mark = _parse_mark(d.pop("mark", UNSET))

        def _parse_machine_load(data: object) -> MachineLoad | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                machine_load_type_0 = MachineLoad.from_dict(data)

                return machine_load_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(MachineLoad | None | Unset, data)

        machine_load = _parse_machine_load(d.pop("machineLoad", UNSET))

        def _parse_rooms_left(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        rooms_left = _parse_rooms_left(d.pop("roomsLeft", UNSET))

        def _parse_reason(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        reason = _parse_reason(d.pop("reason", UNSET))

        module = cls(
            id=id,
            load=load,
            pickable=pickable,
            status=status,
            host=host,
            url=url,
            capacity=capacity,
            started_at=started_at,
            version=version,
            mark=mark,
            machine_load=machine_load,
            rooms_left=rooms_left,
            reason=reason,
        )

        module.additional_properties = d
        return module

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
