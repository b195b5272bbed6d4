//! Claims of the documents about the code: the metrics that exist, and the files that are named.
//!
//! Owns: comparing texts. Never does: judge the wording.

use std::collections::BTreeSet;
use std::path::Path;

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

/// Returns links and backticked paths of this repository whose target does not exist. `exists` gets paths
/// from the root.
pub fn dangling(path: &str, document: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (i, line) in document.lines().enumerate() {
        let linked = links(line).map(|link| folder.join(link));
        for target in linked.chain(paths(line).map(|p| Path::new(p).to_owned())) {
            if !exists(&target) {
                found.push(format!("{path}:{}: there is no {}", i + 1, target.display()));
            }
        }
    }
    found
}

/// Returns the targets of `[text](target)`, without external URLs and without fragments.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|t| !t.contains("://")).filter_map(|t| t.split('#').next());
    files.filter(|t| !t.is_empty())
}

/// Returns `src/…`, `tests/…` and similar paths between backticks, except those with a wildcard.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let ours = quoted.filter(|t| {
        ["src/", "tests/", "web/", "docs/", "scripts/", "benches/", "ops/"].iter().any(|p| t.starts_with(p))
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
fn dangling_links_are_reported_with_line() {
    let text = "See [it](README.md#a), [that](https://a.b/c) and\n\
        [this](gone.md), `src/lib.rs`, `src/gone/`, `src/{a,b}`.";
    let there = |path: &Path| path == Path::new("docs/README.md") || path == Path::new("src/lib.rs");
    let found = dangling("docs/a.md", text, there);
    assert_eq!(found, ["docs/a.md:2: there is no docs/gone.md", "docs/a.md:2: there is no src/gone/"]);
}
