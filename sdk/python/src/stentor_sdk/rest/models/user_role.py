from enum import StrEnum


class UserRole(StrEnum):
    ANCHOR = "anchor"
    HOST = "host"

    def __str__(self) -> str:
        return str(self.value)
