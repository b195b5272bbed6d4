//! The command line as an operator uses it: its output and exit codes.

use std::path::Path;
use std::process::{Command, Output};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn check_config_prints_what_is_in_force_and_whence() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "listen:\n  hls: 127.0.0.1:9000\n").unwrap();
    let output = stentor(folder.path(), &["check-config", "--set", &format!("hls.secret={SECRET}")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(line(&text, "listen.hls"), "\"127.0.0.1:9000\" config.yaml line 2");
    assert_eq!(line(&text, "listen.api"), "\"127.0.0.1:3999\" environment STENTOR__LISTEN__API");
    assert_eq!(line(&text, "hls.secret"), "****** flag --set");
    assert_eq!(line(&text, "hls.part_ms"), "192 default");
}

#[test]
fn check_config_says_what_is_allowed_and_perhaps_not_meant() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = format!(
        "store:\n  kind: etcd\n  etcd: {{endpoints: [\"http://127.0.0.1:2379\"]}}\n\
         hls: {{secret: {SECRET}}}\n\
         auth:\n  jwt_secrets: [{{kid: a, secret: {SECRET}}}]\n"
    );
    std::fs::write(folder.path().join("config.yaml"), cluster).unwrap();
    let output = stentor(folder.path(), &["check-config"]);
    let remarks = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && remarks.contains("set presence.kind: redis"), "{remarks}");
    assert!(remarks.contains("auth.mode is open"), "{remarks}");
}

#[test]
fn check_config_ends_with_2_and_every_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = stentor(folder.path(), &["check-config", "--set", "hls.part_ms=x", "--set", "hls.prt=1"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("2 errors") && errors.contains("hls.part_ms = \"x\""), "{errors}");
    let missing = stentor(folder.path(), &["check-config", "--config", "nowhere.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("nowhere.yaml"));
}

fn stentor(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stentor"))
        .args(args)
        .current_dir(folder)
        .env("STENTOR__LISTEN__API", "127.0.0.1:3999")
        .output()
        .unwrap()
}

/// Returns value and source of `key`.
fn line(text: &str, key: &str) -> String {
    let line = text.lines().find(|l| l.split_whitespace().next() == Some(key)).unwrap();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}
