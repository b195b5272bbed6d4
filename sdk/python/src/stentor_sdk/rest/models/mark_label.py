from enum import StrEnum


class MarkLabel(StrEnum):
    CORDON = "cordon"
    DRAINED = "drained"
    DRAINING = "draining"
    READY = "ready"
    UNREADY = "unready"

    def __str__(self) -> str:
        return str(self.value)
