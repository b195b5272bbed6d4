//! Names of the files a listener fetches, written and strictly read in one place.
//!
//! A name is unique over all starts, nodes and epochs of a room: the hint belongs to one start, and a media
//! sequence number is never used twice in it.

use std::fmt;
use std::str::FromStr;

/// Public short name of a start's nonce: 12 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NonceHint(pub(super) [u8; Self::BYTES]);

/// A file of a room as its URL's last element names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaFile {
    /// Init section of the FFmpeg process whose first segment is `msn`: `{hint}-{msn}.init.mp4`.
    Init { hint: NonceHint, msn: u64 },
    /// `{hint}-{msn}.m4s`.
    Segment { hint: NonceHint, msn: u64 },
    /// `{hint}-{msn}.{index}.m4s`.
    Part { hint: NonceHint, msn: u64, index: u32 },
}

/// Anything that is not exactly such a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a media file")]
pub struct NotAMediaFile;

impl NonceHint {
    pub(super) const BYTES: usize = 6;
}

impl MediaFile {
    pub fn hint(&self) -> NonceHint {
        match self {
            Self::Init { hint, .. } | Self::Segment { hint, .. } | Self::Part { hint, .. } => *hint,
        }
    }

    /// Media type for the `Content-Type` header. Segments and parts are ciphertext of this type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Init { .. } => "audio/mp4",
            Self::Segment { .. } | Self::Part { .. } => "video/iso.segment",
        }
    }
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
        if let Some(msn) = rest.strip_suffix(".init.mp4") {
            return Ok(Self::Init { hint, msn: number(msn)? });
        }
        let rest = rest.strip_suffix(".m4s").ok_or(NotAMediaFile)?;
        match rest.split_once('.') {
            None => Ok(Self::Segment { hint, msn: number(rest)? }),
            Some((msn, index)) => Ok(Self::Part { hint, msn: number(msn)?, index: number(index)? }),
        }
    }
}

/// Decimal digits as we write them: no sign, no leading zero.
fn number<T: FromStr + fmt::Display>(text: &str) -> Result<T, NotAMediaFile> {
    let number: T = text.parse().map_err(|_| NotAMediaFile)?;
    if number.to_string() == text { Ok(number) } else { Err(NotAMediaFile) }
}

impl fmt::Display for NonceHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * Self::BYTES];
        // Cannot fail: there are two digits per byte, and digits are text.
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
            Self::Init { hint, msn } => write!(f, "{hint}-{msn}.init.mp4"),
            Self::Segment { hint, msn } => write!(f, "{hint}-{msn}.m4s"),
            Self::Part { hint, msn, index } => write!(f, "{hint}-{msn}.{index}.m4s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_reads_back_as_it_was_written(hint: [u8; 6], msn: u64, index: u32) {
            let hint = NonceHint(hint);
            for file in [
                MediaFile::Init { hint, msn },
                MediaFile::Segment { hint, msn },
                MediaFile::Part { hint, msn, index },
            ] {
                prop_assert_eq!(file.to_string().parse(), Ok(file));
            }
        }

        #[test]
        fn what_is_taken_is_what_we_would_write(text in "[0-9a-f]{11,13}-[0-9.]{1,6}(m4s|init.mp4)") {
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
            "../x.m4s",
            "0011aabbccdd-1.m4s/",
            "0011aabbccdd-+1.m4s",
            "0011aabbccdd-01.m4s",
            "0011AABBCCDD-1.m4s",
            "0011aabbccdd-1.2.3.m4s",
            "0011aabbccdd-1.m4s\0",
            "0011aabbccdd-.m4s",
            "0011aabbccdd-1.-2.m4s",
            "0011aabbccdd-99999999999999999999.m4s",
            "0011aabbccdd-1.mp4",
            "0011aabbcc-1.m4s",
            "0011aabbccdd--1.m4s",
            "0011aabbccdd-1.m4s?x",
            "%2e%2e-1.m4s",
            "é-1.m4s",
        ] {
            assert_eq!(bad.parse::<MediaFile>(), Err(NotAMediaFile), "{bad:?}");
        }
    }
}
