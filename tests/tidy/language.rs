//! Language rules for comments, documents and names that a program can check.
//!
//! Owns: the rules and their samples. Does not judge style that needs a reader.

use super::source::{Source, code, split};

const MAX_COLUMNS: usize = 110;
/// Words that a doc comment must not open with: such a sentence has no subject of its own.
const HEADLESS: [&str; 9] = ["What", "Who", "Whoever", "Whom", "Whomever", "Whose", "Of", "Those", "Whether"];
/// Retired words for concepts that have another name today, in lower case.
const RETIRED: [&str; 17] = [
    "attendance",
    "chore",
    "complain",
    "complained",
    "complaint",
    "crowd",
    "dice",
    "expulsion",
    "guest",
    "heritage",
    "pulse",
    "reassign",
    "reassigned",
    "reassigner",
    "reassignment",
    "sweep",
    "whoever",
];
/// Earlier names of types. None of them is an English word.
const RETIRED_TYPES: [&str; 19] = [
    "AnchorSession",
    "AnchorSupervisor",
    "FfmpegRoom",
    "GatewayEvent",
    "GatewayInfo",
    "GatewayLink",
    "JanusGateway",
    "JanusSession",
    "LeftBehind",
    "MediaRefusal",
    "NotHad",
    "NotServed",
    "OwnKey",
    "RelayDoor",
    "RoomMark",
    "TypedPin",
    "WeakNews",
    "WhyNot",
    "as_peer",
];
/// Names that say nothing about a thing: irregular participles, adverbs, prepositions and pronouns.
const NOT_NOUNS: &str = "\
    Ahead Away Back Bare Begun Behind Bound Broken Chosen Cut Done Driven Due Everywhere Found From \
    Given Gone Got Heard Held Here Hidden Idle Into Kept Known Later Left Lost Made Met Next Now Nowhere \
    Over Own Said Seen Sent Shown Since Spoken Taken Then There Told Under Until Up Whole Whom Whose \
    Within Without Written";
/// Names in -ed and -ing that are nouns.
const NOUNS: &str =
    "Deed Embedding Feed Finding Listing Oembed Ping Recording Ring Sighting Signalling Timing";

/// Reports doc comments that open with a headless clause.
pub fn openers(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in source.lines() {
        let text = line.text.trim_start();
        let doc = text.strip_prefix("///").or_else(|| text.strip_prefix("//!")).map(str::trim);
        let opens = doc.is_some_and(|doc| !doc.is_empty() && !in_block);
        let word = doc.and_then(|doc| doc.split(|c: char| !c.is_ascii_alphabetic()).next());
        if let Some(word) = word.filter(|word| opens && HEADLESS.contains(word)) {
            let remedy = format!("opens with \"{word}\"; begin with a verb or a noun phrase");
            found.push(source.at(line.number, &remedy));
        }
        in_block = doc.is_some_and(|doc| !doc.is_empty());
    }
    found
}

/// Reports lines that rustfmt does not wrap: comments and strings. Table rows and URLs cannot be wrapped.
pub fn columns(source: &Source) -> Vec<String> {
    let exempt = |text: &str| text.trim_start().starts_with("//! |") || text.contains("://");
    let long = source.lines().filter(|l| l.text.chars().count() > MAX_COLUMNS && !exempt(l.text));
    long.map(|l| source.at(l.number, "is longer than 110 columns")).collect()
}

/// Reports retired words in comments, identifiers and texts. A string without a space is a value, which may
/// be an earlier wire name. Identifiers between backticks may be retired words that are English.
pub fn words(source: &Source) -> Vec<String> {
    let problem = |number, text: &str| {
        let (code, comment) = split(text);
        let unescaped = code.replace("\\\"", "'");
        let parts = unescaped.split('"').enumerate();
        let texts = parts.filter(|(i, part)| i % 2 == 0 || part.contains(' '));
        let texts = texts.map(|(i, part)| if i % 2 == 0 { in_words(part) } else { part.to_owned() });
        let word = texts.chain(comment.map(str::to_owned)).find_map(|text| retired(&text));
        word.or_else(|| retired_type(code)).map(|word| source.at(number, &advice(word)))
    };
    source.lines().filter_map(|line| problem(line.number, line.text)).collect()
}

/// Separates the words of identifiers: `RoomMark` and `room_mark` both become `Room Mark`.
fn in_words(code: &str) -> String {
    let mut words = String::new();
    for c in code.chars() {
        if c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c });
    }
    words
}

/// Reports retired words in the prose of a document.
pub fn document_words(path: &str, document: &str) -> Vec<String> {
    let lines = document.lines().enumerate();
    lines.filter_map(|(i, line)| Some(format!("{path}:{}: {}", i + 1, advice(retired(line)?)))).collect()
}

fn advice(word: &str) -> String {
    format!("\"{word}\" is a retired word; use the current name")
}

fn retired(text: &str) -> Option<&'static str> {
    let prose = text.split('`').step_by(2);
    let words = prose.flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let find = |word: &str| {
        let word = word.to_ascii_lowercase();
        RETIRED.into_iter().find(|retired| *retired == word || word.strip_suffix('s') == Some(retired))
    };
    words.filter(|word| word.len() > 3).find_map(find).or_else(|| retired_type(text))
}

fn retired_type(text: &str) -> Option<&'static str> {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.find_map(|word| RETIRED_TYPES.into_iter().find(|name| *name == word))
}

/// Reports types whose name is one participle, adverb, preposition or pronoun. The name of a type is a noun.
pub fn type_names(source: &Source) -> Vec<String> {
    let names = source.lines().filter_map(|line| Some((line.number, type_name(code(line.text))?)));
    let is_one_word = |name: &str| !name[1..].contains(|c: char| !c.is_ascii_lowercase());
    let is_noun = |name: &str| NOUNS.split(' ').any(|noun| noun == name);
    let is_participle = |name: &str| (name.ends_with("ed") || name.ends_with("ing")) && !is_noun(name);
    let is_other = |name: &str| NOT_NOUNS.split_whitespace().any(|word| word == name);
    let bad = names.filter(|(_, name)| is_one_word(name) && (is_participle(name) || is_other(name)));
    bad.map(|(number, name)| source.at(number, &format!("`{name}` is not a noun; name the thing"))).collect()
}

/// Returns the name that a line declares with `struct`, `enum`, `union`, `trait` or `type`.
fn type_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => line,
    };
    let keywords = ["struct ", "enum ", "union ", "trait ", "type "];
    let rest = keywords.iter().find_map(|keyword| line.trim_start().strip_prefix(keyword))?;
    rest.split(|c: char| !c.is_ascii_alphanumeric()).next().filter(|name| !name.is_empty())
}

/// Reports test functions whose names have fewer than 3 or more than 7 words.
pub fn test_names(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut after_test = false;
    for line in source.lines() {
        let text = code(line.text).trim();
        if let Some(name) = function_name(text) {
            let count = name.split('_').filter(|word| !word.is_empty()).count();
            // In a macro, the name is a parameter.
            let is_given = name.starts_with('$');
            if after_test && !is_given && !(3..=7).contains(&count) {
                found.push(source.at(line.number, &format!("`{name}` has {count} words; use 3 to 7")));
            }
            after_test = false;
        }
        after_test |= text.starts_with("#[") && text.trim_end_matches(']').ends_with("test");
    }
    found
}

fn function_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("async fn ").or_else(|| text.strip_prefix("fn "))?;
    rest.split(['(', '<']).next()
}

#[test]
fn headless_openers_are_reported() {
    let opens = |text: &str| openers(&Source::new("src/a.rs", text)).len();
    assert_eq!(opens("//! Whose it is.\n\n/// What it does.\nfn a() {}\n    /// Of the room.\n"), 3);
    assert_eq!(
        opens("/// Returns the room\n/// Of which it is told.\n/// Office hours.\n// What a day\n"),
        0
    );
}

#[test]
fn long_lines_are_reported() {
    let long = |text: String| columns(&Source::new("src/a.rs", &text)).len();
    assert_eq!(long(format!("// {}\n", "x".repeat(108))), 1);
    assert_eq!(long(format!("// {}\n// http://{}\n", "ü".repeat(107), "x".repeat(120))), 0);
}

#[test]
fn retired_words_are_reported() {
    let text = "// A Guest comes.\nlet guest = 1; // see `guest`\n/// [`OwnKey`]\nlet b = \"the guests\";\n\
                struct CrowdSize;\nlet heard = \"heritage\"; // once `heritage`\n";
    assert_eq!(words(&Source::new("src/a.rs", text)).len(), 5);
    assert_eq!(document_words("a.md", "Two chores.\nThe path `heritage`.").len(), 1);
}

#[test]
fn test_name_lengths_are_reported() {
    let text = "#[test]\nfn a_b() {}\n#[tokio::test]\nasync fn a_b_c() {}\nfn a() {}\n\
                #[test]\nfn a_b_c_d_e_f_g_h() {}\n";
    assert_eq!(test_names(&Source::new("src/a.rs", text)).len(), 2);
}

#[test]
fn types_without_noun_are_reported() {
    let text = "pub struct Ended;\nenum From {\npub(super) type Passing<T> = T;\ntrait Known {\n\
                struct Recording;\nstruct Person;\nstruct EndedRoom;\nenum Feed {\nlet structured = Ended;\n";
    assert_eq!(type_names(&Source::new("src/a.rs", text)).len(), 4);
}
