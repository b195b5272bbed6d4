//! Reasons why a playlist, a file or a key is not served.

/// Reason why a listener, or a node that fetches for its listeners, does not get a resource. It is the same
/// whichever node serves; the text is that of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is not on air")]
    NotOnAir,
    #[error("the token is for an earlier room of this id")]
    EarlierRoom,
    #[error("listeners cannot go back in this room")]
    NoRewind,
    /// No file has this name.
    #[error("there is no such file")]
    NoSuchFile,
    /// On air, but without a complete segment.
    #[error("the room is starting; there is no segment yet")]
    NotYet,
    /// Not available any more, never made, or announced in a broadcast that has ended.
    #[error("this has left the live window")]
    Gone,
    /// Blocking reload for a position that the stream cannot reach soon.
    #[error("_HLS_msn is too far ahead of the stream")]
    TooFarAhead,
    #[error("the requested media did not arrive in time")]
    Timeout,
    /// The packager of this node is gone although the broadcast continues, or the node that mixes the room
    /// does not answer. A new request may succeed.
    #[error("the node that mixes this room does not answer")]
    Unavailable,
    /// Only listeners of a broadcast get its keys. Also the answer for a room that does not exist.
    #[error("the room is not on air")]
    KeyRefused,
    /// The key belongs to another broadcast.
    #[error("there is no such key")]
    NoSuchKey,
    /// Neither a key of the media that can be fetched now nor the next key.
    #[error("only keys of media that can be played now are given out; reload the playlist")]
    KeyOutOfWindow,
    /// The node has just started, or the node that mixes the room does not answer.
    #[error("it is not known yet which keys are in use; ask again")]
    KeysUnknown,
    #[error("there is no such recording")]
    NoSuchRecording,
    /// Still being recorded or closed, or its broadcast is on air.
    #[error("the recording can be played when its broadcast is over")]
    RecordingNotReady,
    /// The node has just started, or no mixer that has a part of the recording answers.
    #[error("the mixers that have this recording do not answer")]
    RecordingUnavailable,
}
