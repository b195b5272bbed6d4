from enum import StrEnum


class RoomStatus(StrEnum):
    BACKSTAGE = "backstage"
    CREATED = "created"
    DEGRADED = "degraded"
    ONAIR = "onair"
    REMOVING = "removing"
    STARTING = "starting"

    def __str__(self) -> str:
        return str(self.value)
