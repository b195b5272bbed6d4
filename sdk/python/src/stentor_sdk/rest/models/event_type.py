from enum import StrEnum


class EventType(StrEnum):
    ANCHOR_INVITED = "anchor_invited"
    ROOM_CREATED = "room_created"
    ROOM_DELETED = "room_deleted"
    ROOM_ENDED = "room_ended"
    ROOM_MOVED = "room_moved"
    ROOM_STARTED = "room_started"
    USER_BANNED = "user_banned"
    USER_UNBANNED = "user_unbanned"

    def __str__(self) -> str:
        return str(self.value)
