//! Single values as they are written in a configuration, for requests that bring them at run time.

use std::time::Duration;

use crate::model::Endpoint;
use crate::values::{self, Fault};

/// Longest duration that is taken, as of any timeout.
const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The address of a server: `host:port`.
///
/// # Errors
/// What is wrong with it and how to mend it.
pub fn address(text: &str) -> Result<Endpoint, String> {
    values::server_address(text).map_err(|fault| says(text, fault))
}

/// The name of a server.
///
/// # Errors
/// What is wrong with it and how to mend it.
pub fn server_name(text: &str) -> Result<(), String> {
    values::server_name(text).map_err(|fault| says(text, fault))
}

/// A duration with its unit, such as `30s`; at most 7 days.
///
/// # Errors
/// What is wrong with it and how to mend it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let ms = values::duration(text).map_err(|fault| says(text, fault))?;
    let duration = Duration::from_millis(ms);
    match duration <= DURATION_MAX {
        true => Ok(duration),
        false => Err(format!("`{text}` is longer than 7 days")),
    }
}

fn says(text: &str, fault: Fault) -> String {
    let shown = crate::tree::shorten(text);
    let mut out = format!("`{shown}` {}", fault.says);
    if let Some(guess) = fault.guess {
        out.push_str(&format!("; did you mean `{guess}`?"));
    } else if let Some(help) = fault.help {
        out.push_str(&format!("; {help}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_how_to_mend_it() {
        assert_eq!(address("10.0.0.1:80").map(|it| it.port), Ok(80));
        let fault = address("http://10.0.0.1").expect_err("a URL");
        assert!(fault.contains("did you mean `10.0.0.1:80`?"), "{fault}");
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(duration("30").is_err_and(|fault| fault.contains("`30s`")));
        assert!(duration("8d").is_err() && server_name("a b").is_err());
    }
}
