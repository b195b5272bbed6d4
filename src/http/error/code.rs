//! Stable error codes of the API, with their status and retry time.

use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};

/// Stable error codes. New codes may be added; none changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the body is not JSON.
    InvalidJson,
    /// 400: the body is JSON but not of the expected form: a wrong type, a missing field or an unknown field.
    InvalidBody,
    /// 400: the query has an unknown parameter, or a value is missing, malformed or out of range.
    InvalidQuery,
    /// 400: the room id is not 3 to 32 characters of `A-Z a-z 0-9 _ -`.
    InvalidRoomId,
    /// 400: the PIN is not 6 letters or digits.
    InvalidPin,
    /// 400: the maximum number of anchors is not 1 to 20.
    InvalidMaxAnchors,
    /// 400: a field of the room has an invalid value; the message names the field and the rule.
    InvalidRoomField,
    /// 400: this field of a room cannot be changed; the message says why.
    ImmutableField,
    /// 400: the name must have 1 to 64 visible characters. Control, invisible and direction-changing
    /// characters are not allowed.
    InvalidName,
    /// 400: the user id must have 1 to 255 bytes, and no control or invisible characters; an id with a colon
    /// must be a URI.
    InvalidUserId,
    /// 400: the source is neither a valid URL nor a valid path of a file; the message states the rule.
    InvalidSource,
    /// 403: the configuration does not permit the source: see `sources.schemes` and `sources.folder`.
    SourceNotPermitted,
    /// 404: the room has no source with this id.
    SourceNotFound,
    /// 400: the module id is not 1 to 64 characters of `A-Z a-z 0-9 _ - .`.
    InvalidModuleId,
    /// 400: the lifetime of a cordon label, an API key or a feed URL is out of range; the message states the
    /// range.
    InvalidTtl,
    /// 400: this path only opens WebSockets.
    WebsocketExpected,
    /// 426: the WebSocket version is not 13.
    WebsocketVersion,
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 401: the API key is missing or not valid.
    Unauthorized,
    /// 403: the API key lacks the scope that the operation needs; `details.scope` names it.
    ScopeMissing,
    /// 403: a quota of the API key that created the room is used up; `details` has `quota` and `limit`.
    QuotaExceeded,
    /// 429, retryable: the API key got as many tokens within a minute as its quota allows.
    TokenQuotaExceeded,
    /// 404: there is no API key with this id.
    ApiKeyNotFound,
    /// 409: the maximum number of API keys is reached; revoke some.
    TooManyApiKeys,
    /// 401: a token is required: in the Authorization header, a cookie (listeners), or the `token` parameter.
    TokenMissing,
    /// 401: the token was not issued by this installation, or is for another purpose, or for an earlier room
    /// with this id.
    TokenInvalid,
    /// 401: the token has expired; request a new one.
    TokenExpired,
    /// 403: the token is for another room or recording, or for another part of the recording.
    TokenWrongRoom,
    /// 403: the token is of the wrong kind: listener tokens are for rooms, replay tokens for recordings.
    TokenWrongAudience,
    /// 403: the room does not exist or is not on air, so no content keys are given out.
    KeyRefused,
    /// 403: a browser sent the request from a page whose origin is not in `http.allowed_origins`.
    OriginNotAllowed,
    /// 403: `Host` is not a name of this server. A node in open mode, and the operations endpoints on
    /// loopback, answer only to `localhost` and loopback addresses. With `auth.mode: keys`, these endpoints
    /// also answer to the hosts of the public URLs and of `http.allowed_origins`.
    HostNotAllowed,
    /// 403: a proxy passed the request on to a node with `auth.mode: open`, which serves only its own
    /// machine.
    ProxyNotAllowed,
    /// 403: pages issue tokens only with `auth.mode: open`; open the page through a link that has a token.
    PagesClosed,
    /// 400: the id of a recording is not 16 characters of a-z 0-9.
    InvalidRecordingId,
    /// 403: the room may be recorded, and the request does not say that the user agrees to that.
    ConsentRequired,
    /// 404: there is no such recording, or it was deleted.
    RecordingNotFound,
    /// 404: the recording has no track with this number.
    TrackNotFound,
    /// 400: the URL or the format of an output is not valid, or the address of its target is not allowed.
    InvalidOutput,
    /// 404: the room has no such output.
    OutputNotFound,
    /// 409: the room has as many outputs as `outputs.max_per_room` allows.
    TooManyOutputs,
    /// 409: outputs are switched off; see `outputs.max_per_room`.
    OutputsOff,
    /// 409: a recogniser of this language is connected to the room.
    RecogniserConnected,
    /// 409, retryable: the recording is not complete yet, or its broadcast is still on air.
    RecordingNotReady,
    /// 409: the broadcast is being recorded; stop the recording first.
    RecordingActive,
    /// 409: `recording.mode`, or the room's `recordingMode`, is `off`.
    RecordingOff,
    /// 404: `webhooks.endpoints` has no endpoint with this name.
    WebhookNotFound,
    /// 404: there is no dead letter for this event.
    DeadLetterNotFound,
    /// 502: the endpoint did not accept the event; the message says how it answered.
    NotDelivered,
    /// 404: the path does not exist.
    NotFound,
    /// 404: the room does not exist.
    RoomNotFound,
    /// 403: the content key is not the next key, and no segment in the live window or the rewind window uses
    /// it. The key is too old, or not used yet.
    KeyOutOfWindow,
    /// 404: the room is not on air.
    RoomNotOnAir,
    /// 409: the room is on air, so its backstage cannot be opened.
    RoomOnAir,
    /// 404: the content key belongs to another broadcast, or the recording does not use it.
    KeyNotFound,
    /// 400: `_HLS_msn` is further ahead than the stream can soon reach.
    TooFarAhead,
    /// 410: the media has left the live window, and the rewind window if the room has one.
    MediaGone,
    /// 404: the room offers no rewind; its `rewind` or `hls.rewind` sets how far listeners can go back.
    RewindOff,
    /// 404: no Janus or mixer with this id is known.
    ModuleNotFound,
    /// 404: this node has no actor at this path.
    ActorNotFound,
    /// 409: the actor cannot be restarted now; the message says why.
    ActorNotRestarted,
    /// 405: the path does not support this method; `Allow` lists those it supports.
    MethodNotAllowed,
    /// 409: a room with this id exists.
    RoomExists,
    /// 409, retryable: Janus and mixer are releasing the room after its stop or deletion, which takes only
    /// moments.
    RoomRemoving,
    /// 409: the user is banned from the room, until a host, a co-host or the application lifts the ban. The
    /// code is also used for about ten seconds after a kick, and for publishing with the role `listener`.
    UserRemoved,
    /// 409: the room has the maximum number of banned users and assigned roles; lift some bans.
    TooManyUsers,
    /// 404: nobody with this id is in the room, has written, has a hand raised or was invited.
    PersonNotFound,
    /// 413: the body is larger than `http.body_limit`.
    BodyTooLarge,
    /// 416: the range begins beyond the end of the file; `Content-Range` gives its size.
    RangeNotSatisfiable,
    /// 415: the body must be `application/json`, or the type that the endpoint documents, in UTF-8, without
    /// `Content-Encoding`.
    UnsupportedMediaType,
    /// 422: the configuration that `POST /reload` read has errors; `details.errors` lists them all.
    InvalidConfig,
    /// 500: the server failed. The request id identifies the log line.
    Internal,
    /// 503: this node cannot read its configuration again: it is stopping, or is a demo.
    ReloadUnavailable,
    /// 503, retryable: others kept changing the same data, or delivery to this webhook has not begun yet.
    Busy,
    /// 400: the text or note is empty, too long, or has characters that cannot be shown.
    InvalidText,
    /// 400: the person id is not 16 hexadecimal digits.
    InvalidPersonId,
    /// 400: neither the token nor the body names the user.
    NameRequired,
    /// 403: only hosts and co-hosts of the room may do this, or only hosts; the message says why.
    HostOnly,
    /// 404: this listener has not raised a hand.
    HandNotRaised,
    /// 404: the message was deleted, or is older than those that are kept.
    MessageNotFound,
    /// 409: anchors and hosts cannot raise a hand.
    OnStage,
    /// 409: raising hands is disabled in this room.
    HandsClosed,
    /// 409: the room already has its maximum number of raised hands.
    HandsFull,
    /// 409: the caller has no invitation to the stage.
    NotInvited,
    /// 409: the room is locked; a host or co-host must unlock it.
    RoomLocked,
    /// 409, retryable: the room already has as many anchors as its `maxAnchors` allows.
    RoomFull,
    /// 409: the user is connected from another client, and `ws.duplicate` is `reject`.
    AlreadyConnected,
    /// 403: the application does not admit the user; the message is its reason.
    NotAdmitted,
    /// 503, retryable: the application that admits users does not answer, and `admission.on_failure` is
    /// `deny`.
    AdmissionUnavailable,
    /// 400: the SDP offer cannot work, or Janus refused it; the message gives the reason.
    OfferRefused,
    /// 404: there is no such WHIP session on this node, or it has ended; publish again.
    SessionNotFound,
    /// 422: a WHIP session cannot restart ICE; publish again.
    IceRestartRefused,
    /// 409: the chat is closed in this room.
    ChatClosed,
    /// 429, retryable: slow mode is on; `Retry-After` gives the time until the caller may send again.
    SlowMode,
    /// 503, retryable: the room has as many listeners as its `listenerLimit` allows.
    ListenersFull,
    /// 503, retryable: the listener channel cannot be used now.
    ChannelUnavailable,
    /// 503, retryable: this node accepts no signalling connections, because it is starting or stopping.
    GatewayUnavailable,
    /// 503, retryable: no module takes the room, and at least one of them is full or overloaded;
    /// `details.considered` gives the reason of each. Nothing was changed.
    NoCapacity,
    /// 503, retryable: no Janus accepts a room; `details.considered` says why. Nothing was changed.
    NoJanusAvailable,
    /// 503, retryable: no mixer accepts a room; `details.considered` says why. Nothing was changed.
    NoMixerAvailable,
    /// 503, retryable: the room is starting and has no segment yet, or the requested media do not exist yet.
    MediaNotReady,
    /// 503: the requested media did not arrive in time.
    MediaTimeout,
    /// 503, retryable: too many connections are open to this address of the server, or too many event streams
    /// or dashboards on this node.
    TooManyClients,
    /// 429, retryable: too many requests with this token, too many requests or connections from this client
    /// address, or too many messages in this room.
    TooManyRequests,
    /// 503, retryable: the node that mixes this room, the room's Janus, or the node that has this recording
    /// does not answer.
    MediaUnavailable,
    /// 503, retryable: the store or presence does not answer, or this node has not read the store yet. A
    /// change may or may not have happened.
    StoreUnavailable,
}

impl Code {
    /// Returns the HTTP status of the code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson
            | Self::InvalidBody
            | Self::InvalidQuery
            | Self::InvalidRoomId
            | Self::InvalidPin
            | Self::InvalidMaxAnchors
            | Self::InvalidRoomField
            | Self::ImmutableField
            | Self::InvalidName
            | Self::InvalidUserId
            | Self::InvalidModuleId
            | Self::InvalidSource
            | Self::InvalidTtl
            | Self::InvalidRecordingId
            | Self::InvalidOutput
            | Self::TooFarAhead
            | Self::InvalidText
            | Self::InvalidPersonId
            | Self::NameRequired
            | Self::OfferRefused
            | Self::WebsocketExpected => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::TokenMissing | Self::TokenInvalid | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::OriginNotAllowed
            | Self::HostNotAllowed
            | Self::ProxyNotAllowed
            | Self::PagesClosed
            | Self::TokenWrongRoom
            | Self::TokenWrongAudience
            | Self::KeyRefused
            | Self::HostOnly
            | Self::ScopeMissing
            | Self::QuotaExceeded
            | Self::NotAdmitted
            | Self::ConsentRequired
            | Self::SourceNotPermitted
            | Self::KeyOutOfWindow => StatusCode::FORBIDDEN,
            Self::NotFound
            | Self::RoomNotFound
            | Self::RoomNotOnAir
            | Self::KeyNotFound
            | Self::HandNotRaised
            | Self::MessageNotFound
            | Self::PersonNotFound
            | Self::RecordingNotFound
            | Self::TrackNotFound
            | Self::OutputNotFound
            | Self::WebhookNotFound
            | Self::DeadLetterNotFound
            | Self::ApiKeyNotFound
            | Self::SessionNotFound
            | Self::SourceNotFound
            | Self::RewindOff
            | Self::ModuleNotFound
            | Self::ActorNotFound => StatusCode::NOT_FOUND,
            Self::NotDelivered => StatusCode::BAD_GATEWAY,
            Self::MediaGone => StatusCode::GONE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::WebsocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::RoomExists
            | Self::RoomRemoving
            | Self::RoomOnAir
            | Self::UserRemoved
            | Self::TooManyUsers
            | Self::TooManyApiKeys
            | Self::OnStage
            | Self::HandsClosed
            | Self::HandsFull
            | Self::NotInvited
            | Self::RoomLocked
            | Self::RoomFull
            | Self::AlreadyConnected
            | Self::RecogniserConnected
            | Self::RecordingNotReady
            | Self::RecordingActive
            | Self::RecordingOff
            | Self::TooManyOutputs
            | Self::OutputsOff
            | Self::ActorNotRestarted
            | Self::ChatClosed => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidConfig | Self::IceRestartRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy
            | Self::ReloadUnavailable
            | Self::GatewayUnavailable
            | Self::NoCapacity
            | Self::NoJanusAvailable
            | Self::NoMixerAvailable
            | Self::StoreUnavailable
            | Self::AdmissionUnavailable
            | Self::MediaNotReady
            | Self::MediaTimeout
            | Self::TooManyClients
            | Self::ListenersFull
            | Self::ChannelUnavailable
            | Self::MediaUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::SlowMode | Self::TooManyRequests | Self::TokenQuotaExceeded => {
                StatusCode::TOO_MANY_REQUESTS
            }
        }
    }

    /// Returns the number of seconds after which to retry; `None` if a retry would not help.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::RoomRemoving
            | Self::Busy
            | Self::GatewayUnavailable
            | Self::MediaNotReady
            | Self::ChannelUnavailable
            | Self::SlowMode
            | Self::TooManyRequests
            | Self::TokenQuotaExceeded
            | Self::RecordingNotReady
            | Self::MediaUnavailable => Some(1),
            Self::StoreUnavailable | Self::AdmissionUnavailable => Some(2),
            Self::NoCapacity
            | Self::NoJanusAvailable
            | Self::NoMixerAvailable
            | Self::ListenersFull
            | Self::RoomFull
            | Self::TooManyClients => Some(5),
            _ => None,
        }
    }
}
