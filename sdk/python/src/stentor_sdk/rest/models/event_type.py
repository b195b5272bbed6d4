from enum import StrEnum


class EventType(StrEnum):
    ANCHOR_INVITED = "anchor_invited"
    ANCHOR_REMOVED = "anchor_removed"
    ROOM_CREATED = "room_created"
    ROOM_DELETED = "room_deleted"
    ROOM_ENDED = "room_ended"
    ROOM_MOVED = "room_moved"
    ROOM_STARTED = "room_started"

    def __str__(self) -> str:
        return str(self.value)
