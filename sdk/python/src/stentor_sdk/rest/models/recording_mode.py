from enum import StrEnum


class RecordingMode(StrEnum):
    ALWAYS = "always"
    OFF = "off"
    ON_REQUEST = "on_request"

    def __str__(self) -> str:
        return str(self.value)
