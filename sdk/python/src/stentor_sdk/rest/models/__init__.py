"""Contains all the data models used in inputs/outputs"""

from .add_source import AddSource
from .api_key import ApiKey
from .assigned_janus import AssignedJanus
from .assigned_mixer import AssignedMixer
from .ban import Ban
from .bans_answer import BansAnswer
from .chapter import Chapter
from .code import Code
from .create_key import CreateKey
from .create_room import CreateRoom
from .create_room_custom_type_0 import CreateRoomCustomType0
from .create_user import CreateUser
from .create_user_answer import CreateUserAnswer
from .dead_letter import DeadLetter
from .dead_letters_answer import DeadLettersAnswer
from .delete_answer import DeleteAnswer
from .done import Done
from .error_body import ErrorBody
from .error_body_details_type_0 import ErrorBodyDetailsType0
from .event_type import EventType
from .events_answer import EventsAnswer
from .feed_answer import FeedAnswer
from .fleet_stats import FleetStats
from .key_answer import KeyAnswer
from .key_scope import KeyScope
from .key_usage import KeyUsage
from .keys_answer import KeysAnswer
from .ledger_entry import LedgerEntry
from .ledger_entry_data import LedgerEntryData
from .list_answer import ListAnswer
from .listener_token_answer import ListenerTokenAnswer
from .loudness import Loudness
from .machine_load import MachineLoad
from .mark_label import MarkLabel
from .module import Module
from .modules_answer import ModulesAnswer
from .new_feed import NewFeed
from .new_key_answer import NewKeyAnswer
from .new_output import NewOutput
from .output import Output
from .output_answer import OutputAnswer
from .output_format import OutputFormat
from .output_kind import OutputKind
from .output_state import OutputState
from .outputs_answer import OutputsAnswer
from .person_answer import PersonAnswer
from .quotas import Quotas
from .recorded_anchor import RecordedAnchor
from .recording import Recording
from .recording_answer import RecordingAnswer
from .recording_state import RecordingState
from .recordings_answer import RecordingsAnswer
from .replay_request import ReplayRequest
from .replay_token_request import ReplayTokenRequest
from .room import Room
from .room_answer import RoomAnswer
from .room_profile import RoomProfile
from .room_profile_custom_type_0 import RoomProfileCustomType0
from .room_role import RoomRole
from .room_stats import RoomStats
from .room_status import RoomStatus
from .set_mark import SetMark
from .set_role import SetRole
from .source import Source
from .source_answer import SourceAnswer
from .sources_answer import SourcesAnswer
from .stats_answer import StatsAnswer
from .token_answer import TokenAnswer
from .token_request import TokenRequest
from .track import Track
from .unavailable_endpoint import UnavailableEndpoint
from .update_key import UpdateKey
from .update_room import UpdateRoom
from .update_room_custom_type_0 import UpdateRoomCustomType0
from .user import User
from .user_role import UserRole
from .users_answer import UsersAnswer
from .visit import Visit
from .waiting_events import WaitingEvents
from .webhook import Webhook
from .webhook_answer import WebhookAnswer
from .webhooks_answer import WebhooksAnswer

__all__ = (
    "AddSource",
    "ApiKey",
    "AssignedJanus",
    "AssignedMixer",
    "Ban",
    "BansAnswer",
    "Chapter",
    "Code",
    "CreateKey",
    "CreateRoom",
    "CreateRoomCustomType0",
    "CreateUser",
    "CreateUserAnswer",
    "DeadLetter",
    "DeadLettersAnswer",
    "DeleteAnswer",
    "Done",
    "ErrorBody",
    "ErrorBodyDetailsType0",
    "EventType",
    "EventsAnswer",
    "FeedAnswer",
    "FleetStats",
    "KeyAnswer",
    "KeyScope",
    "KeyUsage",
    "KeysAnswer",
    "LedgerEntry",
    "LedgerEntryData",
    "ListAnswer",
    "ListenerTokenAnswer",
    "Loudness",
    "MachineLoad",
    "MarkLabel",
    "Module",
    "ModulesAnswer",
    "NewFeed",
    "NewKeyAnswer",
    "NewOutput",
    "Output",
    "OutputAnswer",
    "OutputFormat",
    "OutputKind",
    "OutputState",
    "OutputsAnswer",
    "PersonAnswer",
    "Quotas",
    "RecordedAnchor",
    "Recording",
    "RecordingAnswer",
    "RecordingState",
    "RecordingsAnswer",
    "ReplayRequest",
    "ReplayTokenRequest",
    "Room",
    "RoomAnswer",
    "RoomProfile",
    "RoomProfileCustomType0",
    "RoomRole",
    "RoomStats",
    "RoomStatus",
    "SetMark",
    "SetRole",
    "Source",
    "SourceAnswer",
    "SourcesAnswer",
    "StatsAnswer",
    "TokenAnswer",
    "TokenRequest",
    "Track",
    "UnavailableEndpoint",
    "UpdateKey",
    "UpdateRoom",
    "UpdateRoomCustomType0",
    "User",
    "UserRole",
    "UsersAnswer",
    "Visit",
    "WaitingEvents",
    "Webhook",
    "WebhookAnswer",
    "WebhooksAnswer",
)
