//! Reading of JSON from clients, with errors that name the field.
//!
//! serde states what is wrong only in a text. No other module reads this text.

use serde::{Deserialize, Deserializer};

/// Reads a value.
///
/// # Errors
/// The reason, after the path of the field that cannot be read: `sdp.type: unknown variant …`.
pub fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<T, String> {
    serde_path_to_error::deserialize(input).map_err(|error| {
        let field = error.path().to_string();
        let reason = error.into_inner().to_string();
        // The path of the whole value is a dot. The reason for an unknown field already names the field.
        if field == "." || reason.starts_with("unknown field") {
            reason
        } else {
            format!("{field}: {reason}")
        }
    })
}

/// Reads a value from JSON text. Errors contain no line and column: these mean nothing to a caller whose
/// library wrote the text.
///
/// # Errors
/// As for [`read`].
pub fn read_text<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    let mut input = serde_json::Deserializer::from_str(text);
    let value =
        read(&mut input).and_then(|value| input.end().map(|()| value).map_err(|error| error.to_string()));
    value.map_err(|reason| match reason.rsplit_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => reason,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "user")]
        _user: Option<String>,
        #[serde(rename = "inner")]
        _inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "count")]
        _count: u8,
    }

    #[test]
    fn json_errors_name_the_field() {
        for (value, wanted) in [
            (json!({ "user": 7 }), "user: invalid type: integer `7`, expected a string"),
            (json!({ "inner": { "count": "a" } }), "inner.count: invalid type: string \"a\", expected u8"),
            (json!({ "inner": {} }), "inner: missing field `count`"),
            (json!({ "name": 1 }), "unknown field `name`, expected `user` or `inner`"),
            (json!(1), "invalid type: integer `1`, expected struct Outer"),
        ] {
            assert_eq!(read_text::<Outer>(&value.to_string()).unwrap_err(), wanted);
            assert_eq!(read::<Outer, Value>(value).unwrap_err(), wanted);
        }
        assert_eq!(read_text::<Outer>("{} x").unwrap_err(), "trailing characters");
    }
}
