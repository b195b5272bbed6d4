//! Keys of the section `recording`.

use super::super::parse::*;
use super::super::reader::Reader;
use super::super::types::RecordingConfig;
use crate::domain::recording::RecordingMode;

pub(super) fn recording(r: &mut Reader) -> RecordingConfig {
    RecordingConfig {
        mode: r.read(
            "recording.mode",
            "on_request",
            "Broadcasts that are recorded: off, on_request (by the room API) or always.",
            one_of(&[
                ("off", RecordingMode::Off),
                ("on_request", RecordingMode::OnRequest),
                ("always", RecordingMode::Always),
            ]),
        ),
        dir: r.optional(
            "recording.dir",
            "Folder of this mixer's recordings, mode 0700; null: recordings in data_dir.",
            path,
        ),
        retention: r.optional(
            "recording.retention",
            "A recording is removed this long after its end; null: when the room API deletes it.",
            duration("1s", "87600h"),
        ),
    }
}
