//! Names of the files that listeners fetch, written and strictly parsed in one place.
//!
//! A name is unique across all broadcasts, nodes and epochs of a room: the hint belongs to one broadcast, and
//! a media sequence number is never used twice within that broadcast.

use std::fmt;
use std::str::FromStr;

/// Public short form of a broadcast's nonce: 12 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NonceHint(pub(super) [u8; Self::BYTES]);

/// File of a room, as named by the last path segment of its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaFile {
    /// Whole segment: `{hint}-{msn}.ts`.
    Segment { hint: NonceHint, msn: u64 },
    /// Part of a segment: `{hint}-{msn}.{index}.ts`.
    Part { hint: NonceHint, msn: u64, index: u32 },
}

/// Error for a name that has none of the forms of [`MediaFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a media file")]
pub struct NotAMediaFile;

impl NonceHint {
    pub(super) const BYTES: usize = 6;
}

impl MediaFile {
    pub fn hint(&self) -> NonceHint {
        match self {
            Self::Segment { hint, .. } | Self::Part { hint, .. } => *hint,
        }
    }

    /// Media type for the `Content-Type` header (RFC 8216 section 4). The served bytes are the ciphertext of
    /// such media.
    pub const CONTENT_TYPE: &'static str = "video/mp2t";
}

impl FromStr for NonceHint {
    type Err = NotAMediaFile;

    fn from_str(text: &str) -> Result<Self, NotAMediaFile> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let mut bytes = [0; Self::BYTES];
        if !text.bytes().all(lower_hex) || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(NotAMediaFile);
        }
        Ok(Self(bytes))
    }
}

impl FromStr for MediaFile {
    type Err = NotAMediaFile;

    fn from_str(text: &str) -> Result<Self, NotAMediaFile> {
        let (hint, rest) = text.split_once('-').ok_or(NotAMediaFile)?;
        let hint = hint.parse()?;
        let rest = rest.strip_suffix(".ts").ok_or(NotAMediaFile)?;
        match rest.split_once('.') {
            None => Ok(Self::Segment { hint, msn: number(rest)? }),
            Some((msn, index)) => Ok(Self::Part { hint, msn: number(msn)?, index: number(index)? }),
        }
    }
}

/// Parses decimal digits as we write them: no sign, no leading zero.
fn number<T: FromStr + fmt::Display>(text: &str) -> Result<T, NotAMediaFile> {
    let number: T = text.parse().map_err(|_| NotAMediaFile)?;
    if number.to_string() == text { Ok(number) } else { Err(NotAMediaFile) }
}

impl fmt::Display for NonceHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * Self::BYTES];
        // Cannot fail: the buffer has two digits per byte, and digits are text.
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for NonceHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MediaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { hint, msn } => write!(f, "{hint}-{msn}.ts"),
            Self::Part { hint, msn, index } => write!(f, "{hint}-{msn}.{index}.ts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn media_names_round_trip(hint: [u8; 6], msn: u64, index: u32) {
            let hint = NonceHint(hint);
            for file in [MediaFile::Segment { hint, msn }, MediaFile::Part { hint, msn, index }] {
                prop_assert_eq!(file.to_string().parse(), Ok(file));
            }
        }

        #[test]
        fn parsed_media_names_are_canonical(text in "[0-9a-f]{11,13}-[0-9.]{1,6}ts") {
            if let Ok(file) = text.parse::<MediaFile>() {
                prop_assert_eq!(file.to_string(), text);
            }
        }
    }

    #[test]
    fn path_tricks_are_not_names() {
        for bad in [
            "",
            "..",
            "../x.ts",
            "0011aabbccdd-1.ts/",
            "0011aabbccdd-+1.ts",
            "0011aabbccdd-01.ts",
            "0011AABBCCDD-1.ts",
            "0011aabbccdd-1.2.3.ts",
            "0011aabbccdd-1.ts\0",
            "0011aabbccdd-.ts",
            "0011aabbccdd-1.-2.ts",
            "0011aabbccdd-99999999999999999999.ts",
            "0011aabbccdd-1.mp4",
            "0011aabbcc-1.ts",
            "0011aabbccdd--1.ts",
            "0011aabbccdd-1.ts?x",
            "%2e%2e-1.ts",
            "é-1.ts",
        ] {
            assert_eq!(bad.parse::<MediaFile>(), Err(NotAMediaFile), "{bad:?}");
        }
    }
}
