//! Reader that is called once for each key, with its default, comment and parser, and collects the errors.
//!
//! The calls in `keys` are the only list of the existing keys. The reference file, the output of
//! `check-config` and the errors about unknown keys are made from the keys that were read here. Owns: the
//! collected keys and errors. Contains no key itself.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use super::errors::{ConfigError, ConfigErrors, Source};
use super::layers::{ENV_PREFIX, Entry, Layers};

const MASK: &str = "******";
/// Number of wrong characters up to which the name of a variable resembles that of a key.
const MISSPELT: usize = 2;

/// Existing key, and its value in this configuration.
#[derive(Debug, Clone)]
pub struct EffectiveKey {
    pub key: String,
    /// Value in displayable form: a secret is masked.
    pub value: String,
    pub source: Source,
    /// Keyed hash of the value. If the value is a secret, or names a file with a secret, the hash covers the
    /// secret. Without the key of the hash, the hash reveals nothing about the secret.
    fingerprint: u64,
    pub(super) default: Value,
    pub(super) about: &'static str,
}

static FINGERPRINTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Returns the keys whose values differ between two readings of the configuration by this process.
pub fn changed<'a>(old: &'a [EffectiveKey], new: &'a [EffectiveKey]) -> impl Iterator<Item = &'a str> {
    // Every reading lists the same keys in the same order.
    let pairs = old.iter().zip(new);
    pairs.filter(|(old, new)| old.fingerprint != new.fingerprint).map(|(_, new)| new.key.as_str())
}

pub(super) struct Reader {
    entries: BTreeMap<String, Entry>,
    known: Vec<EffectiveKey>,
    errors: Vec<ConfigError>,
    /// Warnings about the sources of the configuration.
    remarks: Vec<String>,
}

/// Parsed value, or an error that states the allowed values.
pub(super) type ParseResult<T> = Result<T, String>;

impl Reader {
    pub fn new(layers: Layers) -> Self {
        Self { entries: layers.entries, known: Vec::new(), errors: layers.errors, remarks: Vec::new() }
    }

    /// Reads a key. After an error the default is returned, so that the remaining keys are still read.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        default: impl Into<Value>,
        about: &'static str,
        parse: impl Fn(&Value) -> ParseResult<T>,
    ) -> T {
        let default = default.into();
        let entry = self.take(key, default.clone(), about, shown);
        match parse(&entry.value) {
            Ok(value) => value,
            Err(problem) => {
                self.fail(key, problem);
                // Cannot fail: a test reads every default through its own parser.
                parse(&default).expect("a default that its own parser refuses")
            }
        }
    }

    /// Reads a key that may be absent. Null and the empty text mean that it is absent.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        about: &'static str,
        parse: impl Fn(&Value) -> ParseResult<T>,
    ) -> Option<T> {
        let entry = self.take(key, Value::Null, about, shown);
        self.parse_given(key, &entry.value, parse)
    }

    /// Reads a secret under `key`, or from the file that `{key}_file` names, but not both.
    pub fn secret<T>(
        &mut self,
        key: &'static str,
        about: &'static str,
        file_about: &'static str,
        parse: impl Fn(&Value) -> ParseResult<T>,
    ) -> Option<T> {
        let file_key = format!("{key}_file");
        let Entry { value: inline, source } = self.take(key, Value::Null, about, masked);
        if let (true, Source::File { name, .. }) = (is_given(&inline), &source) {
            self.remark_on_file(key, Path::new(name));
        }
        let file = self.take(&file_key, Value::Null, file_about, shown).value;
        if !is_given(&file) {
            return self.parse_given(key, &inline, parse);
        }
        if is_given(&inline) {
            self.fail(&file_key, format!("both {key} and {file_key} are set; keep one of them"));
            return None;
        }
        let path = super::parse::text(&file).map(PathBuf::from);
        if let Ok(path) = &path {
            self.remark_on_file(&file_key, path);
        }
        let read = path.and_then(|path| secret_lines(&path));
        if let (Ok(lines), Some(known)) = (&read, self.known.last_mut()) {
            // The last known key is `file_key`. Its fingerprint must cover the contents of the file.
            known.fingerprint = fingerprint(lines);
        }
        match read.and_then(|lines| parse(&lines)) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                self.fail(&file_key, format!("the file: {problem}"));
                None
            }
        }
    }

    /// Reports `problem` for the first of `keys` unless `holds` is true. Does nothing if one of the keys
    /// already has an error.
    pub fn require(&mut self, keys: &[&str], holds: bool, problem: impl Into<String>) {
        let is =
            |error: &ConfigError, key: &str| error.key == key || error.key.strip_suffix("_file") == Some(key);
        let wrong = |key: &&str| self.errors.iter().any(|error| is(error, key));
        if !holds && !keys.iter().any(wrong) {
            self.fail(keys[0], problem.into());
        }
    }

    /// Adds a warning for each variable whose name resembles that of a key. `others`: variables that are not
    /// read, and their names without `STENTOR_`. Other names may belong to other programs: Kubernetes sets
    /// `STENTOR_SERVICE_HOST` if a service has the name `stentor`.
    pub fn remark_on_variables(&mut self, others: &[(String, String)]) {
        for (variable, rest) in others {
            let rest = rest.to_ascii_lowercase().replace("__", "_");
            let near = |k: &&EffectiveKey| distance(&rest, &k.key.replace('.', "_")) <= MISSPELT;
            if let Some(key) = self.known.iter().find(near) {
                let name = key.key.replace('.', "__").to_ascii_uppercase();
                self.remarks.push(format!(
                    "the environment variable {variable} has no effect: the variable of {} is \
                     {ENV_PREFIX}{name}",
                    key.key
                ));
            }
        }
    }

    /// Adds a warning if a file with the secret of `key` can be read by users who need not read it. A node
    /// that is not the owner may need the permission of the group, as for the keys of the Debian package.
    pub fn remark_on_file(&mut self, key: &str, path: &Path) {
        let Some(metadata) = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file) else { return };
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        let (mode, others) = (metadata.mode() & 0o7777, if is_own { 0o077 } else { 0o007 });
        if mode & others != 0 {
            let path = path.display();
            let owner = if is_own { "" } else { "make the user of the node its owner, and " };
            self.remarks.push(format!(
                "{key}: {path} has a secret and can be read by others (mode {mode:04o}); {owner}run: \
                 chmod 600 {path}"
            ));
        }
    }

    /// Returns the warnings, and forgets them.
    pub fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Returns every key that was read.
    ///
    /// # Errors
    /// All collected errors, including unknown keys.
    pub fn finish(mut self) -> Result<Vec<EffectiveKey>, ConfigErrors> {
        for (key, entry) in std::mem::take(&mut self.entries) {
            if let Some(problem) = self.why_unknown(&key, &entry) {
                self.errors.push(ConfigError { key, value: None, source: entry.source, problem });
            }
        }
        if self.errors.is_empty() { Ok(self.known) } else { Err(ConfigErrors(self.errors)) }
    }

    fn take(&mut self, key: &str, default: Value, about: &'static str, show: fn(&Value) -> String) -> Entry {
        let given = self.entries.remove(key).filter(|e| !e.value.is_null());
        let entry = given.unwrap_or_else(|| Entry { value: default.clone(), source: Source::Default });
        let (value, source) = (show(&entry.value), entry.source.clone());
        let fingerprint = fingerprint(&entry.value);
        self.known.push(EffectiveKey { key: key.to_owned(), value, source, fingerprint, default, about });
        entry
    }

    fn parse_given<T>(
        &mut self,
        key: &str,
        value: &Value,
        parse: impl Fn(&Value) -> ParseResult<T>,
    ) -> Option<T> {
        if !is_given(value) {
            return None;
        }
        parse(value).map_err(|problem| self.fail(key, problem)).ok()
    }

    fn fail(&mut self, key: &str, problem: String) {
        // Cannot fail: errors are reported only for keys that were read.
        let known = self.known.iter().find(|k| k.key == key).expect("a key that was never read");
        let (value, source) = (Some(known.value.clone()), known.source.clone());
        self.errors.push(ConfigError { key: key.to_owned(), value, source, problem });
    }

    /// Returns the problem with a key that was not read; `None` for a section that is present but empty.
    fn why_unknown(&self, key: &str, entry: &Entry) -> Option<String> {
        let is_section = self.known.iter().any(|k| k.key.starts_with(&format!("{key}.")));
        match (is_section, entry.value.is_null()) {
            (true, true) => None,
            (true, false) => Some("is a section; put its keys below it".into()),
            (false, _) => Some(match self.nearest(key) {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => "unknown key; config.yaml lists all of them".into(),
            }),
        }
    }

    fn nearest(&self, key: &str) -> Option<&str> {
        let closest = self.known.iter().map(|k| (distance(key, &k.key), k.key.as_str())).min()?;
        (closest.0 <= key.len().div_ceil(3)).then_some(closest.1)
    }
}

fn fingerprint(value: &Value) -> u64 {
    FINGERPRINTS.hash_one(value.to_string())
}

fn is_given(value: &Value) -> bool {
    !matches!(value, Value::Null) && value.as_str() != Some("")
}

/// Returns the lines that are neither empty nor comments.
fn secret_lines(path: &Path) -> ParseResult<Value> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    Ok(lines.map(Value::from).collect())
}

fn masked(value: &Value) -> String {
    if is_given(value) { MASK.into() } else { shown(value) }
}

/// Returns the value as it is in the file, but with the user and password of a URL masked. If the value
/// contains the secret of a webhook, which does not belong there, the whole value is masked.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.contains("whsec_") {
        return MASK.into();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}"),
        None => text,
    }
}

/// Returns the Levenshtein distance: the number of bytes to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
