//! Formats of lines: the named ones, and templates of the configuration.

use keel_http::template::{Escape, Template, TemplateFault, Variables};

use super::json::JsonLine;

/// The named formats and their templates; `json` has a renderer of its own.
///
/// `combined` and `common` are those of nginx and Apache. `timed` adds the request's times, the
/// backend and the cache status; `main` adds `X-Forwarded-For`, the backend and its time.
pub const NAMED_FORMATS: [(&str, &str); 5] = [
    ("combined", COMBINED),
    (
        "common",
        r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent"#,
    ),
    (
        "timed",
        concat!(
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "#,
            r#""$http_referer" "$http_user_agent" rt=$request_time uct="$upstream_connect_time" "#,
            r#"uht="$upstream_header_time" urt="$upstream_response_time" "#,
            r#"backend="$upstream_addr" cache="$upstream_cache_status""#
        ),
    ),
    (
        "main",
        concat!(
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "#,
            r#""$http_referer" "$http_user_agent" "$http_x_forwarded_for" "#,
            r#"upstream="$upstream_addr" response_time="$upstream_response_time""#
        ),
    ),
    ("json", "one JSON object per line"),
];

const COMBINED: &str = concat!(
    r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "#,
    r#""$http_referer" "$http_user_agent""#
);

/// Longest template of a line, in bytes.
const FORMAT_BYTES_MAX: usize = 16 * 1024;

/// A format that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatFault {
    /// Text without a variable that is not the name of a format.
    #[error(
        "`{0}` is not a log format: use combined, common, timed, main, json, or a template with $variables"
    )]
    Name(String),
    /// A line feed or another control byte in the template would break lines apart.
    #[error("a log format must stay on one line: it has a control character at byte {offset}")]
    Control {
        /// Where, in bytes from the start.
        offset: usize,
    },
    /// The template is longer than 16 KiB.
    #[error("a log format may have at most {FORMAT_BYTES_MAX} bytes, this one has {0}")]
    Long(usize),
    /// A variable that does not exist, or a broken reference to one.
    #[error("the log format cannot be read: {}", described(.0))]
    Template(TemplateFault),
}

/// A template's fault with the place and the guess, in one sentence.
fn described(fault: &TemplateFault) -> String {
    let name = if fault.name.is_empty() {
        String::new()
    } else {
        format!(" in `${}`", fault.name)
    };
    let guess = fault
        .suggestion
        .map(|near| format!("; did you mean `${near}`?"));
    format!(
        "{}{name} at byte {}{}",
        fault.problem,
        fault.offset,
        guess.unwrap_or_default()
    )
}

/// Whether a format of the configuration can be used; the same check that opening a log makes.
pub fn check_format(format: &str) -> Result<(), FormatFault> {
    LineFormat::parse(format).map(drop)
}

/// A prepared format.
#[derive(Debug)]
pub(crate) enum LineFormat {
    Template(Template, Escape),
    Json(JsonLine),
}

impl LineFormat {
    /// Reads the name of a format, or a template. A template that begins with `{` is taken for JSON
    /// and its values are escaped so.
    pub(crate) fn parse(format: &str) -> Result<LineFormat, FormatFault> {
        if format == "json" {
            return Ok(LineFormat::Json(JsonLine::new()));
        }
        let named = NAMED_FORMATS.iter().find(|(name, _)| *name == format);
        let text = named.map_or(format, |(_, text)| text);
        if !text.contains('$') {
            return Err(FormatFault::Name(format.to_owned()));
        }
        if text.len() > FORMAT_BYTES_MAX {
            return Err(FormatFault::Long(text.len()));
        }
        if let Some(offset) = text
            .bytes()
            .position(|b| b.is_ascii_control() && b != b'\t')
        {
            return Err(FormatFault::Control { offset });
        }
        let escape = if text.trim_start().starts_with('{') && !text.trim_start().starts_with("${") {
            Escape::Json
        } else {
            Escape::Log
        };
        let template = Template::parse(text).map_err(FormatFault::Template)?;
        Ok(LineFormat::Template(template, escape))
    }

    /// Appends a line without its line feed.
    #[inline]
    pub(crate) fn render(&self, vars: &dyn Variables, out: &mut Vec<u8>) {
        match self {
            LineFormat::Template(template, escape) => template.render(vars, out, *escape),
            LineFormat::Json(line) => line.render(vars, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_format_is_readable() {
        for (name, _) in NAMED_FORMATS {
            assert_eq!(check_format(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn timed_is_the_format_of_the_presets() {
        let (_, timed) = NAMED_FORMATS[2];
        assert_eq!(
            timed,
            "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
             \"$http_referer\" \"$http_user_agent\" rt=$request_time \
             uct=\"$upstream_connect_time\" uht=\"$upstream_header_time\" \
             urt=\"$upstream_response_time\" backend=\"$upstream_addr\" \
             cache=\"$upstream_cache_status\""
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            check_format("combine"),
            Err(FormatFault::Name("combine".to_owned()))
        );
        assert_eq!(check_format(""), Err(FormatFault::Name(String::new())));
        assert_eq!(
            check_format("$status\n"),
            Err(FormatFault::Control { offset: 7 })
        );
        assert!(matches!(
            check_format("$statsu"),
            Err(FormatFault::Template(_))
        ));
        let long = "$status".repeat(3000);
        assert_eq!(check_format(&long), Err(FormatFault::Long(21_000)));
    }

    #[test]
    fn a_template_in_braces_is_json() {
        let escape = |text| match LineFormat::parse(text) {
            Ok(LineFormat::Template(_, escape)) => Some(escape),
            _ => None,
        };
        assert_eq!(escape(r#"{"u":"$request_uri"}"#), Some(Escape::Json));
        assert_eq!(escape("$request_uri {"), Some(Escape::Log));
    }
}
