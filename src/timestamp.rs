//! Timestamps of the service (RFC 3339) as seconds since the Unix epoch.

/// Parses a timestamp such as `2026-08-01T12:34:56.789Z`, not before the epoch. A fraction is dropped, and a missing
/// offset counts as UTC.
pub(crate) fn unix_seconds(text: &str) -> Option<u64> {
    let text = text.trim().as_bytes();
    let (date, rest) = text.split_at_checked(10)?;
    let ([b'T' | b't' | b' ', rest @ ..], [_, _, _, _, b'-', _, _, b'-', _, _]) = (rest, date) else { return None };
    let (time, rest) = rest.split_at_checked(8)?;
    let [_, _, b':', _, _, b':', _, _] = time else { return None };
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let (hour, minute, second) = (number(&time[..2])?, number(&time[3..5])?, number(&time[6..])?);
    // 60 is a leap second.
    if !(1..=days_in(year, month)).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(local - offset(without_fraction(rest)?)?).ok()
}

fn without_fraction(text: &[u8]) -> Option<&[u8]> {
    let [b'.' | b',', fraction @ ..] = text else { return Some(text) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| &fraction[digits..])
}

/// Returns the seconds by which the local time is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes): (i64, &[u8], &[u8]) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', hours @ ..] => (1, hours, b"00"),
        [b'-', hours @ ..] => (-1, hours, b"00"),
        _ => return None,
    };
    let (hours, minutes) = match hours {
        [_, _] => (hours, minutes),
        [h, m, b':', minutes @ ..] | [h, m, minutes @ ..] => (&[*h, *m][..], minutes),
        _ => return None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|_| minutes.len() == 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Parses a decimal number; `None` unless all bytes are digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// Counts the days in years that begin in March, so that a leap day is the last day of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // The months from March on have 31, 30, 31, 30, 31 days, twice over.
    let days_before_month = (153 * month + 2) / 5;
    const EPOCH: i64 = 719_469;
    year * 365 + leap_days + days_before_month + day - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_seconds_since_the_epoch() {
        let table = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:01z", 1),
            ("1970-01-01T02:00:00+02:00", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("2024-12-31T23:59:60Z", 1_735_689_600),
            ("2100-02-28T00:00:00Z", 4_107_456_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("2025-03-11T07:13:27.813Z", 1_741_677_207),
            ("2025-03-11T07:13:27.813999999Z", 1_741_677_207),
            ("2025-03-11T07:13:27", 1_741_677_207),
            ("2025-03-11 07:13:27Z", 1_741_677_207),
            (" 2025-03-11T07:13:27Z\n", 1_741_677_207),
            ("2025-03-11T09:13:27+02:00", 1_741_677_207),
            ("2025-03-11T09:13:27.5+0200", 1_741_677_207),
            ("2025-03-11T09:13:27+02", 1_741_677_207),
            ("2025-03-11T01:43:27-05:30", 1_741_677_207),
            ("2025-03-10T23:13:27-08:00", 1_741_677_207),
            ("2025-03-11T07:13:27-00:00", 1_741_677_207),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ];
        for (text, seconds) in table {
            assert_eq!(unix_seconds(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_timestamp() {
        for text in [
            "",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "0000-01-01T00:00:00Z",
            "today",
            "2025-03-11",
            "2025-03-11T07:13Z",
            "2025-3-11T07:13:27Z",
            "2025-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-04-31T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:61Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00+2",
            "2025-01-01T00:00:00+02:",
            "2025-01-01T00:00:00+02:0",
            "2025-01-01T00:00:00+24:00",
            "2025-01-01T00:00:00+02:60",
            "2025-01-01T00:00:00 UTC",
            "+025-01-01T00:00:00Z",
            "2025-01-01T-1:00:00Z",
            "2025-01-01T00:00:00Zé",
            "２０２５-01-01T00:00:00Z",
        ] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }
}
