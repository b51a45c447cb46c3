//! Timestamps in UTC, formatted without a dependency.

use std::time::{SystemTime, UNIX_EPOCH};

/// Formats a time as the service does in JSON: `2026-01-31T23:59:59.000Z` (RFC 3339). Times before 1970 count as 1970.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let Utc { year, month, day, hour, minute, second, millis, .. } = Utc::from(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Formats a time as HTTP does in headers: `Sat, 31 Jan 2026 23:59:59 GMT` (RFC 9110, 5.6.7).
pub(super) fn http_date(time: SystemTime) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Utc { days, year, month, day, hour, minute, second, .. } = Utc::from(time);
    // 1 January 1970 was a Thursday.
    let weekday = WEEKDAYS[(days % 7) as usize];
    let month = MONTHS[month as usize - 1];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// The fields of a date and a time of day.
struct Utc {
    /// The days since 1 January 1970.
    days: u64,
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millis: u32,
}

impl From<SystemTime> for Utc {
    fn from(time: SystemTime) -> Self {
        let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second_of_day) = (elapsed.as_secs() / 86_400, elapsed.as_secs() % 86_400);
        // Howard Hinnant's `civil_from_days`. Its years begin on 1 March, so that a leap day is the last of its year,
        // and its eras are the 400 years (146,097 days) after which the calendar repeats itself.
        let from_year_0 = days + 719_468;
        let (era, day_of_era) = (from_year_0 / 146_097, from_year_0 % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Utc {
            days,
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            millis: elapsed.subsec_millis(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_formatted_for_json_and_for_headers() {
        // The expected values are those of GNU date.
        let table = [
            (0, "1970-01-01T00:00:00.007Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (68_255_999, "1972-02-29T23:59:59.007Z", "Tue, 29 Feb 1972 23:59:59 GMT"),
            (951_782_400, "2000-02-29T00:00:00.007Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "2000-03-01T00:00:00.007Z", "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z", "Tue, 31 Dec 2024 23:59:59 GMT"),
            (1_772_326_923, "2026-03-01T01:02:03.007Z", "Sun, 01 Mar 2026 01:02:03 GMT"),
            (1_798_761_599, "2026-12-31T23:59:59.007Z", "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_399, "2100-02-28T23:59:59.007Z", "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (seconds, json, header) in table {
            let time = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            assert_eq!((rfc3339(time).as_str(), http_date(time).as_str()), (json, header), "{seconds}");
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }
}
