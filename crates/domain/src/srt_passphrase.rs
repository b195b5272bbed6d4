//! Rule for the passphrase in an `srt` URL of a source or an output.
//!
//! The rule applies when a URL is added. URLs that earlier versions stored without it can still be read.

use url::Url;

/// Lengths that SRT accepts, in bytes (libsrt, `SRTO_PASSPHRASE`).
const LENGTHS: std::ops::RangeInclusive<usize> = 10..=79;

/// Error for a passphrase with which SRT could not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the passphrase of an SRT URL must have 10 to 79 bytes, and has {0}")]
pub struct InvalidPassphrase(usize);

/// Checks the passphrase of a URL. Accepts URLs of other protocols.
///
/// # Errors
/// The passphrase is shorter or longer than SRT accepts.
pub fn check_passphrase(url: &Url) -> Result<(), InvalidPassphrase> {
    let mut passphrases = url.query_pairs().filter(|(name, _)| url.scheme() == "srt" && name == "passphrase");
    let fault = passphrases.find(|(_, passphrase)| !LENGTHS.contains(&passphrase.len()));
    fault.map_or(Ok(()), |(_, passphrase)| Err(InvalidPassphrase(passphrase.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrases_have_srt_lengths() {
        let check = |text: &str| check_passphrase(&Url::parse(text).unwrap());
        let with = |length| check(&format!("srt://a.example:9?passphrase={}", "x".repeat(length)));
        assert_eq!([10, 79].map(with), [Ok(()), Ok(())]);
        assert_eq!([0, 9, 80].map(with), [0, 9, 80].map(|length| Err(InvalidPassphrase(length))));
        assert_eq!(check("srt://a.example:9?passphrase=%C3%A4%20ten-bytes"), Ok(()), "decoded bytes count");
        assert_eq!(check("srt://a.example:9?streamid=short"), Ok(()));
        assert_eq!(check("https://a.example/?passphrase=short"), Ok(()), "another protocol");
    }
}
