//! One source file, with its lines classified as code, comment or test.
//!
//! Owns: the classification. It works line by line; a rule that needs more than that belongs in clippy.

/// A file below the repository root.
pub struct Source {
    /// Path relative to the root, with `/`.
    pub path: String,
    pub text: String,
    /// True below a `tests/` or `benches/` of a package, or for the file of a `#[cfg(test)] mod`.
    pub is_test_file: bool,
}

/// One line, its number, and the part it belongs to.
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
    pub is_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let in_package = match path.strip_prefix("crates/").and_then(|path| path.split_once('/')) {
            Some((_, in_package)) => in_package,
            None => path,
        };
        let is_test_file = ["tests/", "benches/"].iter().any(|folder| in_package.starts_with(folder));
        Self { path: path.into(), text: text.into(), is_test_file }
    }

    /// Returns the lines. Inline test modules end a file: from a `mod … {` after `#[cfg(test)]`, all is test.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut is_test = self.is_test_file;
        let mut after_cfg = false;
        self.text.lines().enumerate().map(move |(i, text)| {
            is_test |= after_cfg && module_name(text).is_some() && text.trim_end().ends_with('{');
            after_cfg = is_cfg_test(text) || (after_cfg && text.trim_start().starts_with("#["));
            Line { number: i + 1, text, is_test }
        })
    }

    pub fn at(&self, line: usize, problem: &str) -> String {
        format!("{}:{line}: {problem}", self.path)
    }
}

/// Marks the files that a `#[cfg(test)] mod name;` declares, and the files below them.
pub fn with_test_files(files: Vec<(String, String)>) -> Vec<Source> {
    let mut sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    let stems: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let below = |stem: &String| {
            source.path == format!("{stem}.rs") || source.path.starts_with(&format!("{stem}/"))
        };
        source.is_test_file |= stems.iter().any(below);
    }
    sources
}

/// Returns the paths, without `.rs`, of the modules in separate files that `source` declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let folder = match source.path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
        _ => source.path.trim_end_matches(".rs"),
    };
    let beside = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (mut after_cfg, mut elsewhere) = (false, None);
    let mut found = Vec::new();
    for line in source.text.lines() {
        if after_cfg && line.trim_start().starts_with("#[") {
            elsewhere = path_attribute(line).map(|file| format!("{beside}/{file}")).or(elsewhere);
            continue;
        }
        if after_cfg && line.trim_end().ends_with(';') {
            let own = module_name(line).map(|name| format!("{folder}/{name}"));
            found.extend(own.map(|own| elsewhere.take().unwrap_or(own)));
        }
        after_cfg = is_cfg_test(line);
    }
    found
}

/// Parses `#[path = "name.rs"]` and returns the path without `.rs`.
fn path_attribute(line: &str) -> Option<&str> {
    line.trim().strip_prefix("#[path = \"")?.strip_suffix(".rs\"]")
}

fn is_cfg_test(line: &str) -> bool {
    line.trim_start().starts_with("#[cfg(test)]") || line.trim_start().starts_with("#[cfg(all(test")
}

fn module_name(line: &str) -> Option<&str> {
    let line = line.trim();
    let visible = ["pub(crate) ", "pub(super) ", "pub "];
    let line = visible.iter().find_map(|visible| line.strip_prefix(visible)).unwrap_or(line);
    Some(line.strip_prefix("mod ")?.trim_end_matches([' ', '{', ';']))
}

/// Splits a line into its code and, if there is one, its comment. The `//` of a URL does not start a comment.
pub fn split(line: &str) -> (&str, Option<&str>) {
    let starts = line.match_indices("//").map(|(at, _)| at);
    let comment = starts.into_iter().find(|at| !line[..*at].ends_with(':'));
    comment.map_or((line, None), |at| (&line[..at], Some(&line[at + 2..])))
}

pub fn code(line: &str) -> &str {
    split(line).0
}

#[test]
fn inline_test_module_extends_to_end() {
    let source = Source::new("src/a.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
    let tests: Vec<_> = source.lines().filter(|l| l.is_test).map(|l| l.number).collect();
    assert_eq!(tests, [4, 5, 6]);
}

#[test]
fn test_modules_in_files_include_children() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = with_test_files(vec![
        file("src/a/mod.rs", "#[cfg(test)]\npub(crate) mod suite;\nmod real;\n"),
        file(
            "src/a/real.rs",
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"real_props.rs\"]\nmod props;\n",
        ),
        file("src/a/real_props.rs", ""),
        file("src/a/real/tests.rs", ""),
        file("src/a/suite/one.rs", ""),
        file("src/a/suite.rs", ""),
        file("tests/it/main.rs", ""),
        file("crates/a/tests/one.rs", ""),
        file("crates/a/src/tests.rs", ""),
    ]);
    let tests: Vec<_> = sources.iter().filter(|s| s.is_test_file).map(|s| s.path.as_str()).collect();
    assert_eq!(
        tests,
        [
            "src/a/real_props.rs",
            "src/a/real/tests.rs",
            "src/a/suite/one.rs",
            "src/a/suite.rs",
            "tests/it/main.rs",
            "crates/a/tests/one.rs"
        ]
    );
}
