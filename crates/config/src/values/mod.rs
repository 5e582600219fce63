//! Reads the text of single values: addresses, networks, patterns, units, names.
//!
//! Every reader is a pure function from text to value or [`Fault`]; it never sees where the text
//! stands. The same functions check a text while the file is decoded and turn it into the model's value later.

mod address;
mod field;
mod logs;
mod pattern;
mod probe;
mod status;
mod tls;
mod units;

pub(crate) use address::{bind, host_header, network, server_address};
pub(crate) use field::{
    cookie_name, field_name, field_value, media_type, method, name, query_name, server_name, tag,
};
pub(crate) use logs::{log_format, log_target, redirect_target};
pub(crate) use pattern::{exact_path, glob, host_pattern, path, regex};
pub(crate) use probe::{
    answer_status, cookie_domain, cookie_path, dns_server, exchanged, grpc_service, json_path,
    request_path, secret, srv_name, token, user,
};
pub(crate) use status::status_set;
pub(crate) use tls::{
    certificate_name, cipher_suite, fingerprint, group, rate, tls_file, tls_name,
};
pub(crate) use units::{decimal, duration, percent, size, whole};

use crate::diagnostic::{Code, codes};

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// Code of the report.
    pub code: &'static Code,
    /// Follows the text in a sentence: `has no port`.
    pub says: String,
    /// How to mend it. May hold the text, so it is not shown when that came from `env:` or `file:`.
    pub help: Option<String>,
    /// What was probably meant. As for `help`.
    pub guess: Option<String>,
}

impl Fault {
    pub fn new(code: &'static Code, says: impl Into<String>) -> Fault {
        Fault {
            code,
            says: says.into(),
            help: None,
            guess: None,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    pub fn guess(mut self, guess: impl Into<String>) -> Fault {
        self.guess = Some(guess.into());
        self
    }
}

/// A text that is taken as it is; only control characters are refused.
pub(crate) fn any(text: &str) -> Result<(), Fault> {
    match text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
    {
        Some(c) => Err(Fault::new(
            &codes::BAD_FIELD_VALUE,
            format!("has the control character U+{:04X}", u32::from(c)),
        )),
        None => Ok(()),
    }
}

/// A text on one line without control characters.
pub(crate) fn line(text: &str) -> Result<(), Fault> {
    if text.contains(char::is_control) {
        return Err(Fault::new(&codes::BAD_FIELD_VALUE, "has a line break or a control character")
            .help("write it on one line; a block text (`|`, `>`) ends with a line break, `|-` and `>-` do not"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
