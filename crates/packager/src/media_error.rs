//! Reasons why a playlist, a file or a key is not served.

/// Reason why a listener, or a node that fetches for its listeners, does not get a resource. The reason does
/// not depend on the node that serves the request. The response contains the text of the reason.
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
    /// The room is on air, but has no complete segment yet.
    #[error("the room is starting; there is no segment yet")]
    NotYet,
    /// The media are no longer available, were never made, or were announced in a broadcast that has ended.
    #[error("the media have left the live window, or were never made")]
    Gone,
    /// The request is a blocking reload for a position that the stream cannot reach soon.
    #[error("_HLS_msn is too far ahead of the stream")]
    TooFarAhead,
    #[error("the requested media did not arrive in time")]
    Timeout,
    /// The packager of this node is gone although the broadcast continues, or the node that mixes the room
    /// does not answer. A new request may succeed.
    #[error("the node that mixes this room does not answer")]
    Unavailable,
    /// The room is not on air or does not exist: only listeners of a broadcast get its keys.
    #[error("the room is not on air")]
    KeyRefused,
    /// The key belongs to another broadcast.
    #[error("there is no such key")]
    NoSuchKey,
    /// The key is neither the next key nor one of the media that can be fetched now.
    #[error("only keys of media that can be played now are given out; reload the playlist")]
    KeyOutOfWindow,
    /// The node has just started, or the node that mixes the room does not answer.
    #[error("it is not known yet which keys are in use; ask again")]
    KeysUnknown,
    #[error("there is no such recording")]
    NoSuchRecording,
    /// The recording is in progress, a mixer has not closed its take yet, or the broadcast is still on air.
    #[error("the recording can be played when its broadcast is over")]
    RecordingNotReady,
    /// The node has just started, or no mixer that has a part of the recording answers.
    #[error("the mixers that have this recording do not answer")]
    RecordingUnavailable,
    /// The clip begins after the end of the recording, or lies in a gap.
    #[error("nothing was recorded in this range: it is after the end of the recording, or in a gap")]
    NoSuchClip,
}
