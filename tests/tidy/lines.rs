//! Rules that check one file, line by line.
//!
//! Owns: the rules and their samples. Each rule reports the problem with its place and remedy.

use super::source::{Line, Source, code, split};

const MAX_LINES: usize = 500;
pub fn header(source: &Source) -> Option<String> {
    let opens = source.text.lines().next().is_some_and(|l| l.starts_with("//! "));
    (!opens).then(|| source.at(1, "must open with `//! ` and what the file is, owns and never does"))
}

pub fn length(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MAX_LINES).then(|| source.at(lines, "is longer than 500 lines; one idea per file"))
}

pub fn unfinished(source: &Source) -> Vec<String> {
    // The marks are split, so that this file does not violate its own rule.
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    let offends = |line: &Line| marks.into_iter().find(|m| line.text.contains(m)).map(|m| (line.number, m));
    let problem = |(number, mark)| source.at(number, &format!("`{mark}`: finish it or leave it out"));
    source.lines().filter_map(|l| offends(&l)).map(problem).collect()
}

pub fn unexplained_unwrap(source: &Source) -> Vec<String> {
    offences(
        source,
        |line| !line.is_test && may_panic(code(line.text)),
        |_| true,
        || "cannot fail? say why in a comment on this line or the one before".into(),
    )
}

/// Reports sleeps used to wait. A sleep is valid only between two checks of a condition, or as the slowness
/// under test. A comment that contains the word "sleep" must state the reason.
pub fn sleep_in_test(source: &Source) -> Vec<String> {
    let speaks_of_it = |comment: &str| comment.to_ascii_lowercase().contains("sleep");
    offences(
        source,
        |line| line.is_test && calls_sleep(code(line.text)),
        speaks_of_it,
        || "wait for the condition; if the sleep is not a wait, say so in a comment: `// Sleep: why`".into(),
    )
}

/// Returns true for `unwrap` and `expect`. `.expect(…)?` is a parser's own method: `expect` of the standard
/// library returns no error to pass on.
fn may_panic(code: &str) -> bool {
    code.contains(".unwrap()") || code.split_once(".expect(").is_some_and(|(_, rest)| !rest.contains(")?"))
}

/// Returns the violations without an excusing comment on the same line or the line before.
fn offences(
    source: &Source,
    offends: impl Fn(&Line) -> bool,
    excuses: impl Fn(&str) -> bool,
    problem: impl Fn() -> String,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = None;
    for line in source.lines() {
        let (code, comment) = split(line.text);
        if offends(&line) && !comment.into_iter().chain(before).any(&excuses) {
            found.push(source.at(line.number, &problem()));
        }
        before = comment.filter(|_| code.trim().is_empty());
    }
    found
}

fn calls_sleep(code: &str) -> bool {
    ["sleep(", "sleep_until("].iter().any(|call| {
        code.match_indices(call)
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

#[test]
fn a_file_must_open_with_its_purpose() {
    assert!(header(&Source::new("src/a.rs", "//! What it is.\n")).is_none());
    for text in ["", "\n//! Late.\n", "// Not a doc.\n", "//!\n", "fn a() {}\n"] {
        assert!(header(&Source::new("src/a.rs", text)).is_some(), "{text:?}");
    }
}

#[test]
fn files_over_500_lines_are_reported() {
    assert!(length(&Source::new("src/a.rs", &"x\n".repeat(500))).is_none());
    assert!(length(&Source::new("src/a.rs", &"x\n".repeat(501))).is_some());
}

#[test]
fn unfinished_work_is_found() {
    for (one, two) in
        [("todo", "!()"), ("unimplemented", "!()"), ("// TO", "DO: x"), ("// FIX", "ME"), ("#[ig", "nore]")]
    {
        let text = format!("//! x\n{one}{two}\n");
        assert_eq!(unfinished(&Source::new("src/a.rs", &text)).len(), 1, "{text}");
    }
    assert!(unfinished(&Source::new("src/a.rs", "//! x\nfn todo() {}\n")).is_empty());
}

#[test]
fn an_unwrap_needs_its_reason_outside_tests() {
    let bad = |text: &str| unexplained_unwrap(&Source::new("src/a.rs", text)).len();
    assert_eq!(bad("a.unwrap();\nb.expect(\"x\");\n"), 2);
    assert_eq!(bad("let a = 1; // unrelated\na.unwrap();\n"), 1, "a comment after other code does not count");
    assert_eq!(bad("// Cannot fail: because.\na.unwrap();\nb.unwrap(); // because\n"), 0);
    assert_eq!(bad("get(\"http://a\").unwrap();\n"), 1, "a URL is not a comment");
    assert_eq!(bad("parser.expect(\"TYPE\", \"PART\")?;\n"), 0);
    assert_eq!(bad("a.unwrap_or(1);\n// a.unwrap()\n"), 0);
    assert_eq!(bad("#[cfg(test)]\nmod tests {\n    a.unwrap();\n}\n"), 0);
}

#[test]
fn a_sleep_in_a_test_is_found() {
    let bad = |path: &str, text: &str| sleep_in_test(&Source::new(path, text)).len();
    assert_eq!(bad("tests/it/a.rs", "std::thread::sleep(x);\ntokio::time::sleep(x).await;\nsleep(x)\n"), 3);
    assert_eq!(bad("src/a.rs", "#[cfg(test)]\nmod tests {\n    sleep(x).await;\n}\n"), 1);
    assert_eq!(
        bad("tests/it/a.rs", "// Sleep between two looks.\nsleep(x).await;\nnever_sleep(x);\n\"sleep 1\"\n"),
        0
    );
    assert_eq!(bad("src/a.rs", "tokio::time::sleep(x).await;\n"), 0, "a timer in product code is not a wait");
}
