//! Regular expressions: parsed, bounded, anchored, and the literal beginnings by which the index finds them.
//!
//! Expressions work on bytes and without Unicode classes unless they say `(?u)`: paths and header values are bytes, and
//! `\w` then is what it is in the other proxies. The time of a match is linear in the input, so no expression can be made
//! to explode by a request.
//!
//! An expression becomes a table automaton when it is small enough, which nearly all in routes are: it needs no scratch
//! memory, so workers share nothing, and a cold one costs a few cache lines. One that would be large is left to the
//! `regex` crate's engines, which take scratch memory from a pool.

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::dfa::sparse::DFA;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, Look};

/// Longest expression, in bytes of source.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Largest compiled expression in bytes, and the largest cache of its matcher per thread.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups in an expression.
pub const REGEX_NEST_MAX: u32 = 64;

/// Most literal beginnings that are worth indexing; a pattern with more is indexed by none.
const LITERALS_MAX: usize = 16;
const LITERAL_BYTES_MAX: usize = 64;

/// Largest table automaton, in bytes, and the memory that building one may take.
const AUTOMATON_BYTES_MAX: usize = 64 << 10;
const AUTOMATON_BUILD_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one; a box is one more cold line"
)]
enum Engine {
    Automaton(DFA<Vec<u8>>, Anchored),
    General(Regex),
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Pattern {
    engine: Engine,
    /// As the user wrote it, for messages and comparison.
    pub(crate) source: Box<str>,
    /// Must match from the start of the text.
    pub(crate) at_start: bool,
    /// Every text that matches begins with one of these. One empty literal says nothing.
    pub(crate) beginnings: Box<[Box<[u8]>]>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.at_start == other.at_start && self.source == other.source
    }
}

impl Eq for Pattern {}

impl Pattern {
    pub(crate) fn new(source: &str, at_start: bool) -> Result<Self, String> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "the regular expression has {} bytes; at most {PATTERN_BYTES_MAX} are allowed",
                source.len()
            ));
        }
        let parsed = parse(source)?;
        let anchored = at_start || parsed.properties().look_set_prefix().contains(Look::Start);
        let beginnings = if anchored {
            beginnings(&parsed)
        } else {
            nothing_known()
        };
        let engine = match automaton(&parsed, anchored) {
            Some(automaton) => {
                let start = if anchored {
                    Anchored::Yes
                } else {
                    Anchored::No
                };
                Engine::Automaton(automaton, start)
            }
            None => Engine::General(general(source, parsed, at_start)?),
        };
        Ok(Self {
            engine,
            source: source.into(),
            at_start,
            beginnings,
        })
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            Engine::Automaton(automaton, start) => {
                let input = Input::new(text).anchored(*start).earliest(true);
                let found = automaton.try_search_fwd(&input);
                debug_assert!(
                    found.is_ok(),
                    "built for this kind of start and without quit bytes"
                );
                found.is_ok_and(|end| end.is_some())
            }
            Engine::General(regex) => regex.is_match(text),
        }
    }
}

fn parse(source: &str) -> Result<Hir, String> {
    ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(REGEX_NEST_MAX)
        .build()
        .parse(source)
        .map_err(|fault| format!("the regular expression cannot be read: {fault}"))
}

/// The table automaton of an expression, if it is small. None also for what tables cannot do (Unicode word borders).
fn automaton(parsed: &Hir, anchored: bool) -> Option<DFA<Vec<u8>>> {
    let nfa = NFA::compiler()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(thompson::WhichCaptures::None)
                .nfa_size_limit(Some(AUTOMATON_BUILD_BYTES_MAX)),
        )
        .build_from_hir(parsed)
        .ok()?;
    let dense = dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(if anchored {
                    StartKind::Anchored
                } else {
                    StartKind::Unanchored
                })
                .accelerate(false)
                .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                .determinize_size_limit(Some(AUTOMATON_BUILD_BYTES_MAX)),
        )
        .build_from_nfa(&nfa)
        .ok()?;
    dense.to_sparse().ok()
}

/// The general engine for an expression.
fn general(source: &str, parsed: Hir, at_start: bool) -> Result<Regex, String> {
    // Anchored on the parsed form: wrapping the text would change what `(?x)` comments and flags mean.
    let text = if at_start {
        Hir::concat(vec![Hir::look(Look::Start), parsed]).to_string()
    } else {
        source.to_owned()
    };
    let built = RegexBuilder::new(&text)
        .unicode(false)
        .nest_limit(REGEX_NEST_MAX * 2)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build();
    built.map_err(|fault| match fault {
        regex::Error::CompiledTooBig(max) => format!(
            "the regular expression needs more than {max} bytes when compiled; use smaller repetitions"
        ),
        other => format!("the regular expression cannot be compiled: {other}"),
    })
}

fn nothing_known() -> Box<[Box<[u8]>]> {
    Box::new([Box::from(&b""[..])])
}

/// Literal beginnings of an expression that is anchored at the start.
fn beginnings(parsed: &Hir) -> Box<[Box<[u8]>]> {
    let found = Extractor::new()
        .kind(ExtractKind::Prefix)
        .limit_total(LITERALS_MAX)
        .limit_literal_len(LITERAL_BYTES_MAX)
        .extract(parsed);
    let Some(literals) = found.literals() else {
        return nothing_known();
    };
    let mut all: Vec<Box<[u8]>> = literals
        .iter()
        .map(|literal| literal.as_bytes().into())
        .collect();
    all.sort_unstable();
    // One that begins with another adds nothing; after sorting the shorter comes first.
    let mut kept: Vec<Box<[u8]>> = Vec::with_capacity(all.len());
    for literal in all {
        if !kept
            .last()
            .is_some_and(|before| literal.starts_with(before))
        {
            kept.push(literal);
        }
    }
    kept.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(source: &str, at_start: bool) -> Vec<String> {
        let pattern = Pattern::new(source, at_start).unwrap();
        pattern
            .beginnings
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    #[test]
    fn literal_beginnings() {
        assert_eq!(begins("^/api/.*", false), ["/api/"]);
        assert_eq!(begins("/api/v[12]/x", true), ["/api/v1/x", "/api/v2/x"]);
        assert_eq!(
            begins("^/(static|images?)/", false),
            ["/image/", "/images/", "/static/"]
        );
        assert_eq!(begins("/api/", false), [""]);
        assert_eq!(begins("^/api|^/static", false), ["/api", "/static"]);
        assert_eq!(begins("^/api|/static", false), [""]);
        assert_eq!(begins("(?m)^/api", false), [""]);
        assert_eq!(begins(".*x", true), [""]);
        assert_eq!(begins("", true), [""]);
    }

    #[test]
    fn anchoring_keeps_the_meaning() {
        for (source, text, matches) in [
            ("a|b", "b", true),
            ("a|b", "xb", false),
            ("(?x) a # comment", "ab", true),
            ("(?x) a # comment", "ba", false),
            ("(?i)abc", "ABCd", true),
            ("(?m)^b", "a\nb", false),
            ("[^a]", "\u{e9}", true),
            ("caf\u{e9}$", "caf\u{e9}", true),
        ] {
            assert_eq!(
                Pattern::new(source, true)
                    .unwrap()
                    .is_match(text.as_bytes()),
                matches,
                "{source} {text}"
            );
        }
        assert!(Pattern::new("b", false).unwrap().is_match(b"ab"));
        assert!(Pattern::new(r"\xff", true).unwrap().is_match(b"\xff"));
    }

    #[test]
    fn both_engines_agree() {
        let texts = [
            "", "/", "/a", "/api/v1", "a\nb", "xbx", "\u{e9}", "/A/b", "aaab", "\0",
        ];
        for source in [
            "",
            "a",
            "^/a",
            "b$",
            "(?m)^b",
            r"\bv",
            "^$",
            "(?i)/a",
            "[^a]b",
            "a*$",
            "(a|ab)(c|$)",
        ] {
            for at_start in [false, true] {
                let parsed = parse(source).unwrap();
                let pattern = Pattern::new(source, at_start).unwrap();
                assert!(matches!(pattern.engine, Engine::Automaton(..)), "{source}");
                let general = general(source, parsed, at_start).unwrap();
                for text in texts {
                    let expected = general.is_match(text.as_bytes());
                    assert_eq!(
                        pattern.is_match(text.as_bytes()),
                        expected,
                        "{source} {text}"
                    );
                }
            }
        }
    }

    #[test]
    fn large_ones_are_left_to_the_general_engine() {
        for source in ["[ab]*a[ab]{14}", r"(?u)\bx"] {
            let pattern = Pattern::new(source, false).unwrap();
            assert!(matches!(pattern.engine, Engine::General(_)), "{source}");
        }
        let pattern = Pattern::new("[ab]*a[ab]{14}", true).unwrap();
        assert!(pattern.is_match(b"aaaaaaaaaaaaaaa"));
        assert!(!pattern.is_match(b"xaaaaaaaaaaaaaaa"));
    }

    #[test]
    fn faults_are_bounded_and_named() {
        assert!(Pattern::new("a)(b", true).is_err());
        assert!(
            Pattern::new("(", false)
                .unwrap_err()
                .contains("unclosed group")
        );
        assert!(
            Pattern::new("(a{1000}){1000}", false)
                .unwrap_err()
                .contains("when compiled")
        );
        assert!(Pattern::new(&"(".repeat(100), false).is_err());
        assert!(
            Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1), false)
                .unwrap_err()
                .contains("4097")
        );
    }
}
