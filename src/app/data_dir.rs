//! The data directory. It holds secrets, so only its owner may read it. One group may be allowed to pass
//! through it.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::process::Account;

/// Files that nodes keep in the data directory.
const OURS: [&str; 3] = ["secrets.json", "node-id", "store.redb"];

/// Creates the directory with mode 0700. If others can read an existing directory, restricts its mode,
/// because earlier versions created such directories.
///
/// # Errors
/// The directory cannot be created or restricted, or others can read it and it does not look like a data
/// directory. In the latter case its mode is not changed, because other programs may depend on the mode.
pub fn prepare(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot create the data directory {shown}; set node.data_dir"))?;
    let Some(mode) = mode_to_restrict(dir)? else { return Ok(()) };
    set_permissions(dir, Permissions::from_mode(0o700)).with_context(|| {
        let remedy = remedy(dir);
        format!("others can read {shown} (mode {mode:04o}), which holds secrets; {remedy}")
    })?;
    tracing::warn!(dir = %shown, "restricted the data directory from mode {mode:04o} to 0700");
    Ok(())
}

/// Returns the mode of an existing data directory if others can read it; `None` if they cannot. Does not
/// change the mode.
///
/// # Errors
/// The directory cannot be read, or [`prepare`] would refuse it because of its mode.
pub fn mode_to_restrict(dir: &Path) -> anyhow::Result<Option<u32>> {
    let shown = dir.display();
    let unreadable = || format!("cannot read the data directory {shown}; set node.data_dir");
    let mode = dir.metadata().with_context(unreadable)?.mode() & 0o7777;
    if mode & 0o067 == 0 {
        return Ok(None);
    }
    let is_ours = OURS.iter().any(|name| dir.join(name).exists());
    let is_empty = dir.read_dir().with_context(unreadable)?.next().is_none();
    if !(is_ours || is_empty) {
        bail!("others can read {shown} (mode {mode:04o}), which must hold secrets; {}", remedy(dir));
    }
    Ok(Some(mode))
}

fn remedy(dir: &Path) -> String {
    let dir = dir.display();
    format!("run: chmod 700 {dir}, or set node.data_dir to a folder of its own, such as one below it")
}

/// Lets the group of Janus's account pass through the directory, if Janus records tracks: Janus resolves the
/// path of each file that it creates. Janus still cannot list the directory, or read any other file in it.
///
/// # Errors
/// The group or the mode of the directory cannot be changed.
pub fn let_pass(config: &Config, account: Option<&Account>) -> anyhow::Result<()> {
    let Some(account) = account.filter(|_| config.makes_tracks()) else { return Ok(()) };
    let dir = &config.node.data_dir;
    let shared = chown(dir, None, Some(account.gid()));
    let shared = shared.and_then(|()| set_permissions(dir, Permissions::from_mode(0o710)));
    let dir = dir.display();
    shared.with_context(|| format!("cannot let the group of {} pass through {dir}", account.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(dir: &Path) -> u32 {
        dir.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_directory_is_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        prepare(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
    }

    #[test]
    fn an_earlier_data_directory_is_tightened() {
        for file in [None, Some("secrets.json"), Some("store.redb")] {
            let dir = tempfile::tempdir().unwrap();
            file.inspect(|name| std::fs::write(dir.path().join(name), "").unwrap());
            set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
            prepare(dir.path()).unwrap();
            assert_eq!(mode(dir.path()), 0o700, "{file:?}");
        }
    }

    #[test]
    fn a_shared_directory_is_refused_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("somebody's"), "").unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        let error = prepare(dir.path()).unwrap_err().to_string();
        assert!(error.contains("mode 1777") && error.contains("chmod 700"), "{error}");
        assert!(error.contains("node.data_dir"), "{error}");
        assert_eq!(mode(dir.path()), 0o1777);
    }
}
