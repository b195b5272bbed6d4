//! Project rules that a compiler does not check: allowed imports, required parts of every file, language,
//! test names, and statements of documents that can be compared with the code.
//!
//! Owns: reading the sources as text. Does not link the crate, so that `make check` is quick. The import
//! rules are read from the table at the top of `src/lib.rs`, the only place where they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/language.rs"]
mod language;
#[path = "tidy/lines.rs"]
mod lines;
#[path = "tidy/maps.rs"]
mod maps;
#[path = "tidy/packaging.rs"]
mod packaging;
#[path = "tidy/source.rs"]
mod source;

use imports::Table;
use source::Source;

#[test]
fn every_file_opens_with_purpose() {
    assert_tidy(everything().iter().filter_map(lines::header));
}

#[test]
fn no_file_grows_beyond_500_lines() {
    assert_tidy(everything().iter().filter_map(lines::length));
}

#[test]
fn no_unfinished_work_is_left() {
    assert_tidy(without_samples().iter().flat_map(lines::unfinished));
}

#[test]
fn unwraps_state_their_reason() {
    assert_tidy(product().iter().flat_map(lines::unexplained_unwrap));
}

#[test]
fn tests_wait_for_conditions_only() {
    assert_tidy(without_samples().iter().flat_map(lines::sleep_in_test));
}

#[test]
fn imports_follow_the_table_in_lib_rs() {
    let sources = read(&["src"]);
    let lib = sources.iter().find(|s| s.path == "src/lib.rs").expect("src/lib.rs");
    let table = Table::parse(&lib.text).unwrap_or_else(|problem| panic!("src/lib.rs: {problem}"));
    assert_tidy(table.unlisted(&lib.text));
    assert_tidy(sources.iter().flat_map(|s| table.violations(s)));
}

#[test]
fn every_crate_describes_itself() {
    let paths = folders("crates").into_iter().map(|folder| root().join(folder).join("Cargo.toml"));
    let manifests: Vec<_> = paths.map(|path| (path.clone(), std::fs::read_to_string(path))).collect();
    assert!(!manifests.is_empty());
    assert_tidy(manifests.iter().flat_map(|(path, manifest)| {
        let readme = path.with_file_name("README.md");
        let manifest = manifest.as_deref().unwrap_or_default();
        dependencies::incomplete(&path.display().to_string(), manifest, readme.is_file())
    }));
}

#[test]
fn documented_metrics_match_declared_ones() {
    let declares = [
        "src/telemetry/metrics.rs",
        "src/telemetry/caption_metrics.rs",
        "src/telemetry/socket_metrics.rs",
        "src/telemetry/output_metrics.rs",
        "src/telemetry/recording_metrics.rs",
        "src/telemetry/rewind_metrics.rs",
        "src/telemetry/webhook_metrics.rs",
        "src/telemetry/logging.rs",
        "crates/actor-kernel/src/metrics.rs",
    ];
    let code: Vec<_> = product().into_iter().filter(|s| declares.contains(&s.path.as_str())).collect();
    let (declared, documented) =
        (documents::declared_metrics(&code), documents::documented_metrics(&document("docs/operations.md")));
    assert!(declared.len() > 20, "{declared:?}");
    let undocumented = declared.difference(&documented).map(|m| format!("docs/operations.md: lacks {m}"));
    let unknown = documented.difference(&declared).map(|m| format!("docs/operations.md: there is no {m}"));
    assert_tidy(undocumented.chain(unknown));
}

#[test]
fn monitoring_uses_declared_metrics() {
    let documented = documents::documented_metrics(&document("docs/operations.md"));
    for path in ["ops/prometheus/alerts.yml", "ops/grafana/stentor.json"] {
        let used = documents::queried_metrics(&document(path));
        assert!(used.len() > 10, "{path}: {used:?}");
        assert_tidy(used.difference(&documented).map(|metric| format!("{path}: there is no {metric}")));
    }
}

#[test]
fn makefile_runs_existing_scripts() {
    let makefile = document("Makefile");
    let scripts: Vec<_> = makefile
        .split(|c: char| c.is_whitespace() || "@$()".contains(c))
        .filter(|word| word.starts_with("scripts/") || word.starts_with("packaging/"))
        .collect();
    assert!(scripts.contains(&"scripts/setup.sh"), "{scripts:?}");
    assert_tidy(
        scripts.iter().filter(|s| !root().join(s).is_file()).map(|s| format!("Makefile: there is no {s}")),
    );
}

#[test]
fn documents_link_existing_headings() {
    let exists = |path: &Path| root().join(path).exists();
    let read = |path: &Path| std::fs::read_to_string(root().join(path)).ok();
    let documents = documents();
    for known in ["README.md", "docs/operations.md", "sdk/go/README.md"] {
        assert!(documents.iter().any(|path| path == known), "{documents:?}");
    }
    assert_tidy(documents.iter().flat_map(|path| documents::dangling(path, &document(path), exists, read)));
}

#[test]
fn code_map_has_every_folder() {
    let folders: Vec<_> = ["crates", "src", "src/actors"].into_iter().flat_map(folders).collect();
    assert!(folders.len() > 30, "{folders:?}");
    assert_tidy(documents::unmapped("ARCHITECTURE.md", &document("ARCHITECTURE.md"), &folders));
}

#[test]
fn docs_site_has_every_document() {
    let summary = document("docs/SUMMARY.md");
    let docs = documents().into_iter().filter_map(|path| path.strip_prefix("docs/").map(str::to_owned));
    let pages = docs.filter(|name| name != "SUMMARY.md").map(|name| format!("]({name})"));
    assert_tidy(
        pages.filter(|page| !summary.contains(page)).map(|page| format!("docs/SUMMARY.md: lacks {page}")),
    );
}

#[test]
fn image_build_gets_its_inputs() {
    let mut inputs = packaging::build_inputs(&document("Cargo.toml"), &folders("crates"), &product());
    for known in ["crates/domain/src", "web/dist", "benches/packager.rs"] {
        assert!(inputs.contains(known), "{inputs:?}");
    }
    inputs.extend(packaging::copied(&document("packaging/container/Dockerfile")));
    let ignore = document("packaging/container/Dockerfile.dockerignore");
    assert_tidy(packaging::excluded(&ignore, &inputs));
}

#[test]
fn packages_have_the_cargo_version() {
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(document("sdk/python/pyproject.toml").lines().any(|line| line == version), "{version}");
    let version = format!("  \"version\": \"{}\",", env!("CARGO_PKG_VERSION"));
    for path in ["sdk/node/package.json", "web/client/package.json"] {
        assert!(document(path).lines().any(|line| line == version), "{path}: {version}");
    }
}

#[test]
fn doc_comments_have_a_subject() {
    assert_tidy(everything().iter().flat_map(language::openers));
}

#[test]
fn lines_fit_110_columns() {
    assert_tidy(everything().iter().flat_map(language::columns));
}

#[test]
fn retired_words_are_not_used() {
    let sources = without_samples();
    let in_documents = documents().into_iter().filter(|path| path != "CHANGELOG.md");
    let in_documents = in_documents.flat_map(|path| language::document_words(&path, &document(&path)));
    assert_tidy(sources.iter().flat_map(language::words).chain(in_documents));
}

#[test]
fn type_names_are_nouns() {
    assert_tidy(without_samples().iter().flat_map(language::type_names));
}

#[test]
fn test_names_have_three_to_seven_words() {
    assert_tidy(everything().iter().flat_map(language::test_names));
}

#[test]
fn actor_maps_match_the_code() {
    let sources = read(&["src"]);
    let actors = maps::actors(&sources);
    assert!(actors.len() > 15, "{actors:?}");
    let table = maps::table(&document("ARCHITECTURE.md"));
    let names = |tree: &maps::Tree| tree.values().flatten().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&table), actors.keys().cloned().collect(), "the supervision table in ARCHITECTURE.md");
    let trees = sources.iter().filter_map(|s| Some((s, maps::tree(&s.text, &actors)?)));
    let trees: BTreeMap<_, _> = trees.map(|(source, tree)| (source.path.as_str(), tree)).collect();
    assert!(trees.len() > 10, "{trees:?}");
    let whole = &trees["src/actors/mod.rs"];
    let missing = table.keys().filter(|parent| !parent.is_empty() && !whole.contains_key(*parent));
    assert_tidy(missing.map(|parent| format!("src/actors/mod.rs: lacks the children of {parent}")));
    assert_tidy(trees.iter().flat_map(|(path, tree)| maps::differences(path, tree, &table)));
    assert_tidy(maps::unnamed(&sources, &actors, &table));
}

#[test]
fn actor_kinds_match_their_types() {
    let sources = read(&["src"]);
    assert_tidy(maps::kinds(&sources, &maps::actors(&sources)));
}

#[test]
fn dependencies_follow_deny_toml() {
    let permitted = dependencies::permitted(&document("deny.toml"));
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8(cargo.stdout).expect("UTF-8");
    assert!(tree.lines().count() > 100, "{}", String::from_utf8_lossy(&cargo.stderr));
    let foreign = dependencies::foreign_sources(&document("Cargo.lock"));
    assert_tidy(dependencies::unlicensed(&tree, &permitted).into_iter().chain(foreign));
    let known = ["multiple-versions = \"allow\"", "wildcards = \"deny\"", "allow-wildcard-paths = true"];
    assert_eq!(dependencies::bans(&document("deny.toml")), known, "the policies that this test applies");
    let manifests = folders("crates").into_iter().map(|folder| format!("{folder}/Cargo.toml"));
    let manifests = manifests.chain(["Cargo.toml".to_owned()]);
    assert_tidy(manifests.flat_map(|path| dependencies::wildcards(&path, &document(&path))));
}

/// Guards against a checker that reads no files and therefore passes.
#[test]
fn tidy_reads_the_sources() {
    let paths: Vec<_> = everything().into_iter().map(|s| s.path).collect();
    for known in
        ["src/lib.rs", "src/config/mod.rs", "crates/domain/src/lib.rs", "tests/tidy.rs", "tests/it/main.rs"]
    {
        assert!(paths.iter().any(|p| p == known), "{known} is not among {paths:?}");
    }
    let sources = read(&["src"]);
    let tests = sources.iter().find(|s| s.path == "src/config/tests.rs").expect("src/config/tests.rs");
    assert!(tests.is_test_file, "a file behind #[cfg(test)] is known as a test");
}

/// Returns the paths of the folders in `parent`.
fn folders(parent: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(parent)).expect("a readable folder");
    let entries = entries.map(|entry| entry.expect("a readable folder"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut paths: Vec<_> =
        folders.map(|entry| format!("{parent}/{}", entry.file_name().to_string_lossy())).collect();
    paths.sort();
    paths
}

fn everything() -> Vec<Source> {
    read(&["src", "crates", "tests", "benches", "examples"])
}

fn product() -> Vec<Source> {
    read(&["src", "crates"])
}

/// Returns all sources except the samples of the rules, which are full of violations.
fn without_samples() -> Vec<Source> {
    everything().into_iter().filter(|s| !s.path.starts_with("tests/tidy/")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all Markdown files, as paths from the root.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    markdown_files(root(), &mut found);
    found.sort();
    found
}

fn markdown_files(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && !["node_modules", "target", "dist"].contains(&&*name) {
            markdown_files(&path, found);
        } else if name.ends_with(".md") {
            let path = path.strip_prefix(root()).expect("below the root");
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn read(folders: &[&str]) -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    folders.iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    files.sort();
    let read = |file: &PathBuf| {
        let path = file.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        (path, std::fs::read_to_string(file).expect("a readable source"))
    };
    source::with_test_files(files.iter().map(read).collect())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    // A folder that does not exist, such as `benches/` in an early version, contains no file.
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "node_modules") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn assert_tidy(violations: impl IntoIterator<Item = String>) {
    let violations: Vec<_> = violations.into_iter().collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
