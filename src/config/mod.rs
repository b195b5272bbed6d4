//! Configuration: flag > environment > file > default, all errors reported at once.
//!
//! Owns: every key with its name, default and allowed values (`keys`), the rules between keys (`checks`), and
//! warnings about legal but suspicious settings (`warnings`). Does not open a socket. Reads only the
//! configuration file, and the files that keys ending in `_file` name: secrets and certificates.

mod checks;
mod errors;
mod keys;
mod layers;
mod parse;
mod reader;
mod reference;
#[cfg(test)]
mod tests;
mod types;
mod warnings;

pub use errors::{ConfigError, ConfigErrors, Source};
pub use keys::{AdmissionConfig, FailurePolicy, OutputsConfig, SourcesConfig};
pub use layers::{ConfigFile, ENV_PREFIX};
pub use parse::log_directives;
pub use reader::{EffectiveKey, changed};
pub use reference::reference_file;
pub use types::*;

use std::collections::BTreeMap;

use reader::Reader;

/// Inputs of a configuration, besides the files that it names.
#[derive(Debug, Clone, Default)]
pub struct LoadInput {
    pub file: Option<ConfigFile>,
    /// Whole environment. Only variables whose names start with [`ENV_PREFIX`] have an effect.
    pub env: BTreeMap<String, String>,
    /// Flags `--set key=value`, in order. If a key is repeated, the last value is used.
    pub flags: Vec<(String, String)>,
}

/// Returns the validated configuration.
///
/// # Errors
/// All errors of the configuration at once.
pub fn load(input: LoadInput) -> Result<Config, ConfigErrors> {
    explain(input).map(|(config, _)| config)
}

/// Loads like [`load`], and also returns every key's value (secrets masked) and its source.
pub fn explain(input: LoadInput) -> Result<(Config, Vec<EffectiveKey>), ConfigErrors> {
    let others = layers::other_variables(&input.env);
    let mut reader = Reader::new(layers::merge(input));
    let mut config = keys::read(&mut reader);
    checks::check(&config, &mut reader);
    reader.remark_on_variables(&others);
    config.remarks = reader.take_remarks();
    let effective = reader.finish()?;
    Ok((config, effective))
}

/// Returns the configuration with every key at its default.
pub fn defaults() -> Config {
    // Cannot fail: a test loads the defaults.
    load(LoadInput::default()).expect("the defaults are valid")
}
