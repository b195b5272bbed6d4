//! Claims of the documents about the code: the metrics that exist, and the files that are named.
//!
//! Owns: comparing texts. Does not judge the wording.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::source::Source;

/// Prefixes of metric names, which are declared in product code as string literals.
const PREFIXES: [&str; 2] = ["stentor_", "process_"];

/// Returns the metric names in `code`, the sources that declare metrics.
pub fn declared_metrics(code: &[Source]) -> BTreeSet<String> {
    let lines = code.iter().flat_map(|source| source.lines()).filter(|line| !line.is_test);
    lines
        .flat_map(|line| line.text.split('"').skip(1).step_by(2))
        .filter(|t| is_metric(t))
        .map(str::to_owned)
        .collect()
}

/// Returns those first cells of a document's tables that are metric names.
pub fn documented_metrics(document: &str) -> BTreeSet<String> {
    let cells = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    cells.map(|(name, _)| name).filter(|name| is_metric(name)).map(str::to_owned).collect()
}

/// Returns the metrics that PromQL expressions in `text` query. The series of a histogram count as the
/// histogram.
pub fn queried_metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics = words.filter(|word| is_metric(word));
    metrics
        .map(|word| {
            let suffix = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
            suffix.unwrap_or(word).to_owned()
        })
        .collect()
}

fn is_metric(text: &str) -> bool {
    let named = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    named && PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Returns links and backticked paths of this repository whose target does not exist, and links to a heading
/// that the target does not have. `exists` and `read` get paths from the root.
pub fn dangling(
    path: &str,
    document: &str,
    exists: impl Fn(&Path) -> bool,
    read: impl Fn(&Path) -> Option<String>,
) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (number, line) in prose(document) {
        let mut report = |target: &str| found.push(format!("{path}:{number}: there is no {target}"));
        for link in links(line) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, h)| (file, Some(h)));
            let target = if file.is_empty() { path.into() } else { normal(&folder.join(file)) };
            if !exists(&target) {
                report(&target.display().to_string());
            } else if let Some(heading) = heading.filter(|_| target.extension().is_some_and(|e| e == "md")) {
                let text = if file.is_empty() { Some(document.to_owned()) } else { read(&target) };
                if !text.is_some_and(|text| anchors(&text).iter().any(|anchor| anchor == heading)) {
                    report(&format!("{}#{heading}", target.display()));
                }
            }
        }
        paths(line).filter(|target| !exists(Path::new(target))).for_each(&mut report);
    }
    found
}

/// Reports the folders that have no entry, a path in bold and backticks, in the code map of `document`.
pub fn unmapped(path: &str, document: &str, folders: &[String]) -> Vec<String> {
    let has_entry = |folder: &&String| document.contains(&format!("**`{folder}/`**"));
    let missing = folders.iter().filter(|folder| !has_entry(folder));
    missing.map(|folder| format!("{path}: the code map lacks {folder}/")).collect()
}

/// Returns the lines outside of fenced code, with their numbers.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(document.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Returns the targets of `[text](target)`, without external URLs.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|t| !t.contains("://") && !t.starts_with("mailto:") && !t.is_empty())
}

/// Returns the anchors that GitHub gives to the headings of a document.
fn anchors(document: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, line) in prose(document).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let earlier = found.iter().filter(|known| **known == anchor).count();
        found.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
    }
    found
}

/// Returns the path without `..`.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// Returns `src/…`, `tests/…` and similar paths between backticks, except those with a wildcard.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let ours = quoted.filter(|t| {
        ["src/", "crates/", "tests/", "web/", "docs/", "scripts/", "benches/", "ops/"]
            .iter()
            .any(|p| t.starts_with(p))
    });
    ours.filter(|t| !t.contains(['*', '{', ' ']))
}

#[test]
fn metrics_are_read_from_code_and_table() {
    let code = Source::new(
        "src/a.rs",
        "counter(r, \"stentor_a_total\", \"Help.\");\nx(\"no\");\n#[cfg(test)]\nmod t {\n\"stentor_b\"\n}\n",
    );
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(declared_metrics(&[code]), names(&["stentor_a_total"]));
    assert_eq!(
        documented_metrics("| `stentor_a_total` | counter |\n| `x` |\n`stentor_c`"),
        names(&["stentor_a_total"])
    );
}

#[test]
fn queried_metrics_are_read_from_expressions() {
    let text = "rate(stentor_a_seconds_bucket{job=\"stentor\"}[5m]) / stentor_b_total";
    let expected = ["stentor_a_seconds", "stentor_b_total"].map(str::to_owned);
    assert_eq!(queried_metrics(text), BTreeSet::from(expected));
}

#[test]
fn unmapped_folders_are_reported() {
    let folders = ["src/a", "src/b"].map(str::to_owned);
    let found = unmapped("a.md", "**`src/a/`** is x. See `src/b/`.", &folders);
    assert_eq!(found, ["a.md: the code map lacks src/b/"]);
}

#[test]
fn dangling_links_are_reported_with_line() {
    let text = "See [it](README.md#a-b), [that](https://a.b/c) and\n\
        [this](../gone.md), [no](README.md#b), `src/lib.rs`, `src/gone/`, `src/{a,b}`.\n\
        # The `T` (own)\n```\n[code](gone)\n# Code\n```\n[own](#the-t-own), [none](#code).";
    let there =
        |path: &Path| ["docs/README.md", "src/lib.rs", "docs/a.md"].iter().any(|p| path == Path::new(p));
    let found = dangling("docs/a.md", text, there, |_| Some("# A b\n".to_owned()));
    let expected = ["2: there is no gone.md", "2: there is no docs/README.md#b", "2: there is no src/gone/"];
    let expected = expected.into_iter().chain(["8: there is no docs/a.md#code"]);
    assert_eq!(found, expected.map(|problem| format!("docs/a.md:{problem}")).collect::<Vec<_>>());
}
