//! The README's commands, executed as written, and the tables of docs/signalling.md compared with the code.

use std::process::{Command, Stdio};
use std::time::Duration;

use stentor::config::{self, ConfigFile, LoadInput};
use stentor::domain::signalling::{CloseCode, ErrorCode};

use crate::support::node::Node;

#[actix::test]
async fn the_room_with_curl_works_as_written() {
    let node = Node::start(&[]).await;
    let script = first_script()
        .replace("http://127.0.0.1:3000", &node.api)
        .replace("http://127.0.0.1:8080", &node.hls);
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert_eq!(said.matches("\"success\":true").count(), 3, "created, started, deleted: {said}");
    // The sound has 48,000 samples of 16 bits per second, in mono.
    let heard = std::fs::metadata(folder.path().join("heard.wav")).unwrap().len();
    assert!(heard > 3 * 48_000 * 2 * 9 / 10, "{heard} bytes");
    let gone = async {
        while node.get("/api/rooms/tea-room").await.status != 404 {
            crate::support::pause_async().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the room goes");
}

/// Returns the README's first shell block.
fn first_script() -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```sh\n").expect("a shell block");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn cluster_example_nodes_have_valid_configs() {
    let configs = examples().map(|text| {
        let file = Some(ConfigFile { name: "README.md".to_owned(), text });
        let common = [
            ("store.kind", "etcd"),
            ("store.etcd.endpoints", "http://10.0.0.2:2379"),
            ("auth.jwt_secrets", "k1:a secret for the tokens of this test"),
            ("hls.secret", "a secret for the content keys of it"),
            // The file that the example names does not exist here.
            ("auth.api_keys_file", ""),
            ("auth.api_keys", "sixteen-letters-1"),
        ];
        let flags = common.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        config::load(LoadInput { file, flags, ..LoadInput::default() }).unwrap()
    });
    let configs: Vec<_> = configs.collect();
    let [api, media] = &configs[..] else { panic!("{} examples", configs.len()) };
    assert!(api.node.roles.rooms && media.node.roles.gateway && media.node.roles.hls);
    assert_eq!(api.ws_url(), media.ws_url());
    assert_eq!(api.hls_base_url(), media.hls_base_url());
    assert!(configs.iter().all(|config| config.warnings().is_empty()));
}

/// Returns the README's YAML blocks.
fn examples() -> impl Iterator<Item = String> {
    let blocks = include_str!("../../README.md").split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split_once("```").expect("its end").0.to_owned())
}

#[test]
fn documented_signalling_errors_match_code() {
    let mut wanted: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| {
            row(&[&code.number().to_string(), &format!("`{}`", code.as_str()), yes(code.is_retryable())])
        })
        .collect();
    wanted.sort();
    assert_eq!(documented("## Errors"), wanted);
}

#[test]
fn documented_close_codes_match_code() {
    let mut wanted: Vec<_> = CloseCode::ALL
        .iter()
        .map(|code| {
            row(&[&code.number().to_string(), &format!("`{}`", code.reason()), yes(code.is_retryable())])
        })
        .collect();
    wanted.sort();
    assert_eq!(documented("## Close codes"), wanted);
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn row(cells: &[&str]) -> String {
    cells.join(" | ")
}

/// Returns the first three cells of the table rows in a section, sorted. Rows whose first cell is not a
/// number are left out.
fn documented(section: &str) -> Vec<String> {
    let text = include_str!("../../docs/signalling.md");
    let (_, rest) = text.split_once(&format!("\n{section}\n")).expect("the section");
    let section = rest.split_once("\n## ").map_or(rest, |(section, _)| section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split(" | ").take(3).collect::<Vec<_>>());
    let mut found: Vec<_> =
        cells.filter(|cells| cells[0].parse::<i64>().is_ok()).map(|cells| row(&cells)).collect();
    found.sort();
    found
}
