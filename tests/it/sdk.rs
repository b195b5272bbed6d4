//! The server SDKs in `sdk/`, each with its own tests on one node that requires an API key.

use std::time::Duration;

use futures::future::join_all;

use crate::support::node::Node;
use crate::support::skipped;

const KEY: &str = "a-key-of-the-application";
const SECRET: &str = "k1:a-secret-of-the-application-for-its-tokens";
/// Exit code of `sdk.py` where a package of the language is not available.
const NOT_AVAILABLE: i32 = 77;
const ENDS_WITHIN: Duration = Duration::from_secs(300);

#[actix::test]
async fn server_sdks_pass_on_real_node() {
    let settings = [("auth.mode", "keys"), ("auth.api_keys", KEY), ("auth.jwt_secrets", SECRET)];
    let node = Node::start(&settings).await;
    let run = async |language: &'static str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/sdk.py");
        let mut command = stentor::process::command(script, ["test", language]);
        command.envs(std::env::vars_os()).envs([
            ("STENTOR_API", node.api.as_str()),
            ("STENTOR_HLS", node.hls.as_str()),
            ("STENTOR_API_KEY", KEY),
            ("STENTOR_JWT_SECRET", SECRET),
        ]);
        let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await;
        (language, output.expect("the tests end in time").unwrap())
    };
    for (language, output) in join_all(["node", "python", "go"].map(run)).await {
        let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
        match output.status.code() {
            Some(NOT_AVAILABLE) => skipped(format!("{language}: {text}")),
            _ => assert!(output.status.success(), "{language}: {text}"),
        }
    }
}
