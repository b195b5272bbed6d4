from enum import StrEnum


class RecordingState(StrEnum):
    PENDING = "pending"
    READY = "ready"
    RECORDING = "recording"

    def __str__(self) -> str:
        return str(self.value)
