//! Configuration: flag > environment > file > default, all errors reported at once.
//!
//! Owns: what every key is called, its default and what it allows (`keys`), what keys ask of each other
//! (`checks`), warnings about legal but suspicious settings (`remarks`). Never does: open a socket. The only files it
//! reads are the configuration file and the `*_file` secrets.

mod checks;
mod errors;
mod keys;
mod layers;
mod parse;
mod reader;
mod reference;
mod remarks;
#[cfg(test)]
mod tests;
mod types;

pub use errors::{ConfigError, ConfigErrors, Source};
pub use layers::{ConfigFile, ENV_PREFIX};
pub use reader::{Effective, changed};
pub use reference::reference_file;
pub use types::*;

use std::collections::BTreeMap;

use reader::Reader;

/// Everything a configuration is made from, besides the `*_file` secrets it names.
#[derive(Debug, Clone, Default)]
pub struct LoadInput {
    pub file: Option<ConfigFile>,
    /// The whole environment; only names that start with [`ENV_PREFIX`] count.
    pub env: BTreeMap<String, String>,
    /// `--set key=value`, in order; the last one of a key wins.
    pub flags: Vec<(String, String)>,
}

/// The validated configuration, or everything that is wrong with it.
pub fn load(input: LoadInput) -> Result<Config, ConfigErrors> {
    explain(input).map(|(config, _)| config)
}

/// Like [`load`], with every key's value (secrets masked) and where it came from.
pub fn explain(input: LoadInput) -> Result<(Config, Vec<Effective>), ConfigErrors> {
    let mut reader = Reader::new(layers::merge(input));
    let config = keys::read(&mut reader);
    checks::check(&config, &mut reader);
    let effective = reader.finish()?;
    Ok((config, effective))
}

/// The configuration when nothing is set.
pub fn defaults() -> Config {
    // Cannot fail: a test loads them.
    load(LoadInput::default()).expect("the defaults are valid")
}
