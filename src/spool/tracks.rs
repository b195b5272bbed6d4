//! Tracks on this node's disk: what Janus has recorded of each anchor, and the files made from it.
//!
//! ```text
//! {janus}/tracks/{recording}/{time}/{unique}-{user}-audio.mjr         closed by Janus
//! {janus}/tracks/{recording}/{time}/{unique}-{user}-audio.mjr.open    open, or left by a killed Janus
//! {recordings}/tracks/{recording}/{user}.opus                         track
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::writer::leave;
use crate::domain::ids::{UnixMs, UserId};
use crate::domain::recording::RecordingId;
use crate::domain::tracks::{MAX_TRACKS, TrackFile, participant_of};
use crate::packager::track::{MjrReader, Shift, TimeAxis, write_track};

/// Number of bytes that are left free on the disks of the tracks: more than for recordings, so that a filling
/// disk stops tracks first.
pub const RESERVE: u64 = 128 << 20;

/// Folders of this node's tracks.
#[derive(Debug, Clone)]
pub struct TrackSpool {
    /// Folder in which Janus records; `None`: no Janus of this node records.
    recorded: Option<PathBuf>,
    made: PathBuf,
    /// Extension of a file that Janus has not closed.
    open: &'static str,
}

impl TrackSpool {
    /// Creates the spool. `recordings`: folder of this node's recordings.
    pub fn new(recorded: Option<PathBuf>, recordings: &Path, open: &'static str) -> Self {
        Self { recorded, made: recordings.join("tracks"), open }
    }

    /// Returns true if a Janus of this node may record.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Returns the recordings that have files on this node; true if a recording has files of Janus that are
    /// not made into tracks yet.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn list(&self) -> io::Result<BTreeMap<RecordingId, bool>> {
        let mut found: BTreeMap<_, _> = ids(&self.made)?.into_iter().map(|id| (id, false)).collect();
        if let Some(folder) = &self.recorded {
            found.extend(ids(folder)?.into_iter().map(|id| (id, true)));
        }
        Ok(found)
    }

    /// Returns true if Janus has closed all files of a recording. After Janus was killed, some stay open.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn is_closed(&self, id: &RecordingId) -> io::Result<bool> {
        let open = |path: &PathBuf| path.extension().is_some_and(|extension| extension == self.open);
        Ok(!self.files(id)?.iter().any(open))
    }

    /// Makes the tracks of a recording. Those of an interrupted or earlier attempt are replaced. `shifts`:
    /// corrections of the tracks' packets.
    ///
    /// # Errors
    /// The disk is nearly full, or failed.
    pub fn make(
        &self,
        id: &RecordingId,
        axis: &TimeAxis,
        shifts: &BTreeMap<UserId, Vec<Shift>>,
    ) -> io::Result<Vec<TrackFile>> {
        let mut users: BTreeMap<UserId, Vec<(PathBuf, UnixMs)>> = BTreeMap::new();
        for path in self.files(id)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some((user, joined)) = participant_of(name, self.open) {
                users.entry(user).or_default().push((path, joined));
            }
        }
        let folder = self.made.join(id.as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut made = Vec::new();
        for (user_id, paths) in users {
            let mut recorded = Vec::new();
            for (path, joined) in paths {
                let reader = MjrReader::open(BufReader::new(File::open(path)?))?;
                recorded.extend(reader.map(|reader| (reader, joined)));
            }
            // An anchor who never sent audio has no track.
            if recorded.is_empty() || made.len() == MAX_TRACKS {
                continue;
            }
            leave(RESERVE, &folder)?;
            let path = track(&folder, &user_id);
            let new = path.with_extension("new");
            let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
            let shifts = shifts.get(&user_id).map_or(&[][..], Vec::as_slice);
            let (file, bytes) = write_track(axis, recorded, shifts, BufWriter::new(file))?;
            // Without this sync, the renamed file could be empty after a power failure.
            file.get_ref().sync_all()?;
            std::fs::rename(new, path)?;
            made.push(TrackFile { user_id, bytes });
        }
        Ok(made)
    }

    /// Opens a track.
    ///
    /// # Errors
    /// The track is not on this node, or cannot be read.
    pub fn open(&self, id: &RecordingId, user: &UserId) -> io::Result<File> {
        File::open(track(&self.made.join(id.as_str()), user))
    }

    /// Reads a part of a track.
    ///
    /// # Errors
    /// The track is not on this node, is shorter than the part, or cannot be read.
    pub fn read(&self, id: &RecordingId, user: &UserId, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let mut part = vec![0; bytes];
        self.open(id, user)?.read_exact_at(&mut part, offset)?;
        Ok(part.into())
    }

    /// Deletes the files of Janus for a recording. Succeeds if there are none.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn erase_recorded(&self, id: &RecordingId) -> io::Result<()> {
        self.recorded.iter().try_for_each(|folder| remove(&folder.join(id.as_str())))
    }

    /// Deletes all files of a recording, its tracks included. Succeeds if there are none.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn erase(&self, id: &RecordingId) -> io::Result<()> {
        self.erase_recorded(id)?;
        remove(&self.made.join(id.as_str()))
    }

    /// Returns the files in which Janus has recorded, in a stable order.
    fn files(&self, id: &RecordingId) -> io::Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        if let Some(folder) = &self.recorded {
            for started in entries(&folder.join(id.as_str()))? {
                files.extend(entries(&started)?);
            }
        }
        Ok(files)
    }
}

fn track(folder: &Path, user: &UserId) -> PathBuf {
    folder.join(format!("{}.opus", user.encoded()))
}

fn ids(folder: &Path) -> io::Result<Vec<RecordingId>> {
    let names = entries(folder)?;
    Ok(names.iter().filter_map(|path| RecordingId::new(path.file_name()?.to_str()?).ok()).collect())
}

/// Returns the paths in a folder; none if it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Checks that the disk has room for more of the tracks that Janus records into this folder.
///
/// # Errors
/// The disk is nearly full, or the folder does not exist.
pub fn check_disk(folder: &Path) -> io::Result<()> {
    leave(RESERVE, folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recording_journal::JournalEntry;
    use crate::domain::tracks::recorded_name;

    fn spool(root: &Path) -> TrackSpool {
        TrackSpool::new(Some(root.join("mjr")), root, "open")
    }

    fn axis() -> TimeAxis {
        let entry = JournalEntry {
            sequence: 1,
            duration_us: 2_000_000,
            started_at: UnixMs(1_000),
            discontinuity: false,
            key_index: 0,
            bytes: 9,
            file: 1,
            offset: 0,
            lag_us: None,
            tick_us: None,
        };
        TimeAxis::new([&entry]).unwrap()
    }

    /// Writes a file with this number of packets, as Janus does.
    fn record(root: &Path, id: &RecordingId, user: &str, unique: u64, end: &str, packets: u8) {
        let user = UserId::new(user).unwrap();
        let folder = root.join("mjr").join(id.as_str()).join(unique.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let json = br#"{"t":"a","c":"opus","s":1000000,"u":1000000}"#;
        let mut file = [b"MJR00002\0", &[json.len() as u8][..], json].concat();
        for n in 0..packets {
            file.extend(b"MEET\0\0\0\0\0\x0d\x80\x6f\0");
            file.extend([n, 0, 0, 0, 0, 0, 0, 0, 0, 0xf8]);
        }
        let file = if packets == 0 { b"MJR00002".to_vec() } else { file };
        std::fs::write(
            folder.join(format!("{}{end}", recorded_name(&user, UnixMs(unique), 0).unwrap())),
            file,
        )
        .unwrap();
    }

    #[test]
    fn tracks_are_made_per_user() {
        let root = tempfile::tempdir().unwrap();
        let (spool, id) = (spool(root.path()), RecordingId::random(1));
        assert_eq!(spool.list().unwrap(), BTreeMap::new());
        record(root.path(), &id, "ann", 1, "-audio.mjr", 9);
        record(root.path(), &id, "ann", 2, "-audio.mjr.open", 9);
        record(root.path(), &id, "b/b", 1, "-audio.mjr", 9);
        record(root.path(), &id, "cid", 1, "-audio.mjr", 0);
        std::fs::write(root.path().join("mjr").join(id.as_str()).join("1/stranger.mjr"), b"").unwrap();
        assert_eq!(spool.list().unwrap(), BTreeMap::from([(id.clone(), true)]));
        assert!(!spool.is_closed(&id).unwrap());
        let made = spool.make(&id, &axis(), &BTreeMap::new()).unwrap();
        let users: Vec<_> = made.iter().map(|file| file.user_id.as_str()).collect();
        assert_eq!(users, ["ann", "b/b"]);
        assert_eq!(spool.make(&id, &axis(), &BTreeMap::new()).unwrap(), made, "the same again");
        let part = spool.read(&id, &made[1].user_id, 0, made[1].bytes as usize).unwrap();
        assert!(part.starts_with(b"OggS"));
        assert!(spool.read(&id, &made[1].user_id, 1, made[1].bytes as usize).is_err());
        spool.erase_recorded(&id).unwrap();
        assert_eq!(spool.list().unwrap(), BTreeMap::from([(id.clone(), false)]));
        spool.erase(&id).unwrap();
        assert_eq!(spool.list().unwrap(), BTreeMap::new());
    }
}
