//! Wall-clock times as text.

use std::fmt;

use super::ids::UnixMs;

/// Time in RFC 3339 format, in UTC with milliseconds, such as `2026-01-31T12:00:00.000Z`.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(pub UnixMs);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.0 / 86_400_000, self.0.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        let (second, milli) = (ms / 1000 % 60, ms % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Time in RFC 2822 format, in UTC, such as `Sat, 31 Jan 2026 12:00:00 +0000`.
#[derive(Debug, Clone, Copy)]
pub struct Rfc2822(pub UnixMs);

impl fmt::Display for Rfc2822 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (days, seconds) = (self.0.0 / 86_400_000, self.0.0 / 1000 % 86_400);
        let (year, month, day) = civil(days);
        // 1970-01-01 was a Thursday.
        let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[(month - 1) as usize]);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// Returns the Gregorian date (year, month, day) that is `days` after 1970-01-01. In the calculation, a year
/// begins on 1 March, so that a leap day is the last day of its year. 400 years have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_2822() {
        for (ms, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400_001, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_735_689_599_999, "Tue, 31 Dec 2024 23:59:59 +0000"),
        ] {
            assert_eq!(Rfc2822(UnixMs(ms)).to_string(), text);
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Rfc3339(UnixMs(ms)).to_string(), text);
        }
    }
}
