//! Text of a report, in the manner of rustc.
//!
//! Source lines come from files that anybody may have written: control characters are made
//! visible, and a long line is cut around the place that is meant.

use super::{Diagnostic, Excerpt, Severity};

/// Longest stretch of a source line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;
/// Characters kept in front of the marked place when a line is cut.
const LEAD_CHARS: usize = 40;

/// Colours of a terminal, or nothing.
struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, escape: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{escape}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
    fn frame(&self, text: &str) -> String {
        self.with("1;34", text)
    }
    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }
}

pub(super) fn render(d: &Diagnostic, colour: bool) -> String {
    let paint = Paint { on: colour };
    let (word, escape) = match d.severity() {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let mut out = String::new();
    out.push_str(&paint.with(escape, &format!("{word}[{}]", d.code.id)));
    out.push_str(&paint.bold(&format!(": {}", visible(&d.what))));
    out.push('\n');
    let gutter = std::iter::once(&d.at)
        .chain(d.related.iter().map(|related| &related.at))
        .map(|at| at.line.to_string().len())
        .max()
        .unwrap_or(1);
    if !d.at.file.is_empty() {
        excerpt(&mut out, &paint, &d.at, gutter, ("-->", '^', escape), "");
    }
    for related in &d.related {
        excerpt(
            &mut out,
            &paint,
            &related.at,
            gutter,
            (":::", '-', "1;34"),
            &related.text,
        );
    }
    let pad = " ".repeat(gutter);
    let mut note = |name: &str, text: &str| {
        let indent = format!("\n{pad}   {}", " ".repeat(name.len() + 2));
        let lines: Vec<String> = text.split('\n').map(visible).collect();
        let text = lines.join(&indent);
        let line = format!("{pad} {} {}: {text}\n", paint.frame("="), paint.bold(name));
        out.push_str(&line);
    };
    note("why", &d.why);
    if let Some(guess) = &d.guess {
        note("guess", &format!("did you mean `{guess}`?"));
    }
    if let Some(help) = &d.help {
        note("help", help);
    }
    out
}

/// One place with its line. `style` is the arrow, the underline and its colour.
fn excerpt(
    out: &mut String,
    paint: &Paint,
    at: &Excerpt,
    gutter: usize,
    (arrow, mark, escape): (&str, char, &str),
    text: &str,
) {
    let pad = " ".repeat(gutter);
    let file = visible(&at.file);
    let place = if at.line > 0 {
        format!("{file}:{}:{}", at.line, at.column)
    } else {
        file
    };
    out.push_str(&format!("{pad}{} {place}\n", paint.frame(arrow)));
    let bar = paint.frame("|");
    if let (Some(source), true) = (&at.source, at.line > 0) {
        let (line, start, width) = cut(source, at.column as usize, at.width as usize);
        let number = paint.frame(&format!("{:>gutter$}", at.line));
        let marks: String = std::iter::repeat_n(mark, width).collect();
        let text = if text.is_empty() {
            String::new()
        } else {
            format!(" {}", visible(text))
        };
        out.push_str(&format!("{pad} {bar}\n{number} {bar} {line}\n"));
        let marks = paint.with(escape, &format!("{marks}{text}"));
        out.push_str(&format!("{pad} {bar} {}{marks}\n", " ".repeat(start)));
    } else if !text.is_empty() {
        out.push_str(&format!("{pad} {bar} {}\n", visible(text)));
    }
}

/// The part of a line to show, where its marked place starts in it, and how wide that is.
fn cut(source: &str, column: usize, width: usize) -> (String, usize, usize) {
    let chars: Vec<char> = source.chars().map(shown).collect();
    let start = column.saturating_sub(1).min(chars.len());
    if chars.len() <= SHOWN_CHARS_MAX {
        let width = width.min(chars.len().saturating_sub(start)).max(1);
        return (chars.into_iter().collect(), start, width);
    }
    let from = start.saturating_sub(LEAD_CHARS);
    let to = (from + SHOWN_CHARS_MAX).min(chars.len());
    let width = width.min(to - start).max(1);
    let mut line = String::new();
    let mut before = start - from;
    if from > 0 {
        line.push('…');
        before += 1;
    }
    line.extend(&chars[from..to]);
    if to < chars.len() {
        line.push('…');
    }
    (line, before, width)
}

/// A character that takes one column and cannot steer a terminal.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || is_steering(c) => '\u{fffd}',
        c => c,
    }
}

/// Bidirectional overrides and the like, which make a line look other than it is.
fn is_steering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Text of a message, with control characters written out.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_control() || is_steering(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&render(diagnostic, colour));
        out.push('\n');
    }
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|d| d.severity() == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => {}
        (0, w) => out.push_str(&format!("{}\n", plural(w, "warning"))),
        (e, 0) => out.push_str(&format!("{}\n", plural(e, "error"))),
        (e, w) => out.push_str(&format!(
            "{}, {}\n",
            plural(e, "error"),
            plural(w, "warning")
        )),
    }
    out
}
