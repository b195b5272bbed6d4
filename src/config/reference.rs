//! Text of `config.yaml`, generated from the keys.
//!
//! Owns: the layout of the file. A test compares it with the file in the repository.

use std::fmt::Write;

use serde_json::Value;

use super::reader::EffectiveKey;
use super::{LoadInput, explain};

const HEADER: &str = "\
# Stentor's configuration: every key with its default. A node reads ./config.yaml, or the file after --config.
# Keys can also be set in the environment (STENTOR__LISTEN__API=0.0.0.0:3000; lists with commas) and with
# --set listen.api=0.0.0.0:3000. A flag overrides the environment, and the environment overrides this file.
# Secrets can be in files of their own: {key}_file. `stentor check-config` shows the effective values.
";

/// Returns every key with its default and its comment, as YAML.
pub fn reference_file() -> String {
    // Cannot fail: a test loads the defaults.
    let (_, keys) = explain(LoadInput::default()).expect("the defaults are valid");
    let mut text = HEADER.to_owned();
    let mut open: Vec<&str> = Vec::new();
    for key in &keys {
        let mut sections: Vec<&str> = key.key.split('.').collect();
        // Cannot fail: splitting always gives at least one part.
        let name = sections.pop().expect("a key has a name");
        open_sections(&mut text, &open, &sections);
        write_key(&mut text, sections.len(), name, key);
        open = sections;
    }
    text
}

fn open_sections(text: &mut String, open: &[&str], wanted: &[&str]) {
    let shared = open.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    for (depth, section) in wanted.iter().enumerate().skip(shared) {
        let gap = if depth == 0 { "\n" } else { "" };
        text.push_str(&format!("{gap}{}{section}:\n", "  ".repeat(depth)));
    }
}

fn write_key(text: &mut String, depth: usize, name: &str, key: &EffectiveKey) {
    let indent = "  ".repeat(depth);
    // Cannot fail: writing to a String.
    write!(text, "{indent}# {}\n{indent}{name}: {}\n", key.about, yaml(&key.default)).expect("no I/O here");
}

/// Formats a value as YAML. Writes JSON, which is valid YAML, but omits the quotes of a text that cannot be
/// read as another type.
fn yaml(value: &Value) -> String {
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:".contains(&b))
            && text.parse::<f64>().is_err()
            && !matches!(text, "" | "null" | "true" | "false" | "~")
    };
    match value {
        Value::String(text) if plain(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
