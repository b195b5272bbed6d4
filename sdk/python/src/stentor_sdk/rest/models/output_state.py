from enum import StrEnum


class OutputState(StrEnum):
    CONNECTING = "connecting"
    FAILING = "failing"
    LIVE = "live"
    WAITING = "waiting"

    def __str__(self) -> str:
        return str(self.value)
