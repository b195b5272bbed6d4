//! Account that children run as when this process runs as root.
//!
//! Owns: the lookup, and the check that the account is usable. Does not change the account of this process.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::User;

use super::SETPRIV;

/// User id of root.
const ROOT: u32 = 0;

/// Unprivileged account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Returns the account for child processes. Returns `None` if this process is not root or `name` is root:
    /// children then run as the user of this process.
    ///
    /// # Errors
    /// This process runs as root, and there is no such user.
    pub fn for_children(name: &str) -> Result<Option<Self>, String> {
        match rustix::process::geteuid().is_root() {
            true => Self::find(name),
            false => Ok(None),
        }
    }

    fn find(name: &str) -> Result<Option<Self>, String> {
        let found = User::from_name(name).map_err(|error| format!("cannot look up the user {name}: {error}"));
        let user = found?.ok_or_else(|| {
            format!(
                "there is no user {name} on this machine; run: useradd --system {name}, or set \
                 node.child_user to another user"
            )
        })?;
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        Ok((uid != ROOT).then(|| Self { name: name.to_owned(), uid, gid }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the id of the account's group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Returns the options of `setpriv`. The kernel drops all capabilities when the user changes.
    pub(super) fn options(&self) -> [String; 3] {
        [format!("--reuid={}", self.uid), format!("--regid={}", self.gid), "--clear-groups".to_owned()]
    }

    /// Checks that this process can change to the account, and that the account can run `programs`.
    ///
    /// # Errors
    /// The message names the remedy.
    pub(super) fn check(&self, programs: &[&Path]) -> Result<(), String> {
        let name = &self.name;
        if !self.succeeds(&["true".as_ref()]) {
            return Err(format!(
                "Janus and FFmpeg cannot be started as the user {name}: this process lacks the capabilities \
                 CAP_SETUID and CAP_SETGID; add them, run the node as an ordinary user, or set \
                 node.child_user to root"
            ));
        }
        if let Err(error) = self.signal_one() {
            return Err(format!(
                "a child that runs as the user {name} cannot be stopped: {error}; add the capability \
                 CAP_KILL, run the node as an ordinary user, or set node.child_user to root"
            ));
        }
        for program in programs.iter().filter_map(|program| which::which(program).ok()) {
            if !self.succeeds(&["test".as_ref(), "-x".as_ref(), &program]) {
                return Err(format!(
                    "the user {name} (node.child_user) cannot run {}: make the file and its folders \
                     accessible to {name}, or set node.child_user to a user who has access",
                    program.display()
                ));
            }
        }
        Ok(())
    }

    /// Runs a system program as the account, and returns true if it exits with 0.
    fn succeeds(&self, command: &[&Path]) -> bool {
        let status = self.command(command).stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Starts a program as the account, and sends a signal to it.
    ///
    /// # Errors
    /// The program cannot be started, or this process may not send signals to the account.
    fn signal_one(&self) -> io::Result<()> {
        let mut echo =
            self.command(&["cat".as_ref()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // The echo proves that `setpriv` has switched to the account. Until then the child runs as this
        // process's user, which may always signal it.
        let mut echoed = [0];
        let changed = match (&mut echo.stdin, &mut echo.stdout) {
            (Some(stdin), Some(stdout)) => {
                stdin.write_all(b"x").and_then(|()| stdout.read_exact(&mut echoed))
            }
            _ => Err(io::Error::other("the pipes are missing")),
        };
        let signalled = changed.and_then(|()| echo.kill());
        // `wait` closes stdin, which ends the program even if the signal was refused.
        echo.wait()?;
        signalled
    }

    fn command(&self, command: &[&Path]) -> Command {
        let mut setpriv = Command::new(SETPRIV);
        setpriv.args(self.options()).arg("--").args(command).stderr(Stdio::null());
        setpriv
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Confinement, confined};
    use super::*;

    #[test]
    fn unknown_users_are_refused() {
        let error = Account::find("no-such-user").unwrap_err();
        assert!(error.contains("useradd --system no-such-user"), "{error}");
        assert_eq!(Account::find("root"), Ok(None));
        assert_eq!(Account::find("nobody").unwrap().unwrap().name(), "nobody");
    }

    /// Returns `nobody` if this process is root; other users cannot change their account.
    fn nobody() -> Option<Account> {
        Account::for_children("nobody").unwrap()
    }

    #[tokio::test]
    async fn confined_children_run_as_account() {
        let Some(account) = nobody() else { return };
        let (uid, gid) = (account.uid, account.gid);
        let confinement = Confinement { account: Some(account), data_limit: None };
        let shown = confined(&confinement, "cat", ["/proc/self/status"]).output().await.unwrap();
        let status = String::from_utf8(shown.stdout).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(field("Uid:"), [uid.to_string().as_str(); 4].join(" "));
        assert_eq!(field("Gid:"), [gid.to_string().as_str(); 4].join(" "));
        assert_eq!((field("Groups:"), field("NoNewPrivs:")), (String::new(), "1".to_owned()));
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
        }
        let environment = confined(&confinement, "env", [""; 0]).output().await.unwrap().stdout;
        let environment = String::from_utf8(environment).unwrap();
        assert!(!environment.contains("HOME=") && environment.contains("PATH="), "{environment}");
    }

    /// Runs this test again without the capability to send signals to other users.
    #[test]
    fn account_must_be_reachable_by_signals() {
        const TEST: &str = "account::tests::account_must_be_reachable_by_signals";
        let Some(account) = nobody() else { return };
        if std::env::var_os("WITHOUT_KILL").is_some() {
            let error = account.check(&[]).unwrap_err();
            assert!(error.contains("CAP_KILL"), "{error}");
            return;
        }
        assert_eq!(account.check(&[]), Ok(()));
        let without = ["--bounding-set=-kill", "--inh-caps=-kill", "--"];
        let again = Command::new(SETPRIV)
            .args(without)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST])
            .env("WITHOUT_KILL", "1")
            .output()
            .unwrap();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
        assert!(String::from_utf8_lossy(&again.stdout).contains("1 passed"));
    }

    #[test]
    fn programs_must_be_accessible_to_account() {
        let Some(account) = nobody() else { return };
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(account.check(&["true".as_ref(), "/no/such/program".as_ref()]), Ok(()));
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let error = account.check(&[&program]).unwrap_err();
        assert!(error.contains("the user nobody (node.child_user) cannot run"), "{error}");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(account.check(&[&program]), Ok(()));
    }
}
