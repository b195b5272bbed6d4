//! Values of playlist tags: attribute lists (RFC 8216bis section 4.2), decimal seconds, dates.

use std::time::Duration;

use super::Fault;
use stentor_domain::ids::UnixMs;

/// Attribute list in which every attribute must be read.
pub(super) struct Attributes<'a> {
    tag: &'static str,
    left: Vec<(&'a str, &'a str)>,
}

impl<'a> Attributes<'a> {
    pub fn parse(tag: &'static str, text: &'a str) -> Result<Self, Fault> {
        let mut left: Vec<(&str, &str)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, value) = rest.split_once('=').ok_or(Fault::BadValue(tag))?;
            let end = value_end(value).ok_or(Fault::BadValue(tag))?;
            if !is_name(name) || left.iter().any(|(n, _)| *n == name) {
                return Err(Fault::BadValue(tag));
            }
            left.push((name, &value[..end]));
            rest = &value[end..];
            if let Some(more) = rest.strip_prefix(',') {
                rest = more;
                if rest.is_empty() {
                    return Err(Fault::BadValue(tag));
                }
            }
        }
        Ok(Self { tag, left })
    }

    /// Returns an enumerated string or a number as written.
    pub fn bare(&mut self, name: &'static str) -> Result<&'a str, Fault> {
        let at = self.left.iter().position(|(n, _)| *n == name).ok_or(Fault::Missing(name))?;
        Ok(self.left.swap_remove(at).1)
    }

    /// Returns the text between the quotes.
    pub fn quoted(&mut self, name: &'static str) -> Result<&'a str, Fault> {
        let value = self.bare(name)?;
        value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).ok_or(Fault::BadValue(self.tag))
    }

    /// Checks that the attribute has exactly this value.
    pub fn expect(&mut self, name: &'static str, value: &str) -> Result<(), Fault> {
        if self.bare(name)? == value { Ok(()) } else { Err(Fault::BadValue(self.tag)) }
    }

    /// Checks that every attribute was read.
    pub fn end(self) -> Result<(), Fault> {
        if self.left.is_empty() { Ok(()) } else { Err(Fault::BadValue(self.tag)) }
    }
}

/// Returns the end of a value: after its closing quote, or at the next comma. `None` if malformed.
fn value_end(value: &str) -> Option<usize> {
    match value.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.find('"')? + 2;
            value[end..].chars().next().is_none_or(|c| c == ',').then_some(end)
        }
        None => {
            let end = value.find(',').unwrap_or(value.len());
            (end > 0 && !value[..end].contains('"')).then_some(end)
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
}

pub(super) fn integer(tag: &'static str, text: &str) -> Result<u64, Fault> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().map_err(|_| Fault::BadValue(tag)) } else { Err(Fault::BadValue(tag)) }
}

/// Parses decimal seconds above zero, at most one day.
pub(super) fn seconds(tag: &'static str, text: &str) -> Result<Duration, Fault> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(s) if plain && s > 0.0 && s <= 86_400.0 => Ok(Duration::from_secs_f64(s)),
        _ => Err(Fault::BadValue(tag)),
    }
}

/// Parses `YYYY-MM-DDThh:mm:ss.sssZ`.
pub(super) fn date_time(text: &str) -> Result<UnixMs, Fault> {
    const TAG: &str = "EXT-X-PROGRAM-DATE-TIME";
    let separators: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
    if text.len() != 24 || separators != "--T::.Z" || !text.is_ascii() {
        return Err(Fault::BadValue(TAG));
    }
    let field = |range: std::ops::Range<usize>| integer(TAG, &text[range]);
    let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
    let (hour, minute, second, milli) = (field(11..13)?, field(14..16)?, field(17..19)?, field(20..23)?);
    let sane = year >= 1970 && (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month);
    if !sane || hour > 23 || minute > 59 || second > 59 {
        return Err(Fault::BadValue(TAG));
    }
    let years: u64 = (1970..year).map(|y| 365 + u64::from(is_leap(y))).sum();
    let months: u64 = (1..month).map(|m| days_in(year, m)).sum();
    let days = years + months + day - 1;
    Ok(UnixMs((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_lists_are_read_strictly() {
        let mut list = Attributes::parse("T", "A=1,B=\"x,y=z\",C=YES").unwrap();
        assert_eq!(list.quoted("B"), Ok("x,y=z"));
        assert_eq!(list.bare("A"), Ok("1"));
        assert_eq!(list.expect("C", "YES"), Ok(()));
        assert_eq!(list.end(), Ok(()));
        for bad in ["A", "A=", "A=1,", "A=1,A=2", "a=1", "A=\"x", "A=\"x\"y", "A=x\"y\"", "=1", ",A=1"] {
            assert!(Attributes::parse("T", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_are_read_to_the_millisecond() {
        assert_eq!(date_time("2000-02-29T00:00:00.001Z"), Ok(UnixMs(951_782_400_001)));
        assert_eq!(date_time("2024-12-31T23:59:59.999Z"), Ok(UnixMs(1_735_689_599_999)));
        for bad in ["2023-02-29T00:00:00.000Z", "2023-01-01 00:00:00.000Z", "2023-01-01T24:00:00.000Z", "é"]
        {
            assert!(date_time(bad).is_err(), "{bad}");
        }
    }
}
