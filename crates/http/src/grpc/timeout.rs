//! grpc-timeout: `1*8DIGIT unit`.

use std::io::Write;
use std::time::Duration;

use super::GrpcFault;

/// The longest value: eight digits and a unit.
pub const TIMEOUT_BYTES_MAX: usize = 9;

/// The largest number of eight digits.
const NUMBER_MAX: u128 = 99_999_999;

const SECOND: u64 = 1_000_000_000;

/// Units with their nanoseconds, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', SECOND),
    (b'M', 60 * SECOND),
    (b'H', 3600 * SECOND),
];

/// Reads a grpc-timeout. Zero is taken, although the protocol asks for a positive number: clients send it when their
/// deadline has just passed.
pub fn parse_timeout(value: &[u8]) -> Result<Duration, GrpcFault> {
    let Some((unit, digits)) = value.split_last() else {
        return Err(GrpcFault::TimeoutMalformed);
    };
    let unit = UNITS.iter().find(|(name, _)| name == unit);
    let (Some((_, nanos)), 1..=8) = (unit, digits.len()) else {
        return Err(GrpcFault::TimeoutMalformed);
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(GrpcFault::TimeoutMalformed);
    }
    let number = digits
        .iter()
        .fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    let (seconds, nanos) = match nanos / SECOND {
        0 => (0, u64::from(number) * nanos),
        seconds => (u64::from(number) * seconds, 0),
    };
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// Appends a grpc-timeout in the finest unit in which `timeout` has at most eight digits, rounded down, but never
/// below a nanosecond; the most that can be said are 99,999,999 hours.
pub fn write_timeout(timeout: Duration, out: &mut Vec<u8>) {
    let nanos = timeout.as_nanos().max(1);
    let (unit, number) = UNITS
        .iter()
        .map(|&(unit, size)| (unit, nanos / u128::from(size)))
        .find(|&(_, number)| number <= NUMBER_MAX)
        .unwrap_or((b'H', NUMBER_MAX));
    // Writing into a Vec cannot fail.
    drop(write!(out, "{number}{}", char::from(unit)));
}
