//! W3C trace context: the identity of a span, in the format of the header `traceparent`
//! (<https://www.w3.org/TR/trace-context/>, level 1). This module is pure.
//!
//! Owns: the format. Does not generate ids, and does not decide what is traced.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bit of the flags: the caller records the trace.
const SAMPLED: u8 = 1;

/// Identity of a span. Neither id is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// True if the trace is recorded.
    pub sampled: bool,
}

/// Error for a text that is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent is 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case")]
pub struct InvalidTraceParent;

impl FromStr for TraceContext {
    type Err = InvalidTraceParent;

    /// Parses a `traceparent` (section 3.2.2). Versions above 00 may have further fields, which are ignored.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut fields = text.split('-');
        let mut next = || fields.next().ok_or(InvalidTraceParent);
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let [version] = bytes(version)?;
        let more = fields.next().is_some();
        if version == 0xff || (version == 0 && more) {
            return Err(InvalidTraceParent);
        }
        let ([flags], trace, span) = (bytes(flags)?, bytes(trace)?, bytes(span)?);
        if trace == [0; 16] || span == [0; 8] {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace, span, sampled: flags & SAMPLED != 0 })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled))
    }
}

impl TraceContext {
    /// Returns the id of the trace in hex.
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// Returns the id of the span in hex.
    pub fn span_id(&self) -> String {
        hex(&self.span)
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Deserializes a stored `traceparent`. A text in another format is read as `None`, because an invalid trace
/// must not make the whole value unreadable.
///
/// # Errors
/// The value is neither a text nor null.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TraceContext>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], InvalidTraceParent> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(InvalidTraceParent),
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return Err(InvalidTraceParent);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_is_parsed() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((context.span_id().as_str(), context.to_string().as_str()), ("00f067aa0ba902b7", EXAMPLE));
        let later = EXAMPLE.replacen("00", "cc", 1) + "-more-fields";
        assert_eq!(later.parse(), Ok(context));
    }

    #[test]
    fn invalid_traceparents_are_refused() {
        for wrong in [
            "",
            "00",
            &EXAMPLE[1..],
            &format!("{EXAMPLE}-x"),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-é4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(InvalidTraceParent), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn traceparent_survives_round_trip(
            trace: [u8; 16], span: [u8; 8], sampled: bool, text in "[0-9a-f-]{0,60}",
        ) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let context = TraceContext { trace, span, sampled };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
            // The parser must not panic on any text.
            let _ = text.parse::<TraceContext>();
        }
    }
}
