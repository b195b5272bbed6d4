//! Rules for texts that users and applications choose: display names, messages, descriptions and ids. This
//! module is pure.
//!
//! Display names follow the Nickname profile (RFC 8266 section 2) of the PRECIS FreeformClass (RFC 8264
//! section 4.3), with one addition: emoji sequences may contain their joiners and variation selectors.

use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};

const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
const TEXT_STYLE: char = '\u{FE0E}';
const EMOJI_STYLE: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';
/// Canonical combining class of a virama (RFC 5892 appendix A.1).
const VIRAMA: u8 = 9;

/// Longest input that is normalised, in bytes per allowed character; longer input is refused.
const BYTES_PER_CHARACTER: usize = 16;

/// Returns `text` in its normal form; `None` if it has no normal form, or more than `most` characters.
pub fn bounded(text: &str, most: usize, normal: fn(&str) -> Option<String>) -> Option<Arc<str>> {
    let text = Some(text).filter(|text| text.len() <= most * BYTES_PER_CHARACTER).and_then(normal)?;
    (text.chars().count() <= most).then(|| text.into())
}

/// Implements the conversions of types that wrap an `Arc<str>` and check it in `new`.
macro_rules! text_values {
    ($($text:ident),*) => {$(
        impl $text {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Debug for $text {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl TryFrom<String> for $text {
            type Error = $crate::ids::InvalidName;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }
        impl From<$text> for String {
            fn from(text: $text) -> String {
                text.0.to_string()
            }
        }
    )*};
}
pub(crate) use text_values;

/// Returns the name in its normal form: NFKC, no spaces at its ends, one ASCII space between words. `None` if
/// it contains a character that cannot be shown or that changes the text direction, or if it contains nothing
/// visible.
pub fn nickname(text: &str) -> Option<String> {
    visible_line(text.nfkc())
}

/// Returns a message in its normal form: NFC, in one line, otherwise by the rules of [`nickname`]. NFC keeps
/// characters such as `²`, which NFKC would replace.
pub fn message(text: &str) -> Option<String> {
    let blank = |c: char| if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c };
    visible_line(text.chars().map(blank).nfc())
}

/// Returns a text of several lines in its normal form: each line by the rules of [`message`], no empty lines
/// at its ends, at most one between two lines. `None` if a line has a character that cannot be shown, or if
/// all lines are empty.
pub fn paragraphs(text: &str) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = if line.trim().is_empty() { String::new() } else { message(line)? };
        let empty_before = lines.last().is_none_or(|before| before.is_empty());
        if !(line.is_empty() && empty_before) {
            lines.push(line);
        }
    }
    let text = lines.join("\n");
    let text = text.trim_end_matches('\n');
    (!text.is_empty()).then(|| text.to_owned())
}

fn visible_line(chars: impl Iterator<Item = char>) -> Option<String> {
    let space = |c: char| if c.general_category() == GeneralCategory::SpaceSeparator { ' ' } else { c };
    let chars: Vec<char> = chars.map(space).collect();
    let legal = (0..chars.len()).all(|at| may_stand_at(&chars, at));
    let visible = chars.iter().any(|c| is_visible(*c));
    let words = || chars.split(|c| *c == ' ').filter(|word| !word.is_empty()).map(String::from_iter);
    (legal && visible).then(|| words().collect::<Vec<_>>().join(" "))
}

/// Returns true if an opaque id is safe to show and to log. Such an id has no control, format or other
/// invisible character, no space other than U+0020, and no space at its ends.
pub fn is_plain_id(text: &str) -> bool {
    let is_plain = |c: char| match c.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => false,
        GeneralCategory::SpaceSeparator => c == ' ',
        _ => !is_ignorable(c),
    };
    text == text.trim() && text.chars().all(is_plain)
}

/// Returns true for a StringOrURI (RFC 7519 section 2): any text, except that a text with a colon must be a
/// URI (RFC 3986).
pub fn is_string_or_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return true };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b))
        && rest
            .split('%')
            .skip(1)
            .all(|after| after.len() >= 2 && after.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

fn may_stand_at(text: &[char], at: usize) -> bool {
    let c = text[at];
    match c.general_category() {
        GeneralCategory::Format => joins(text, at),
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::Surrogate
        | GeneralCategory::PrivateUse
        | GeneralCategory::Unassigned => false,
        _ => !is_ignorable(c) || styles_emoji(text, at),
    }
}

/// Returns true for a joiner that changes the appearance: in an emoji sequence, after a virama (RFC 5892
/// appendices A.1 and A.2), or between two Arabic letters.
fn joins(text: &[char], at: usize) -> bool {
    let (Some(before), Some(after)) = (at.checked_sub(1).map(|b| text[b]), text.get(at + 1)) else {
        return false;
    };
    let pictograph = |c: char| c.is_emoji_char() && !c.is_ascii();
    match text[at] {
        _ if [ZERO_WIDTH_JOINER, ZERO_WIDTH_NON_JOINER].contains(&text[at])
            && canonical_combining_class(before) == VIRAMA =>
        {
            true
        }
        ZERO_WIDTH_JOINER => (before == EMOJI_STYLE || pictograph(before)) && pictograph(*after),
        ZERO_WIDTH_NON_JOINER => is_arabic_letter(before) && is_arabic_letter(*after),
        _ => false,
    }
}

/// Returns true for a variation selector after an emoji. After an ASCII emoji character (such as a digit) it
/// is valid only in a keycap.
fn styles_emoji(text: &[char], at: usize) -> bool {
    let styles = [TEXT_STYLE, EMOJI_STYLE].contains(&text[at]);
    let styled = at.checked_sub(1).map(|before| text[before]).filter(|c| styles && c.is_emoji_char());
    styled.is_some_and(|c| !c.is_ascii() || text.get(at + 1) == Some(&KEYCAP))
}

fn is_arabic_letter(c: char) -> bool {
    let arabic = matches!(c, '\u{620}'..='\u{6FF}' | '\u{750}'..='\u{77F}' | '\u{8A0}'..='\u{8FF}');
    arabic && c.general_category_group() == GeneralCategoryGroup::Letter
}

fn is_visible(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Number, Punctuation, Symbol};
    [Letter, Number, Punctuation, Symbol].contains(&c.general_category_group())
}

/// Returns true for characters that an id or name must not contain although their category may permit them:
/// the assigned ones of Unicode's Default_Ignorable_Code_Point (apart from most Format characters, which
/// callers exclude by category), the blank Braille pattern, and the two replacement characters.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{2800}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{FFFC}' | '\u{FFFD}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nicknames_take_their_normal_form() {
        for (typed, shown) in [
            (" Änne 🎙 ", "Änne 🎙"),
            ("A\u{308}nne", "Änne"),
            ("Ann\u{A0}\u{3000}  Lee", "Ann Lee"),
            ("Ａｎｎ", "Ann"),
            ("ﬁnn", "finn"),
            ("علي", "علي"),
            ("می\u{200C}خواهم", "می\u{200C}خواهم"),
            ("क्\u{200D}ष", "क्\u{200D}ष"),
            ("👩🏽\u{200D}🚀", "👩🏽\u{200D}🚀"),
            ("❤\u{FE0F}\u{200D}🔥", "❤\u{FE0F}\u{200D}🔥"),
            ("1\u{FE0F}\u{20E3}", "1\u{FE0F}\u{20E3}"),
            ("?!", "?!"),
        ] {
            assert_eq!(nickname(typed).as_deref(), Some(shown), "{typed:?}");
        }
    }

    #[test]
    fn invisible_and_bidi_names_are_refused() {
        for bad in [
            "",
            "   ",
            "\u{A0}\u{3000}",
            "\u{200B}",
            "\u{2060}",
            "\u{FEFF}",
            "\u{AD}",
            "\u{3164}",
            "\u{115F}",
            "\u{2800}",
            "\u{FE0F}",
            "\u{200D}",
            "\u{301}",
            "a\u{7}b",
            "a\nb",
            "a\u{2028}b",
            "a\u{202E}b",
            "a\u{2066}b\u{2069}",
            "\u{200F}a",
            "a\u{61C}",
            "A\u{200B}nn",
            "a\u{200D}b",
            "1\u{200D}2",
            "a\u{FE0F}",
            "1\u{FE0F}",
            "\u{E000}",
            "\u{378}",
            "\u{FFFF}",
            "a\u{E0041}",
            "a\u{34F}b",
            "\u{FFFD}",
        ] {
            assert_eq!(nickname(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn messages_keep_their_characters() {
        for (typed, shown) in [
            (" 2² is\n4 ", "2² is 4"),
            ("a\r\n\tb", "a b"),
            ("A\u{308}", "Ä"),
            ("<b>&amp;", "<b>&amp;"),
            ("👩🏽\u{200D}🚀", "👩🏽\u{200D}🚀"),
        ] {
            assert_eq!(message(typed).as_deref(), Some(shown), "{typed:?}");
        }
        for bad in ["", "\n", "a\u{202E}b", "\u{200B}", "a\u{0}b", "a\u{2028}b"] {
            assert_eq!(message(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn paragraphs_keep_their_lines() {
        for (typed, shown) in
            [(" one \n two", "one\ntwo"), ("\r\n\none\r\n\r\n \t\r\ntwo\n\n", "one\n\ntwo"), ("a\rb", "a b")]
        {
            assert_eq!(paragraphs(typed).as_deref(), Some(shown), "{typed:?}");
            assert_eq!(paragraphs(shown).as_deref(), Some(shown));
        }
        for bad in ["", "\n \n", "a\n\u{202E}b", "a\n\u{200B}", "a\u{2028}b"] {
            assert_eq!(paragraphs(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn ids_hold_no_invisible_characters() {
        for good in ["auth0|123", "Ann Lee", "müller@example.org", "a/b", "..", "用户"] {
            assert!(is_plain_id(good), "{good}");
        }
        for bad in
            [" a", "a ", "a\nb", "a\u{0}", "a\u{200B}", "\u{202E}a", "a\u{A0}b", "a\u{2028}b", "\u{FFFD}"]
        {
            assert!(!is_plain_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_colon_makes_it_a_uri() {
        for good in
            ["", "ann", "auth0|1", "Ann Lee", "did:example:123", "mailto:a@b.org", "https://x.org/%7Eann?a#b"]
        {
            assert!(is_string_or_uri(good), "{good}");
        }
        for bad in
            [":", ":a", "1:2", "a b:c", "auth0|1:2", "a:b c", "a:%7", "a:%zz", "a:ü", "a:b|c", "a:\"b\""]
        {
            assert!(!is_string_or_uri(bad), "{bad}");
        }
    }

    proptest! {
        /// A normalised name is accepted again without a change, because names are read back from presence.
        #[test]
        fn the_normal_form_is_stable(
            text in "[ -~À-ſ\u{300}-\u{305}\u{A0}\u{A8}\u{2126}ﬁ가-각ᄀ각👩❤\u{FE0F}\u{200D}🚀]{0,12}",
        ) {
            if let Some(name) = nickname(&text) {
                prop_assert_eq!(nickname(&name), Some(name));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            nickname(&text);
            is_plain_id(&text);
            is_string_or_uri(&text);
        }
    }
}
