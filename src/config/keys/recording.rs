//! Keys of the section `recording`.

use std::time::Duration;

use serde_json::Value;

use super::super::parse::*;
use super::super::reader::{ParseResult, Reader};
use super::super::types::{RecordingConfig, Secret, StorageConfig};
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
        consent: r.read(
            "recording.consent",
            "none",
            "Consent of anchors to recordings: none, or required (by join and WHIP, unless mode is off).",
            one_of(&[("none", false), ("required", true)]),
        ),
        waveform: r.read(
            "recording.waveform",
            true,
            "Measures loudness and waveform after a recording: 9 s of processor time per hour of audio.",
            switch,
        ),
        tracks: r.read(
            "recording.tracks",
            false,
            "Also records each anchor, as one Ogg Opus file per anchor; not with janus.mode external.",
            switch,
        ),
        dir: r.optional(
            "recording.dir",
            "Folder of this mixer's recordings, mode 0700; null: recordings in data_dir.",
            path,
        ),
        retention: r.optional(
            "recording.retention",
            "A recording is deleted this long after its end; null: only when the room API deletes it.",
            duration("1s", "87600h"),
        ),
        storage: storage(r),
    }
}

fn storage(r: &mut Reader) -> Option<StorageConfig> {
    let bucket = r.optional(
        "recording.storage.url",
        "Bucket and folder for a copy of each recording, like s3://bucket/folder; null: none.",
        bucket,
    );
    let endpoint = r.optional(
        "recording.storage.endpoint",
        "URL of a storage that speaks S3, like https://minio.example.org:9000; null: Amazon S3.",
        url(&["http", "https"]),
    );
    let region = r.read("recording.storage.region", "us-east-1", "Region of the bucket.", text);
    let access_key = r.optional("recording.storage.access_key", "Access key id.", text);
    let secret_key = r.secret(
        "recording.storage.secret_key",
        "Secret access key.",
        "File with the secret access key, instead of secret_key.",
        secret,
    );
    let keep_local = r.read(
        "recording.storage.keep_local",
        true,
        "Local data after the upload: true (kept), false (removed), or a time to keep it, such as 24h.",
        keep_local,
    );
    let (bucket, prefix) = bucket?;
    for (key, is_given) in [
        ("recording.storage.access_key", access_key.is_some()),
        ("recording.storage.secret_key", secret_key.is_some()),
    ] {
        r.require(&[key], is_given, "is required with recording.storage.url");
    }
    let (access_key, secret_key) = (access_key.unwrap_or_default(), secret_key.unwrap_or(Secret(Vec::new())));
    Some(StorageConfig { bucket, prefix, endpoint, region, access_key, secret_key, keep_local })
}

/// Parses `true` (no limit), `false` or a duration.
fn keep_local(value: &Value) -> ParseResult<Option<Duration>> {
    match switch(value) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(Duration::ZERO)),
        Err(_) => duration("1s", "87600h")(value)
            .map(Some)
            .map_err(|_| "must be true, false, or a duration from 1s to 87600h such as 24h".to_owned()),
    }
}

/// Parses `s3://bucket/folder`.
fn bucket(value: &Value) -> ParseResult<(String, String)> {
    let text = text(value)?;
    let rule = "must be s3://bucket or s3://bucket/folder, of letters, digits and . _ - /";
    let (bucket, prefix) = text
        .strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .ok_or_else(|| rule.to_owned())?;
    let plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let prefix = prefix.trim_end_matches('/');
    let folders = prefix.is_empty() || prefix.split('/').all(|name| !name.is_empty() && plain(name));
    match (3..=63).contains(&bucket.len()) && plain(bucket) && folders {
        true => Ok((bucket.to_owned(), prefix.to_owned())),
        false => Err(rule.into()),
    }
}
