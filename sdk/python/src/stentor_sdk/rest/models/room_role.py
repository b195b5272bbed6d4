from enum import StrEnum


class RoomRole(StrEnum):
    ANCHOR = "anchor"
    CO_HOST = "co_host"
    HOST = "host"
    LISTENER = "listener"

    def __str__(self) -> str:
        return str(self.value)
