//! Inputs of the build in the container image: `Dockerfile.dockerignore` must admit all of them.
//!
//! Owns: reading the manifests, `include_…!` paths, the Dockerfile and its ignore file. Builds no image.

use std::collections::BTreeSet;
use std::path::Path;

use super::documents::normal;
use super::source::{Source, code};

/// Files that every build of the workspace reads.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// Returns the files and folders that the build reads: manifests, `src` of each package, build targets that
/// cargo finds by their names, and embedded files.
pub fn build_inputs(manifest: &str, members: &[String], product: &[Source]) -> BTreeSet<String> {
    let mut inputs: BTreeSet<String> = MANIFESTS.map(str::to_owned).into();
    inputs.insert("src".into());
    for member in members {
        inputs.extend(["Cargo.toml", "src"].map(|name| format!("{member}/{name}")));
    }
    inputs.extend(targets_by_name(manifest));
    inputs.extend(product.iter().flat_map(embedded));
    inputs
}

/// Returns the sources of the Dockerfile's `COPY` instructions, without those of an earlier stage.
pub fn copied(dockerfile: &str) -> BTreeSet<String> {
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let of_context = copies.filter(|copy| !copy.starts_with("--from=") && !copy.starts_with(". "));
    of_context.filter_map(|copy| Some(copy.split(' ').next()?.to_owned())).collect()
}

/// Returns those of `inputs` that the ignore file excludes.
pub fn excluded(ignore: &str, inputs: &BTreeSet<String>) -> Vec<String> {
    let admitted: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let is_admitted = |input: &&String| admitted.iter().any(|rule| Path::new(input).starts_with(rule));
    let missing = inputs.iter().filter(|input| !is_admitted(input));
    missing.map(|input| format!("packaging/container/Dockerfile.dockerignore: lacks !{input}")).collect()
}

/// Returns the files of benches and examples without a path in the manifest. Cargo refuses a manifest if
/// such a file is missing.
fn targets_by_name(manifest: &str) -> Vec<String> {
    let sections = manifest.split("\n[").filter(|section| !section.contains("\npath = "));
    let file = |section: &str| {
        let (kind, rest) = section.strip_prefix('[')?.split_once("]]")?;
        let folder = match kind {
            "bench" => "benches",
            "example" => "examples",
            _ => return None,
        };
        let name = rest.lines().find_map(|line| line.strip_prefix("name = \""))?;
        Some(format!("{folder}/{}.rs", name.trim_end_matches('"')))
    };
    sections.filter_map(file).collect()
}

/// Returns the files, or folders if a macro parameter names the file, that product code embeds.
fn embedded(source: &Source) -> Vec<String> {
    let folder = Path::new(&source.path).parent().unwrap_or(Path::new(""));
    let lines = source.lines().filter(|line| !line.is_test).map(|line| code(line.text).to_owned());
    let includes = lines.filter(|line| line.contains("include_str!(") || line.contains("include_bytes!("));
    let path = |line: String| {
        let (_, argument) = line.split_once("include_")?;
        let from_root = argument.contains("env!(\"CARGO_MANIFEST_DIR\")");
        let text = argument.split('"').skip(1).step_by(2).find(|text| *text != "CARGO_MANIFEST_DIR")?;
        let path = if from_root { text.trim_matches('/').into() } else { normal(&folder.join(text)) };
        Some(path.display().to_string())
    };
    includes.filter_map(path).collect()
}

#[test]
fn excluded_build_inputs_are_reported() {
    let manifest = "[package]\n\n[[test]]\nname = \"it\"\npath = \"tests/it.rs\"\n\n\
                    [[bench]]\nname = \"b\"\n\n[lints]\n";
    let page = "include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/web/dist/\", $path)),\n";
    let product = [
        Source::new("src/a/b.rs", page),
        Source::new("crates/c/src/d.rs", "let x = include_str!(\"../../../e.txt\");\n"),
    ];
    let inputs = build_inputs(manifest, &["crates/c".to_owned()], &product);
    for input in ["Cargo.lock", "src", "crates/c/src", "benches/b.rs", "web/dist", "e.txt"] {
        assert!(inputs.contains(input), "{input} is not among {inputs:?}");
    }
    assert_eq!(copied("COPY . .\nCOPY --from=build /a /b\nCOPY LICENSE /c\n"), ["LICENSE".to_owned()].into());
    let ignore = "*\n!Cargo.toml\n!Cargo.lock\n!rust-toolchain.toml\n!src\n!benches\n!crates\n!web/dist\n";
    assert_eq!(excluded(ignore, &inputs), ["packaging/container/Dockerfile.dockerignore: lacks !e.txt"]);
}
