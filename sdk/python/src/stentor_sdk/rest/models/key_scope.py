from enum import StrEnum


class KeyScope(StrEnum):
    OPERATIONS = "operations"
    READ = "read"
    ROOMS = "rooms"
    USERS = "users"

    def __str__(self) -> str:
        return str(self.value)
