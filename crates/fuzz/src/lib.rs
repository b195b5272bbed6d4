//! Mutations of valid inputs, for the fuzz tests of all packages.
//!
//! Random bytes hardly ever reach the inside of a parser. Therefore each input is a valid input with a few
//! changes. The changes are simple, so that bolero can reduce a failure to the change that causes it.
//!
//! ```
//! use stentor_fuzz::{Corpus, Mutation, Mutations};
//!
//! let corpus = Corpus::lines("{\"n\":1}\n");
//! let huge = Mutations { seed: 0, changes: vec![Mutation::Number { at: 0, value: 8 }] };
//! assert_eq!(corpus.text(&huge), "{\"n\":18446744073709551616}");
//! ```
//!
//! Owns: corpus and mutations. Does not run a parser.

use bolero::TypeGenerator;

/// Numbers at which parsers and arithmetic break.
const NUMBERS: [&str; 11] = [
    "0",
    "-1",
    "1.5",
    "1e19",
    "1e400",
    "4294967295",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "00",
];
/// Fragments that have a special meaning in JSON, YAML, playlists, URLs or human-readable text.
const FRAGMENTS: [&str; 16] = [
    "null", "{}", "[", "\"", "\\u0000", "\u{202e}", "\u{0}", "\n", "\r", ": ", "#EXT-X-", "../", "%2e", "\t",
    "é", "*a",
];

/// Valid inputs of one parser.
#[derive(Debug, Clone)]
pub struct Corpus(Vec<Vec<u8>>);

/// One input: an entry of the corpus and its changes.
#[derive(Debug, Clone, TypeGenerator)]
pub struct Mutations {
    /// Index of the entry in the corpus, to be taken modulo the size of the corpus.
    pub seed: u8,
    #[generator(bolero::generator::produce_with::<Vec<Mutation>>().len(0..8usize))]
    pub changes: Vec<Mutation>,
}

/// Change at a position, given in 1/65536 of the length of the input.
#[derive(Debug, Clone, TypeGenerator)]
pub enum Mutation {
    Flip {
        at: u16,
        mask: u8,
    },
    Set {
        at: u16,
        byte: u8,
    },
    /// Removes up to `length` bytes.
    Cut {
        at: u16,
        length: u8,
    },
    /// Removes everything from here.
    Truncate {
        at: u16,
    },
    /// Repeats up to `length` bytes, up to 255 times.
    Repeat {
        at: u16,
        length: u8,
        times: u8,
    },
    /// Inserts one of [`FRAGMENTS`].
    Insert {
        at: u16,
        fragment: u8,
    },
    /// Replaces the next decimal number by one of [`NUMBERS`].
    Number {
        at: u16,
        value: u8,
    },
    /// Replaces the rest of the input by the rest of another corpus entry, from the same relative position.
    Splice {
        at: u16,
        other: u8,
    },
}

impl Corpus {
    /// Creates a corpus with one input per line.
    ///
    /// # Panics
    /// Panics if there is no line.
    pub fn lines(text: &str) -> Self {
        Self::new(text.lines())
    }

    /// Creates a corpus with one input per item.
    ///
    /// # Panics
    /// Panics if there is no item.
    pub fn new<I: AsRef<[u8]>>(inputs: impl IntoIterator<Item = I>) -> Self {
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.as_ref().to_vec()).collect();
        assert!(!inputs.is_empty(), "a corpus has at least one input");
        Self(inputs)
    }

    /// Returns the inputs without changes.
    pub fn inputs(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Returns the changed input.
    pub fn input(&self, mutations: &Mutations) -> Vec<u8> {
        let mut bytes = self.entry(mutations.seed).to_vec();
        for change in &mutations.changes {
            self.apply(change, &mut bytes);
        }
        bytes
    }

    /// Returns the changed input as text; U+FFFD replaces bytes that are not UTF-8.
    pub fn text(&self, mutations: &Mutations) -> String {
        String::from_utf8_lossy(&self.input(mutations)).into_owned()
    }

    fn entry(&self, number: u8) -> &[u8] {
        &self.0[usize::from(number) % self.0.len()]
    }

    fn apply(&self, change: &Mutation, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: u16| (usize::from(at) * length) >> 16;
        let end = |from: usize, count: u8| (from + usize::from(count)).min(length);
        match *change {
            Mutation::Flip { at, mask } => {
                bytes.get_mut(place(at)).into_iter().for_each(|byte| *byte ^= mask)
            }
            Mutation::Set { at, byte } => bytes.get_mut(place(at)).into_iter().for_each(|old| *old = byte),
            Mutation::Cut { at, length } => drop(bytes.drain(place(at)..end(place(at), length))),
            Mutation::Truncate { at } => bytes.truncate(place(at)),
            Mutation::Repeat { at, length, times } => {
                let piece = bytes[place(at)..end(place(at), length)].repeat(times.into());
                bytes.splice(place(at)..place(at), piece);
            }
            Mutation::Insert { at, fragment } => {
                let fragment = FRAGMENTS[usize::from(fragment) % FRAGMENTS.len()];
                bytes.splice(place(at)..place(at), fragment.bytes());
            }
            Mutation::Number { at, value } => {
                let Some(start) = bytes[place(at)..].iter().position(u8::is_ascii_digit) else { return };
                let start = place(at) + start;
                let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(start..start + digits, NUMBERS[usize::from(value) % NUMBERS.len()].bytes());
            }
            Mutation::Splice { at, other } => {
                bytes.truncate(place(at));
                let other = self.entry(other);
                bytes.extend_from_slice(&other[(usize::from(at) * other.len()) >> 16..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_applies_to_every_input() {
        let corpus = Corpus::new(["", "7", "a: 12\nb: [3]\n"]);
        bolero::check!().with_type().for_each(|mutations: &Mutations| {
            let unchanged = Mutations { changes: Vec::new(), ..mutations.clone() };
            assert!(corpus.inputs().any(|input| input == corpus.input(&unchanged)));
            corpus.input(mutations);
        });
    }
}
