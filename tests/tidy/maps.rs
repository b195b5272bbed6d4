//! Maps of the actors: the tree in `src/actors/mod.rs` and the table in `ARCHITECTURE.md` name the same
//! actors as the code.
//!
//! Owns: reading names from code, tree and table. Does not check who supervises whom.

use std::collections::BTreeSet;

use super::source::{Source, code};

/// Returns the types that implement `Behaviour` in product code.
pub fn actors(sources: &[Source]) -> BTreeSet<String> {
    let product = sources.iter().filter(|s| s.path.starts_with("src/actors/") && !s.is_test_file);
    let lines = product.flat_map(|s| s.lines()).filter(|l| !l.is_test);
    let implemented = lines.filter_map(|l| code(l.text).trim().split_once(" Behaviour for "));
    implemented
        .filter(|(head, _)| head.starts_with("impl"))
        .filter_map(|(_, name)| leading_name(name))
        .collect()
}

/// Returns the names in the supervision tree of the module documentation.
pub fn tree(module: &str) -> BTreeSet<String> {
    let lines = module.lines().filter_map(|l| l.strip_prefix("//!"));
    let inside = lines.skip_while(|l| l.trim() != "```text").skip(1).take_while(|l| l.trim() != "```");
    // Two spaces separate a row's actors from its remark.
    let rows = inside.map(|l| l.trim().split("  ").next().unwrap_or_default().to_owned());
    rows.flat_map(|row| {
        row.split([' ', ',', '─', '├', '└', '│']).filter_map(leading_name).collect::<Vec<_>>()
    })
    .collect()
}

/// Returns the backticked names in the second column of the supervision table.
pub fn table(document: &str) -> BTreeSet<String> {
    let rows = document.lines().skip_while(|l| *l != "| path | actor | restarted | budget used up |");
    let cells = rows.take_while(|l| l.starts_with('|')).filter_map(|l| l.split('|').nth(2));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

fn leading_name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text.starts_with(|c: char| c.is_ascii_uppercase()).then(|| text[..end].to_owned())
}

#[test]
fn actor_names_are_read_from_maps() {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    let source =
        Source::new("src/actors/a.rs", "impl Behaviour for Alpha {}\nimpl<T> Behaviour for Beta<T> {}\n");
    assert_eq!(actors(&[source]), names(&["Alpha", "Beta"]));
    let module = "//! Text.\n//! ```text\n//! Alpha\n//! └─ Beta* ─ Gamma, Delta*   one per Room\n//! ```\n";
    assert_eq!(tree(module), names(&["Alpha", "Beta", "Gamma", "Delta"]));
    let document =
        "| path | actor | restarted | budget used up |\n|---|---|---|---|\n| `node` | `A`, `B` | x | |\n\nT";
    assert_eq!(table(document), names(&["A", "B"]));
}
