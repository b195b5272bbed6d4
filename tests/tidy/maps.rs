//! Maps of the actors: the supervision table in `ARCHITECTURE.md`, and the trees in module documentation.
//! They name the actors of the code, each with its supervisor. Kinds agree with types.
//!
//! Owns: reading names from code, trees and table.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, code};

/// Supervisors with their children.
pub type Tree = BTreeMap<String, BTreeSet<String>>;

/// Heading of the supervision table.
const TABLE: &str = "| path | actor | restarted | budget used up |";

/// Returns the actors in product code: the types that implement `Behaviour`, or their aliases if the type is
/// generic. Also returns the path of the file that implements each of them.
pub fn actors(sources: &[Source]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut generic = BTreeMap::new();
    for (source, line) in product(sources) {
        let Some((head, name)) = line.split_once(" Behaviour for ") else { continue };
        let (Some(name), true) = (leading_name(name), head.starts_with("impl")) else { continue };
        let list = if head.starts_with("impl<") { &mut generic } else { &mut found };
        list.insert(name, source.path.clone());
    }
    for (_, line) in product(sources) {
        let alias = line.strip_prefix("pub type ").and_then(|line| line.split_once(" = "));
        let path = alias.and_then(|(_, of)| generic.get(&leading_name(of)?));
        if let (Some((alias, _)), Some(path)) = (alias, path) {
            found.insert(alias.to_owned(), path.clone());
        }
    }
    found
}

/// Reports actors whose kind in `/actors` is not their name in snake case, without `Actor`. The kinds of
/// aliases of generic actors are constants of the trait that distinguishes them.
pub fn kinds(sources: &[Source], actors: &BTreeMap<String, String>) -> Vec<String> {
    let (mut kinds, mut constants) = (BTreeMap::new(), BTreeSet::new());
    let mut actor = None;
    for (_, line) in product(sources) {
        if let Some((_, name)) = line.split_once(" Behaviour for ") {
            actor = leading_name(name);
        }
        let Some((constant, value)) = line.split_once(": &'static str = ") else { continue };
        let kind = value.trim_matches(['"', ';']).to_owned();
        match (constant, actor.take()) {
            ("const KIND", Some(name)) if value.starts_with('"') => drop(kinds.insert(name, kind)),
            _ => drop(constants.insert(kind)),
        }
    }
    let expected = actors.keys().map(|name| (name, snake_case(name.strip_suffix("Actor").unwrap_or(name))));
    let agrees = |(name, kind): &(&String, String)| match kinds.get(*name) {
        Some(found) => found == kind,
        None => constants.contains(kind),
    };
    expected
        .filter(|pair| !agrees(pair))
        .map(|(name, kind)| format!("{name}: its kind is not {kind:?}"))
        .collect()
}

/// Parses the tree of a module documentation. A row may name several children, separated by commas, and the
/// children of the last one after `─`. Two spaces separate the actors from a remark. Returns `None` if the
/// first text block of the documentation does not start with one of `actors`.
pub fn tree(module: &str, actors: &BTreeMap<String, String>) -> Option<Tree> {
    let lines = module.lines().filter_map(|l| l.strip_prefix("//!"));
    let inside = lines.skip_while(|l| l.trim() != "```text").skip(1).take_while(|l| l.trim() != "```");
    let mut tree = Tree::new();
    // Column and name of the first actor in the current row and in each row that contains it.
    let mut above: Vec<(usize, String)> = Vec::new();
    for row in inside {
        let Some(column) = row.chars().position(|c| c.is_ascii_alphanumeric()) else { continue };
        let drawn: String = row.chars().skip(column).collect();
        let drawn = drawn.split("  ").next().unwrap_or_default();
        above.retain(|(of, _)| *of < column);
        let mut parent = above.last().map(|(_, name)| name.clone());
        for (i, list) in drawn.split(" ─ ").enumerate() {
            let names: Vec<_> = list.split(", ").filter_map(leading_name).collect();
            if parent.is_none() && tree.is_empty() && !names.first().is_some_and(|n| actors.contains_key(n)) {
                return None;
            }
            // A remark that continues on the next row names no actor.
            let Some(last) = names.last().filter(|n| actors.contains_key(*n)) else { break };
            if let Some(parent) = parent {
                tree.entry(parent).or_default().extend(names.iter().cloned());
            }
            if i == 0 {
                above.push((column, names[0].clone()));
            }
            parent = Some(last.clone());
        }
    }
    (!above.is_empty()).then_some(tree)
}

/// Parses the supervision table. `…` in a path stands for the last path that began with `node`.
pub fn table(document: &str) -> Tree {
    let rows = document.lines().skip_while(|l| *l != TABLE).skip(2).take_while(|l| l.starts_with('|'));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let (mut by_path, mut tree, mut base) = (BTreeMap::new(), Tree::new(), String::new());
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        let actors = quoted(cells[2]);
        // Only the path comes before the first remark in parentheses.
        for (i, path) in quoted(cells[1].split('(').next().unwrap_or_default()).into_iter().enumerate() {
            if path.starts_with("node") {
                base.clone_from(&path);
            }
            let path = path.replace('…', &base);
            let actor = &actors[i.min(actors.len() - 1)];
            let parent = path.rsplit_once('/').and_then(|(parent, _)| by_path.get(parent));
            let parent: Option<&String> = parent;
            tree.entry(parent.cloned().unwrap_or_default()).or_default().insert(actor.clone());
            by_path.insert(path, actor.clone());
        }
    }
    tree
}

/// Reports differences between the tree in `path` and the table. A tree may leave out the children of its
/// leaves.
pub fn differences(path: &str, tree: &Tree, table: &Tree) -> Vec<String> {
    let wrong = tree.iter().filter(|(parent, children)| table.get(*parent) != Some(children));
    let problem = |parent: &String| format!("{path}: the children of {parent} differ from ARCHITECTURE.md");
    wrong.map(|(parent, _)| problem(parent)).collect()
}

/// Reports children that the file of their supervisor does not name. `actors`: actors with their files. The
/// file of a generic supervisor names no child.
pub fn unnamed(sources: &[Source], actors: &BTreeMap<String, String>, table: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (parent, children) in table.iter().filter(|(parent, _)| !parent.is_empty()) {
        let Some(source) = sources.iter().find(|s| Some(&s.path) == actors.get(parent)) else {
            found.push(format!("ARCHITECTURE.md: there is no actor {parent}"));
            continue;
        };
        let text: String = source.lines().map(|l| code(l.text).to_owned() + "\n").collect();
        let names: BTreeSet<_> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let missing = children.iter().filter(|child| names.contains(&**parent) && !names.contains(&***child));
        found.extend(missing.map(|child| source.at(1, &format!("{parent} does not start {child}"))));
    }
    found
}

/// Returns the lines of product code below `src`, without comments.
fn product(sources: &[Source]) -> impl Iterator<Item = (&Source, &str)> {
    let files = sources.iter().filter(|s| s.path.starts_with("src/") && !s.is_test_file);
    let lines = files.flat_map(|s| s.lines().filter(|l| !l.is_test).map(move |l| (s, code(l.text).trim())));
    lines.filter(|(_, line)| !line.is_empty())
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn leading_name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text.starts_with(|c: char| c.is_ascii_uppercase()).then(|| text[..end].to_owned())
}

#[cfg(test)]
const CODE: &str = "impl Behaviour for Alpha {\nconst KIND: &'static str = \"alpha\";\nBetaActor::new()\n\
    impl Behaviour for BetaActor {\nconst KIND: &'static str = \"beta\";\n\
    impl<T> Behaviour for Watch<T> {\nconst KIND: &'static str = T::WATCH;\n\
    pub type RoomWatch = Watch<Room>;\nconst WATCH: &'static str = \"room_watch\";\n";

#[cfg(test)]
fn children(tree: &Tree, parent: &str) -> Vec<String> {
    tree.get(parent).into_iter().flatten().cloned().collect()
}

#[test]
fn kinds_follow_the_actor_types() {
    let sources = [Source::new("src/actors/a.rs", CODE)];
    let actors = actors(&sources);
    assert_eq!(actors.keys().collect::<Vec<_>>(), ["Alpha", "BetaActor", "RoomWatch"]);
    assert_eq!(kinds(&sources, &actors), Vec::<String>::new());
    let sources = [Source::new("src/actors/a.rs", &CODE.replace("beta\"", "b\"").replace("room_watch", "w"))];
    assert_eq!(kinds(&sources, &actors).len(), 2);
}

#[test]
fn trees_are_read_from_documentation() {
    let names = ["Alpha", "Beta", "Gamma", "Delta", "Omega"];
    let actors = names.map(|name| (name.to_owned(), String::new())).into();
    let module = "//! Text.\n//! ```text\n//! Alpha\n//! ├─ Beta* ─ Gamma, Delta*   one per Room\n\
        //! │ │                       and more\n//! │ └─ Omega\n//! └─ Omega\n//! ```\n";
    let tree = tree(module, &actors).unwrap();
    assert_eq!(children(&tree, "Alpha"), ["Beta", "Omega"]);
    assert_eq!(children(&tree, "Beta"), ["Delta", "Gamma", "Omega"]);
    assert!(super::maps::tree("//! ```text\n//! Open ─▶ Closed\n//! ```\n", &actors).is_none());
}

#[test]
fn table_is_compared_with_trees_and_code() {
    let rows = "|---|---|---|---|\n| `node` | `Alpha` | x | |\n\
        | `node/b`, `node/c` (if `d`) | `BetaActor`, `C` | |\n\
        | `…/e` | `E` | |\n\nText";
    let table = table(&format!("{TABLE}\n{rows}"));
    assert_eq!(children(&table, "Alpha"), ["BetaActor", "C"]);
    assert_eq!(children(&table, "C"), ["E"]);
    let same = Tree::from([("Alpha".to_owned(), ["BetaActor", "C"].map(str::to_owned).into())]);
    assert_eq!(differences("a.rs", &same, &table), Vec::<String>::new());
    let less = Tree::from([("Alpha".to_owned(), ["C".to_owned()].into())]);
    assert_eq!(differences("a.rs", &less, &table).len(), 1);
    let sources = [Source::new("src/actors/a.rs", CODE)];
    assert_eq!(
        unnamed(&sources, &actors(&sources), &table).len(),
        2,
        "Alpha does not start C, there is no C"
    );
}
