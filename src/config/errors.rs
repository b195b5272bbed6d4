//! Configuration errors: the key, its value, the source of the value, and the allowed values.
//!
//! Owns: the wording. Does not show the value of a secret or of an unknown key (a misspelt key may be a
//! secret).

use std::fmt;

/// Source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    File {
        name: String,
        line: u64,
    },
    /// Name of the environment variable.
    Env(String),
    Flag,
    /// Command line: the name of the configuration file.
    Argument,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub key: String,
    /// Value in displayable form; `None` for an unknown key.
    pub value: Option<String>,
    pub source: Source,
    /// Allowed values, or the remedy.
    pub problem: String,
}

/// All errors of a configuration; never empty. Their order: errors of the sources, of single keys (in the
/// order of the reference file), of rules between keys, and of unknown keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name} line {line}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag --set"),
            Self::Argument => f.write_str("command line"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, " ({}): {}", self.source, self.problem)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} error{} in the configuration:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|e| write!(f, "\n  {e}"))
    }
}

impl std::error::Error for ConfigErrors {}
