//! Rules for dependencies: the permitted licenses of `deny.toml`, crates.io as the only source, and no
//! wildcard versions.
//!
//! Owns: reading `deny.toml`, the manifests, `Cargo.lock` and the output of `cargo tree`. Does not use the
//! network.

use std::collections::BTreeSet;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Returns the licenses that `deny.toml` permits.
pub fn permitted(deny: &str) -> BTreeSet<String> {
    let list = deny.lines().skip_while(|l| l.trim() != "allow = [").skip(1).take_while(|l| l.trim() != "]");
    list.map(|l| l.trim().trim_matches(['"', ',']).to_owned()).collect()
}

/// Returns the packages of `tree`, lines of `package|license`, whose license is not permitted.
pub fn unlicensed(tree: &str, permitted: &BTreeSet<String>) -> Vec<String> {
    let packages: BTreeSet<_> = tree.lines().map(|l| l.trim_end().trim_end_matches(" (*)")).collect();
    let refused = packages.into_iter().filter_map(|l| l.split_once('|')).filter(|(_, license)| {
        let license = license.replace(" / ", " OR ").replace('/', " OR ");
        !any_of(&tokens(&license), &mut 0, permitted)
    });
    refused.map(|(package, license)| format!("{package}: deny.toml does not permit {license:?}")).collect()
}

/// Returns the sources in `Cargo.lock` other than crates.io.
pub fn foreign_sources(lock: &str) -> Vec<String> {
    let sources = lock.lines().filter_map(|l| l.strip_prefix("source = "));
    let foreign = sources.filter(|s| s.trim_matches('"') != REGISTRY);
    foreign.map(|source| format!("Cargo.lock: {source} is not crates.io")).collect()
}

/// Returns the dependencies in a manifest that permit every version. A dependency on a package of the
/// workspace needs no version.
pub fn wildcards(path: &str, manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, value)) = line.split_once(" = ").filter(|_| section.ends_with("dependencies]"))
        else {
            continue;
        };
        let is_ours =
            name.ends_with(".workspace") || ["path = ", "workspace = true"].iter().any(|k| value.contains(k));
        let version = value.strip_prefix('"').or_else(|| Some(value.split_once("version = \"")?.1));
        if !is_ours && version.is_none_or(|version| version.starts_with('*')) {
            found.push(format!("{path}: {name} permits every version"));
        }
    }
    found
}

/// Returns the policies in the section `[bans]` of `deny.toml`. The tests know only these.
pub fn bans(deny: &str) -> Vec<&str> {
    let section = deny.lines().skip_while(|line| *line != "[bans]").skip(1);
    let section = section.take_while(|line| !line.starts_with('['));
    section.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Returns the required parts that the manifest of a crate in `crates/` lacks. Also reports a missing
/// README.md.
pub fn incomplete(path: &str, manifest: &str, has_readme: bool) -> Vec<String> {
    let required = [
        "edition.workspace = true",
        "rust-version.workspace = true",
        "publish = false",
        "[lints]\nworkspace = true",
    ];
    let missing = required.into_iter().filter(|part| !manifest.contains(part));
    let missing = missing.map(|part| format!("{path}: lacks {part:?}"));
    let readme = (!has_readme).then(|| format!("{path}: has no README.md next to it"));
    missing.chain(readme).collect()
}

/// Splits an SPDX expression. `WITH` and its exception stay with their license.
fn tokens(license: &str) -> Vec<String> {
    let spaced = license.replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{0}");
    spaced.split(' ').filter(|t| !t.is_empty()).map(|t| t.replace('\u{0}', " WITH ")).collect()
}

/// Evaluates `a OR b`; `AND` binds more strongly.
fn any_of(tokens: &[String], at: &mut usize, permitted: &BTreeSet<String>) -> bool {
    let mut any = all_of(tokens, at, permitted);
    while tokens.get(*at).is_some_and(|t| t == "OR") {
        *at += 1;
        any |= all_of(tokens, at, permitted);
    }
    any
}

fn all_of(tokens: &[String], at: &mut usize, permitted: &BTreeSet<String>) -> bool {
    let mut all = true;
    loop {
        let token = tokens.get(*at).map_or("", String::as_str);
        *at += 1;
        if token == "(" {
            all &= any_of(tokens, at, permitted);
            *at += 1;
        } else {
            all &= permitted.contains(token);
        }
        if tokens.get(*at).is_none_or(|t| t != "AND") {
            return all;
        }
        *at += 1;
    }
}

#[test]
fn license_expressions_are_evaluated() {
    let permitted = permitted(
        "[licenses]\nallow = [\n    \"MIT\",\n    \"Apache-2.0 WITH LLVM-exception\",\n    \"ISC\",\n]\n",
    );
    assert_eq!(permitted.len(), 3);
    let fine =
        "a|MIT\nb|GPL-3.0 OR MIT (*)\nc|GPL/MIT\nd|MIT AND (ISC OR GPL)\ne|Apache-2.0 WITH LLVM-exception\n";
    assert_eq!(unlicensed(fine, &permitted), Vec::<String>::new());
    assert_eq!(unlicensed("a|GPL\nb|MIT AND GPL\nc|(MIT OR ISC) AND GPL\nd|\n", &permitted).len(), 4);
}

#[test]
fn incomplete_manifests_are_reported() {
    let manifest = "edition.workspace = true\nrust-version.workspace = true\npublish = false\n\n\
                    [lints]\nworkspace = true\n";
    assert_eq!(incomplete("a", manifest, true), Vec::<String>::new());
    assert_eq!(incomplete("a", "publish = false\n", false).len(), 4);
}

#[test]
fn wildcard_versions_are_reported() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\na = \"1\"\nb.workspace = true\nc = \"*\"\n\
                    d = { version = \"*\" }\n[dev-dependencies]\ne = { git = \"x\" }\nf = { path = \"f\" }\n";
    assert_eq!(wildcards("Cargo.toml", manifest).len(), 3);
    assert_eq!(bans("[bans]\n# Text.\nwildcards = \"deny\"\n\n[sources]\nx = 1\n"), ["wildcards = \"deny\""]);
}

#[test]
fn foreign_sources_are_reported() {
    let lock = format!("source = \"{REGISTRY}\"\nsource = \"git+https://example.org/a\"\n");
    assert_eq!(foreign_sources(&lock).len(), 1);
}
