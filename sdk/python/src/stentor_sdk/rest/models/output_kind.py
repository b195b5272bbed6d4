from enum import StrEnum


class OutputKind(StrEnum):
    ICECAST = "icecast"
    RTMP = "rtmp"
    SRT = "srt"

    def __str__(self) -> str:
        return str(self.value)
