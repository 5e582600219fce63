//! Texts with variables, as nginx writes them: `$name`, `${name}`, `$$` for a dollar.
//!
//! A template is parsed once, from the configuration, and rendered per request. What is not known is a fault at
//! parsing, with a guess at what was meant, so that rendering cannot fail. Rendering allocates only to grow `out`.

mod escape;
mod var;

use std::fmt;

use thiserror::Error;

pub use escape::Escape;
pub use var::{Var, var_names};

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct TemplateFault {
    /// Offset in bytes of the `$` in the text.
    pub offset: usize,
    /// The name as it was written, without `$` and braces; empty when there is none.
    pub name: String,
    /// A known name that is close to it.
    pub suggestion: Option<&'static str>,
    /// What is wrong.
    pub problem: TemplateProblem,
}

/// What is wrong with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TemplateProblem {
    /// No variable has this name.
    #[error("there is no variable of this name")]
    UnknownName,
    /// No name follows the `$`.
    #[error("a variable name must follow `$` (write `$$` for a dollar)")]
    NoName,
    /// `${` without `}`.
    #[error("`${{` has no closing brace")]
    NotClosed,
}

/// The values of one request.
pub trait Variables {
    /// Appends the value of `var` to `out` and nothing else. False, with nothing appended, when it has no value: a log then
    /// writes `-`, a header or redirect nothing.
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool;
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Var(Var),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Template, TemplateFault> {
        let mut template = Template::default();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (literal, tail) = rest.split_at(at);
            template.push_literal(literal);
            let offset = text.len() - tail.len();
            let tail = tail.get(1..).unwrap_or_default();
            if let Some(after) = tail.strip_prefix('$') {
                template.push_literal("$");
                rest = after;
                continue;
            }
            let (name, after) = split_name(tail, offset)?;
            let var = Var::parse(name).ok_or_else(|| TemplateFault {
                offset,
                name: name.to_owned(),
                suggestion: var::closest_name(name),
                problem: TemplateProblem::UnknownName,
            })?;
            template.pieces.push(Piece::Var(var));
            rest = after;
        }
        template.push_literal(rest);
        Ok(template)
    }

    /// A template without variables; `$` means itself.
    pub fn literal(text: &str) -> Template {
        let mut template = Template::default();
        template.push_literal(text);
        template
    }

    fn push_literal(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Literal(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Literal(text.to_owned())),
        }
    }

    /// Appends the text to `out` with the values of `vars`, each escaped. Literal parts are never escaped.
    pub fn render(&self, vars: &dyn Variables, out: &mut Vec<u8>, escape: Escape) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Var(var) => {
                    let start = out.len();
                    if vars.write(var, out) {
                        escape::escape_tail(out, start, escape);
                    } else if escape == Escape::Log {
                        out.push(b'-');
                    }
                }
            }
        }
    }

    /// The variables in the order in which they stand, with repetitions.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Var(var) => Some(var),
            Piece::Literal(_) => None,
        })
    }

    /// Whether there are no variables, so that every rendering is the same.
    pub fn is_literal(&self) -> bool {
        self.vars().next().is_none()
    }

    /// Whether every rendering is empty.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Writes the template so that parsing it gives the same template.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => f.write_str(&text.replace('$', "$$"))?,
                Piece::Var(var) => write!(f, "${{{}}}", var.name())?,
            }
        }
        Ok(())
    }
}

/// Splits the name of a variable off the text after its `$`.
fn split_name(tail: &str, offset: usize) -> Result<(&str, &str), TemplateFault> {
    let fault = |problem| TemplateFault {
        offset,
        name: String::new(),
        suggestion: None,
        problem,
    };
    let (name, after) = match tail.strip_prefix('{') {
        Some(inner) => inner
            .split_once('}')
            .ok_or_else(|| fault(TemplateProblem::NotClosed))?,
        None => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            tail.split_at(tail.find(|c| !is_name(c)).unwrap_or(tail.len()))
        }
    };
    if name.is_empty() {
        Err(fault(TemplateProblem::NoName))
    } else {
        Ok((name, after))
    }
}

#[cfg(test)]
mod tests;
