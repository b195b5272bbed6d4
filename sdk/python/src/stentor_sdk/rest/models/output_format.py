from enum import StrEnum


class OutputFormat(StrEnum):
    AAC = "aac"
    MP3 = "mp3"
    OPUS = "opus"

    def __str__(self) -> str:
        return str(self.value)
