//! Tests of recordings on a disk: contents, crashes, permissions.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::ids::{Nonce, RoomId, UnixMs};
use crate::domain::timeline::{Junction, Moment, Timeline};
use crate::packager::{ClosedSegment, ContentKeys, LiveStream, Packager, PackagerConfig, SequenceStart};

fn id() -> RecordingId {
    RecordingId::new("0123456789abcdef").unwrap()
}

/// Returns the stream of a packager that has closed `parts` segments of one part each.
fn stream(parts: u64) -> Arc<LiveStream> {
    let keys = ContentKeys::new(b"s", &RoomId::new("demo").unwrap(), &Nonce("n".into()));
    let part = Duration::from_millis(192);
    let config = PackagerConfig { part, segment: part, window: 60, key_rotation: 10 };
    let moment = |ms| Moment { now: Duration::from_millis(ms), wall: UnixMs(ms) };
    let (start, junction) = (SequenceStart::default(), Junction::First(Timeline::default()));
    let (mut packager, stream) = Packager::new(config, keys, start, junction, moment(0));
    packager.begin_incarnation(moment(0));
    for n in 0..parts {
        packager.push(&synth::frames(9, 0), moment(n * 192)).unwrap();
    }
    packager.finish();
    stream
}

fn segments(count: u64) -> Vec<ClosedSegment> {
    let closed = stream(count).closed_now(None).segments;
    assert_eq!(closed.len() as u64, count);
    closed
}

fn append(writer: &mut TakeWriter, segments: &[ClosedSegment]) {
    for segment in segments {
        writer.append(segment).unwrap();
    }
}

fn spool() -> (tempfile::TempDir, Spool) {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::new(folder.path().join("recordings"));
    (folder, spool)
}

#[test]
fn recorded_segments_equal_live_ones() {
    let (_folder, spool) = spool();
    let mut writer = spool.open(&id()).unwrap();
    let closed = segments(7);
    append(&mut writer, &closed);
    writer.sync().unwrap();
    let entries = spool.entries(&id()).unwrap();
    assert_eq!(entries.len(), 7);
    for (entry, segment) in entries.iter().zip(&closed) {
        assert_eq!((entry.sequence, entry.key_index), (segment.sequence(), segment.key_index()));
        assert_eq!(spool.read(&id(), entry.into()).unwrap(), segment.bytes().unwrap());
    }
    let written = writer.written();
    assert_eq!((written.last, written.segments), (Some(6), 7));
    assert_eq!(written.duration, Duration::from_millis(7 * 192));
}

#[test]
fn crashed_recording_continues_in_new_file() {
    let (folder, spool) = spool();
    let closed = segments(4);
    let mut writer = spool.open(&id()).unwrap();
    append(&mut writer, &closed[..2]);
    drop(writer);
    // Simulate a crash: the last line is cut off. The media of the last segment are cut off below.
    let dir = folder.path().join("recordings").join(id().as_str());
    let journal = std::fs::read(dir.join("journal.jsonl")).unwrap();
    std::fs::write(dir.join("journal.jsonl"), &journal[..journal.len() - 9]).unwrap();
    let mut writer = spool.open(&id()).unwrap();
    assert_eq!(writer.written().last, Some(0));
    append(&mut writer, &closed[1..]);
    let entries = spool.entries(&id()).unwrap();
    let places: Vec<_> = entries.iter().map(|entry| (entry.sequence, entry.file)).collect();
    assert_eq!(places, [(0, 1), (1, 2), (2, 2), (3, 2)]);
    std::fs::write(dir.join("media-00002.ts"), b"short").unwrap();
    assert_eq!(spool.entries(&id()).unwrap().len(), 1, "lines without their media do not count");
}

#[test]
fn recordings_are_private_and_erasable() {
    let (folder, spool) = spool();
    let mut writer = spool.open(&id()).unwrap();
    writer.append(&segments(1)[0]).unwrap();
    let dir = folder.path().join("recordings");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join(id().as_str()))), (0o700, 0o700));
    for file in std::fs::read_dir(dir.join(id().as_str())).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    spool.erase(&id()).unwrap();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    spool.erase(&id()).unwrap();
    assert_eq!(spool.journal(&id()).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn old_media_files_are_erasable() {
    let (folder, spool) = spool();
    let closed = segments(4);
    for segment in &closed {
        // Each opening starts a new media file.
        let entry = spool.open(&id()).unwrap().append(segment).unwrap();
        assert_eq!(u64::from(entry.file), entry.sequence + 1);
    }
    spool.erase_before(&id(), 3).unwrap();
    let places: Vec<_> = spool.entries(&id()).unwrap().iter().map(|e| (e.sequence, e.file)).collect();
    assert_eq!(places, [(2, 3), (3, 4)]);
    spool.erase_before(&id(), u32::MAX).unwrap();
    assert_eq!(spool.entries(&id()).unwrap(), []);
    let dir = folder.path().join("recordings");
    assert_eq!(std::fs::read_dir(dir.join(id().as_str())).unwrap().count(), 1, "only the journal");
    spool.erase_all().unwrap();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "the folder itself stays");
    std::fs::remove_dir(&dir).unwrap();
    spool.erase_all().unwrap();
}

#[test]
fn failed_copy_leaves_no_file() {
    let (folder, spool) = spool();
    drop(spool.open(&id()).unwrap());
    spool.put_media(&id(), 3, b"media").unwrap();
    assert_eq!(spool.media(&id(), 3).unwrap(), "media");
    let dir = folder.path().join("recordings").join(id().as_str());
    // A folder in the place of the file makes the last step fail.
    std::fs::create_dir(dir.join("media-00004.ts")).unwrap();
    assert!(spool.put_media(&id(), 4, b"media").is_err());
    let names = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".new")));
}

#[test]
fn unusable_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(Spool::new(folder.path().join("file")).open(&id()).is_err());
}

#[test]
fn extents_are_parsed_strictly() {
    let extent = Extent { file: 2, offset: 300, bytes: 17 };
    assert_eq!(extent.to_string().parse(), Ok(extent));
    for bad in ["", "1", "1-2", "1-2-3-4", "-1-2-3", "a-b-c", "../1-2-3", "1-2-99999999999999999999"] {
        assert!(bad.parse::<Extent>().is_err(), "{bad:?}");
    }
    let (_folder, spool) = spool();
    let huge = Extent { file: 1, offset: 0, bytes: u64::MAX };
    assert_eq!(spool.read(&id(), huge).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
