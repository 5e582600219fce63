//! Times as log lines write them, formatted once a second.
//!
//! The offset from UTC is a setting and not read from the system: the C library's conversion to local
//! time is not safe in a process with threads that may change the environment, and it would need
//! unsafe code. The default is UTC; a caller that knows the offset may give it. Offsets do not follow
//! daylight saving time by themselves.

use std::io::Write;

/// Whole minutes east of UTC, at most a day either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// No offset.
    pub const UTC: UtcOffset = UtcOffset(0);

    /// An offset in minutes east of UTC; `None` beyond 23 h 59 min.
    pub fn from_minutes(minutes: i16) -> Option<UtcOffset> {
        (minutes.abs() < 24 * 60).then_some(UtcOffset(minutes))
    }

    /// Minutes east of UTC.
    pub fn minutes(self) -> i16 {
        self.0
    }
}

/// The times of one second in all forms. One per worker.
#[derive(Debug, Clone)]
pub struct LogClock {
    offset: UtcOffset,
    second: u64,
    milli: u16,
    local: [u8; LOCAL_LEN],
    iso8601: [u8; ISO_LEN],
    syslog: [u8; SYSLOG_LEN],
}

const LOCAL_LEN: usize = "20/Nov/2026:21:12:01 +0000".len();
const ISO_LEN: usize = "2026-11-20T21:12:01+00:00".len();
const SYSLOG_LEN: usize = "Nov 20 21:12:01".len();

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The last second of the year 9999, so that years keep four digits.
const SECOND_MAX: u64 = 253_402_300_799;

impl LogClock {
    /// A clock that stands at the Unix epoch until it is set.
    pub fn new(offset: UtcOffset) -> LogClock {
        let mut clock = LogClock {
            offset,
            second: 0,
            milli: 0,
            local: [0; LOCAL_LEN],
            iso8601: [0; ISO_LEN],
            syslog: [0; SYSLOG_LEN],
        };
        clock.format();
        clock
    }

    /// Sets the clock to milliseconds since the Unix epoch. Formats only when the second changed.
    #[inline]
    pub fn set(&mut self, unix_ms: u64) {
        let second = unix_ms / 1000;
        self.milli = (unix_ms % 1000) as u16;
        if second != self.second {
            self.second = second;
            self.format();
        }
    }

    /// `20/Nov/2026:21:12:01 +0000`, as `$time_local`.
    #[inline]
    pub fn local(&self) -> &[u8] {
        &self.local
    }

    /// `2026-11-20T21:12:01+00:00`, as `$time_iso8601`.
    #[inline]
    pub fn iso8601(&self) -> &[u8] {
        &self.iso8601
    }

    /// `Nov 20 21:12:01`, as RFC 3164 has it: the day padded with a space.
    #[inline]
    pub fn syslog(&self) -> &[u8] {
        &self.syslog
    }

    /// Appends seconds since the epoch with three decimals, as `$msec`.
    pub fn write_msec(&self, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{}.{:03}", self.second, self.milli);
    }

    #[cold]
    fn format(&mut self) {
        let shifted = self.second.min(SECOND_MAX) as i64 + i64::from(self.offset.0) * 60;
        let shifted = shifted.clamp(0, SECOND_MAX as i64) as u64;
        let (year, month, day) = civil_from_days(shifted / 86_400);
        let of_day = shifted % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let sign = if self.offset.0 < 0 { '-' } else { '+' };
        let (oh, om) = (self.offset.0.abs() / 60, self.offset.0.abs() % 60);
        let name = MONTHS[(month as usize - 1) % 12];
        fill(
            &mut self.local,
            format_args!(
                "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} {sign}{oh:02}{om:02}"
            ),
        );
        fill(
            &mut self.iso8601,
            format_args!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{sign}{oh:02}:{om:02}"
            ),
        );
        fill(
            &mut self.syslog,
            format_args!("{name} {day:>2} {hour:02}:{minute:02}:{second:02}"),
        );
    }
}

/// Writes text of exactly the array's length.
fn fill(out: &mut [u8], text: std::fmt::Arguments<'_>) {
    let mut rest = &mut out[..];
    // The lengths are constants that the formats above fill exactly; a short array stays cut.
    let _ = rest.write_fmt(text);
    debug_assert!(rest.is_empty());
}

/// Year, month (1 to 12) and day of a day counted from the Unix epoch. Howard Hinnant's algorithm
/// for the proleptic Gregorian calendar, for days that are not negative.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(unix_ms: u64, minutes: i16) -> LogClock {
        let mut clock = LogClock::new(UtcOffset::from_minutes(minutes).unwrap());
        clock.set(unix_ms);
        clock
    }

    #[test]
    fn known_times_are_written_as_nginx_writes_them() {
        let clock = at(1_795_209_121_042, 0);
        assert_eq!(clock.local(), b"20/Nov/2026:21:12:01 +0000");
        assert_eq!(clock.iso8601(), b"2026-11-20T21:12:01+00:00");
        assert_eq!(clock.syslog(), b"Nov 20 21:12:01");
        let mut msec = Vec::new();
        clock.write_msec(&mut msec);
        assert_eq!(msec, b"1795209121.042");
        assert_eq!(
            at(951_782_400_000, 0).iso8601(),
            b"2000-02-29T00:00:00+00:00"
        );
        assert_eq!(at(0, 0).syslog(), b"Jan  1 00:00:00");
    }

    #[test]
    fn offsets_move_the_day() {
        assert_eq!(
            at(1_795_209_121_000, 330).local(),
            b"21/Nov/2026:02:42:01 +0530"
        );
        assert_eq!(
            at(1_795_209_121_000, -570).iso8601(),
            b"2026-11-20T11:42:01-09:30"
        );
        assert_eq!(UtcOffset::from_minutes(1440), None);
    }

    #[test]
    fn a_clock_that_goes_back_is_followed() {
        let mut clock = at(2_000_000_000_000, 0);
        clock.set(1_000);
        assert_eq!(clock.iso8601(), b"1970-01-01T00:00:01+00:00");
    }

    proptest! {
        #[test]
        fn every_instant_fills_the_forms(unix_ms: u64, minutes in -1439i16..1440) {
            let clock = at(unix_ms, minutes);
            prop_assert!(clock.local().iter().all(u8::is_ascii_graphic) || clock.local()[20] == b' ');
            prop_assert!(clock.iso8601().iter().all(u8::is_ascii_graphic));
        }

        #[test]
        fn days_follow_each_other(day in 0u64..2_900_000) {
            let (y, m, d) = civil_from_days(day);
            let next = civil_from_days(day + 1);
            let first_of_next = if m == 12 { (y + 1, 1, 1) } else { (y, m + 1, 1) };
            prop_assert!(next == (y, m, d + 1) || next == first_of_next);
            prop_assert!(d <= 31 && (1..=12).contains(&m));
        }
    }
}
