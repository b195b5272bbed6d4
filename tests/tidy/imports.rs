//! Allowed imports between modules, as the table at the top of `src/lib.rs` defines them.
//!
//! A crate of the workspace that `lib.rs` re-exports is a module like the others, but has no row: the
//! compiler enforces what it imports.
//!
//! Owns: reading the table and the `crate::…` paths. Tests may also import what their row adds for tests, and
//! may name concrete backends.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, code};

/// Paths of concrete backends. Only the composition root and the backend's own module may name them.
const BACKENDS: [&str; 4] = ["store::embedded", "etcd", "presence::embedded", "presence::redis"];
/// Files without a row: `lib.rs` only declares modules, the others are the program around the library.
const UNRULED: [&str; 3] = ["lib", "main", "cli"];

/// Separates the modules that a row permits in all code from those that it permits in tests only.
const IN_TESTS: &str = "; in tests also ";

pub struct Table {
    /// Modules that each row's module may import.
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// Modules that only the tests of each row's module may import.
    in_tests: BTreeMap<String, BTreeSet<String>>,
    /// Names of the re-exported crates.
    crates: BTreeSet<String>,
}

impl Table {
    pub fn parse(lib: &str) -> Result<Self, String> {
        let rows: Vec<(String, String)> = lib.lines().filter_map(row).collect();
        let all: Vec<&String> = rows.iter().map(|(name, _)| name).collect();
        let crates: BTreeSet<String> = lib.lines().filter_map(re_exported).collect();
        let (mut allowed, mut in_tests) = (BTreeMap::new(), BTreeMap::new());
        for (i, (name, cell)) in rows.iter().enumerate() {
            let unclear = || format!("`{name}` may import {cell:?}: not understood");
            let (cell, more) = cell.split_once(IN_TESTS).unwrap_or((cell, ""));
            let mut may = permitted(cell, &all, i).ok_or_else(unclear)?;
            if !more.is_empty() {
                in_tests.insert(name.clone(), permitted(more, &all, i).ok_or_else(unclear)?);
            }
            if cell.starts_with("all") {
                may.extend(crates.iter().cloned());
            }
            allowed.insert(name.clone(), may);
        }
        if allowed.is_empty() {
            Err("has no table of modules".into())
        } else {
            Ok(Self { allowed, in_tests, crates })
        }
    }

    /// Returns the modules of `lib.rs` without a row.
    pub fn unlisted(&self, lib: &str) -> Vec<String> {
        let declared = lib.lines().filter_map(|l| l.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
        let missing = declared.filter(|name| !self.allowed.contains_key(*name));
        missing.map(|name| format!("src/lib.rs: `{name}` has no row in the table")).collect()
    }

    pub fn violations(&self, source: &Source) -> Vec<String> {
        let module = module_of(&source.path);
        if UNRULED.contains(&module) {
            return Vec::new();
        }
        let Some(allowed) = self.allowed.get(module) else {
            return vec![source.at(1, &format!("`{module}` has no row in the table of src/lib.rs"))];
        };
        let mut found = Vec::new();
        let in_tests = self.in_tests.get(module);
        for (line, path, is_test) in crate_paths(source) {
            let target = path.split("::").next().unwrap_or_default();
            // A type alias or macro at the root is not a module.
            let is_module = self.allowed.contains_key(target) || self.crates.contains(target);
            let is_allowed =
                allowed.contains(target) || is_test && in_tests.is_some_and(|m| m.contains(target));
            if is_module && target != module && !is_allowed {
                found.push(
                    source.at(line, &format!("`{module}` may not import `{target}` (table in src/lib.rs)")),
                );
            }
            let names_backend = BACKENDS.iter().any(|b| path == *b || path.starts_with(&format!("{b}::")));
            if names_backend && !is_test && target != module && module != "app" {
                found.push(source.at(line, "only `app` may name a concrete backend; take the trait"));
            }
        }
        found.extend(climbs(source));
        // A group may name several items of one module.
        found.dedup();
        found
    }
}

/// Parses `pub use stentor_… as name;`.
fn re_exported(line: &str) -> Option<String> {
    let (_, name) = line.strip_prefix("pub use stentor_")?.strip_suffix(';')?.split_once(" as ")?;
    Some(name.to_owned())
}

/// Parses "| `name` | what it is | what it may import |".
fn row(line: &str) -> Option<(String, String)> {
    let mut cells = line.strip_prefix("//! |")?.trim_end().strip_suffix('|')?.split('|').map(str::trim);
    let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
    Some((name.to_owned(), cells.nth(1)?.to_owned()))
}

fn permitted(cell: &str, all: &[&String], row: usize) -> Option<BTreeSet<String>> {
    let names = |text: &str| -> Option<BTreeSet<String>> {
        text.split(',').map(|n| Some(n.trim().strip_prefix('`')?.strip_suffix('`')?.to_owned())).collect()
    };
    let of = |rows: &[&String]| rows.iter().map(|n| (*n).clone()).collect::<BTreeSet<_>>();
    match cell {
        "nothing of ours" => Some(BTreeSet::new()),
        "all of the above" => Some(of(&all[..row])),
        "all" => Some(of(all)),
        _ => match cell.strip_prefix("all but ") {
            Some(excluded) => {
                let excluded = names(excluded)?;
                // `app` wires everything together, so no module may depend on it.
                Some(of(all).into_iter().filter(|n| !excluded.contains(n) && n != "app").collect())
            }
            None => names(cell),
        },
    }
}

fn module_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// Returns every path after `crate::` outside comments, with its line, and true if the line is test code.
/// `crate::{a::b, c}` gives both paths.
fn crate_paths(source: &Source) -> Vec<(usize, String, bool)> {
    let text = source.lines().map(|line| code(line.text)).collect::<Vec<_>>().join("\n");
    let is_test: Vec<bool> = source.lines().map(|line| line.is_test).collect();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let dollar_or_word = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_:".contains(c));
        if !dollar_or_word {
            let line = text[..=at].lines().count();
            let mut paths = Vec::new();
            open(text[at + "crate::".len()..].trim_start(), "", &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path, is_test[line - 1])));
        }
    }
    found
}

/// Adds one path, or every path of the group in braces, to `paths`; returns the text after it.
fn open<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "_:*".contains(c))).unwrap_or(text.len());
    let (path, mut rest) = (format!("{prefix}{}", &text[..end]), &text[end..]);
    if !rest.starts_with('{') {
        paths.push(path);
        return rest;
    }
    while let Some(inner) = rest.strip_prefix(['{', ',']) {
        let inner = inner.trim_start();
        if inner.starts_with('}') {
            rest = inner;
            break;
        }
        rest = open(inner, &path, paths).trim_start();
        // ` as name` after an item.
        rest = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

/// Finds `super::super::…` up to the root, which would bypass the table.
fn climbs(source: &Source) -> Vec<String> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inside.split('/').count();
    let up = "super::".repeat(depth);
    let climbing = source.lines().filter(|line| !line.is_test && code(line.text).contains(&up));
    climbing.map(|l| source.at(l.number, "write `crate::`; `super` stays within the module")).collect()
}

#[cfg(test)]
const SAMPLE: &str = "\
//! | module | is | may import |
//! |---|---|---|
//! | `media` | audio | nothing of ours |
//! | `store` | trait | `domain` |
//! | `actors` | shells | all of the above |
//! | `http` | REST | all but `ws`; in tests also `ws` |
//! | `ws` | signalling | `domain`, `actors` |
//! | `app` | root | all |
pub use stentor_domain as domain;
pub mod actors;
";

#[cfg(test)]
fn violations(path: &str, text: &str) -> Vec<String> {
    Table::parse(SAMPLE).unwrap().violations(&Source::new(path, text))
}

#[test]
fn forbidden_imports_are_reported_with_line() {
    let found = violations("src/media/clock.rs", "//! x\n\nuse crate::store::Store;\n");
    assert_eq!(found, ["src/media/clock.rs:3: `media` may not import `store` (table in src/lib.rs)"]);
    assert_eq!(violations("src/media/clock.rs", "use crate::domain::ids::RoomId;").len(), 1);
    assert_eq!(violations("src/actors/a.rs", "use crate::http::x;").len(), 1);
    assert_eq!(violations("src/http/mod.rs", "fn a() -> crate::ws::Error {}").len(), 1);
    let in_test = "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}";
    assert_eq!(violations("src/media/a.rs", in_test).len(), 1);
    assert_eq!(violations("src/http/mod.rs", "use crate::app::run;").len(), 1);
    let grouped = "use crate::{\n    domain::ids::{RoomId, Pin as P},\n    store::{Store, Txn},\n    ws,\n};";
    assert_eq!(violations("src/http.rs", grouped).len(), 1);
    assert_eq!(violations("src/media/mod.rs", grouped).len(), 3);
}

#[test]
fn allowed_imports_pass() {
    for (path, text) in [
        ("src/store/etcd.rs", "use crate::domain::ids::RoomId;\nuse crate::store::embedded::x;"),
        ("src/actors/a.rs", "use crate::{domain, store::Store};"),
        ("src/app.rs", "use crate::store::embedded::Embedded;\nuse crate::ws::x;"),
        (
            "src/media/a.rs",
            "//! See [`crate::store`].\n// crate::store\nuse super::ids;\n$crate_like::store;",
        ),
        ("src/http/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::{ws, store::embedded::x};\n}"),
        ("src/main.rs", "use crate::anything;"),
    ] {
        assert!(violations(path, text).is_empty(), "{path}: {:?}", violations(path, text));
    }
}

#[test]
fn backends_and_super_paths_are_checked() {
    assert_eq!(violations("src/actors/a.rs", "use crate::store::{Store, embedded::Embedded};").len(), 1);
    assert_eq!(violations("src/media/a.rs", "use super::super::store::Store;").len(), 1);
    assert_eq!(violations("src/media/mod.rs", "use super::store::Store;").len(), 1);
}

#[test]
fn unreadable_import_table_is_error() {
    assert!(Table::parse("//! no table").is_err());
    assert!(Table::parse("//! | `a` | x | whatever it likes |").is_err());
    let table = Table::parse(SAMPLE).unwrap();
    assert_eq!(table.unlisted("pub mod store;\npub mod stranger;\n").len(), 1);
    assert_eq!(table.violations(&Source::new("src/stranger.rs", "")).len(), 1);
}
