//! File, environment and flags merged into one map from dotted key to value and source.
//!
//! Owns: the spelling of a key in each source. Does not check whether a key exists.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::LoadInput;
use super::errors::{ConfigError, ConfigErrors, Source};

/// Prefix of environment variables: `STENTOR__STORE__KIND` is `store.kind`.
pub const ENV_PREFIX: &str = "STENTOR__";

/// Maximum nesting depth of a configuration file. The keys need five levels. Without a limit, deeply nested
/// lists would crash the program.
const MAX_DEPTH: usize = 16;

/// Text of a configuration file, and the file's name for error messages.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub name: String,
    pub text: String,
}

/// Value as given by its source.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub value: Value,
    pub source: Source,
}

#[derive(Debug, Default)]
pub(super) struct Layers {
    pub entries: BTreeMap<String, Entry>,
    /// Errors found before any key is read.
    pub errors: Vec<ConfigError>,
}

impl ConfigFile {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(e) => Err(ConfigErrors(vec![ConfigError {
                key: "--config".into(),
                value: Some(name),
                source: Source::Argument,
                problem: format!("cannot be read: {e}"),
            }])),
        }
    }
}

/// Merges the sources. Later layers win: file, then environment, then flags.
pub(super) fn merge(input: LoadInput) -> Layers {
    let mut layers = Layers::default();
    if let Some(file) = input.file {
        add_file(&mut layers, &file);
    }
    for (name, value) in input.env {
        if let Some(key) = env_key(&name) {
            layers.put(key, Value::String(value), Source::Env(name));
        }
    }
    for (key, value) in input.flags {
        layers.put(key, Value::String(value), Source::Flag);
    }
    layers
}

/// Returns the variables that begin with `STENTOR_` and not with [`ENV_PREFIX`], and the rest of their names.
pub(super) fn other_variables(env: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let rest = |name: &String| {
        let rest = name.strip_prefix("STENTOR_").filter(|rest| !rest.starts_with('_'))?;
        Some((name.clone(), rest.to_owned()))
    };
    env.keys().filter_map(rest).collect()
}

fn env_key(name: &str) -> Option<String> {
    Some(name.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase().replace("__", "."))
}

impl Layers {
    fn put(&mut self, key: String, value: Value, source: Source) {
        self.entries.insert(key, Entry { value, source });
    }
}

fn add_file(layers: &mut Layers, file: &ConfigFile) {
    // A snippet would copy lines of the file, and possibly a secret, into the message.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    };
    match serde_saphyr::from_str_with_options::<Option<Spanned<Node>>>(&file.text, options) {
        Ok(Some(root)) => flatten(layers, &file.name, "", root),
        Ok(None) => {}
        Err(e) => layers.errors.push(ConfigError {
            key: "--config".into(),
            value: Some(file.name.clone()),
            source: Source::File { name: file.name.clone(), line: e.location().map_or(1, |l| l.line()) },
            problem: format!("is not valid YAML: {}", without_library_hint(&e.to_string())),
        }),
    }
}

/// Returns an error text of the YAML library without its advice to programmers.
fn without_library_hint(text: &str) -> String {
    text.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

fn flatten(layers: &mut Layers, file: &str, key: &str, node: Spanned<Node>) {
    let source = Source::File { name: file.to_owned(), line: node.referenced.line() };
    match node.value {
        Node::Section(children) => {
            for (name, child) in children {
                if name.contains('.') {
                    layers.errors.push(dotted_name(&name, file, child.referenced.line()));
                    continue;
                }
                let path = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(layers, file, &path, child);
            }
        }
        Node::Value(value) => layers.put(key.to_owned(), value, source),
    }
}

/// Reports a dotted name in a file. Only the nested spelling is allowed there, so that a key cannot be set
/// twice in a file.
fn dotted_name(name: &str, file: &str, line: u64) -> ConfigError {
    ConfigError {
        key: name.to_owned(),
        value: None,
        source: Source::File { name: file.to_owned(), line },
        problem: "keys of a file are nested (`listen:`, then `api:` below it), not dotted".into(),
    }
}

/// YAML node that keeps the line of every mapping entry.
enum Node {
    Section(Vec<(String, Spanned<Node>)>),
    Value(Value),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, a list, text, a number, true or false")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Section(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Value(Value::Array(items)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Value(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Value(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Value(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Value(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Value(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Value(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Value(Value::Null))
    }
}
