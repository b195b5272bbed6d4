from enum import StrEnum


class EventType(StrEnum):
    ANCHOR_INVITED = "anchor_invited"
    ANCHOR_JOINED = "anchor_joined"
    ANCHOR_LEFT = "anchor_left"
    ANCHOR_MUTED = "anchor_muted"
    ANCHOR_UNMUTED = "anchor_unmuted"
    BACKSTAGE_CLOSED = "backstage_closed"
    BACKSTAGE_OPENED = "backstage_opened"
    HAND_LOWERED = "hand_lowered"
    HAND_RAISED = "hand_raised"
    LISTENER_PEAK = "listener_peak"
    OUTPUT_FAILED = "output_failed"
    OUTPUT_LIVE = "output_live"
    RECORDING_READY = "recording_ready"
    ROLE_CHANGED = "role_changed"
    ROOM_CREATED = "room_created"
    ROOM_DELETED = "room_deleted"
    ROOM_ENDED = "room_ended"
    ROOM_LOCKED = "room_locked"
    ROOM_MOVED = "room_moved"
    ROOM_MUTED = "room_muted"
    ROOM_SCHEDULED = "room_scheduled"
    ROOM_STARTED = "room_started"
    ROOM_UNLOCKED = "room_unlocked"
    ROOM_UNSCHEDULED = "room_unscheduled"
    STAGE_INVITED = "stage_invited"
    USER_BANNED = "user_banned"
    USER_KICKED = "user_kicked"
    USER_UNBANNED = "user_unbanned"

    def __str__(self) -> str:
        return str(self.value)
