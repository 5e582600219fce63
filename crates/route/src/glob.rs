//! Path globs: `*` within a segment, `**` across segments.
//!
//! Matching steps a set of pattern positions, held in one word, over the bytes of the path. Its time is linear in the path
//! whatever the pattern, so that no request can make a glob with many stars expensive.

use crate::normal::normal_escapes;

/// Most positions (literal bytes and stars) from the first star to the end of a glob.
pub const GLOB_TOKENS_MAX: usize = 127;

/// A compiled glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    /// As the user wrote it, for messages and comparison.
    pub(crate) source: Box<str>,
    /// Bytes before the first star: every path that matches begins with them.
    pub(crate) literal: Box<[u8]>,
    /// Class of each byte; class 0 is every byte that the pattern does not name.
    classes: Box<[u8; 256]>,
    /// For each class, the positions that are a literal of it.
    literals: Box<[u128]>,
    /// Positions of `*`.
    star: u128,
    /// Positions of `**`.
    deep: u128,
    /// Positions of the `**/` of `/**/`: nothing, or anything up to and with a slash.
    deep_slash: u128,
    /// Bit of the end of the pattern.
    end: u128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(u8),
    Star,
    Deep,
    DeepSlash,
}

impl Glob {
    pub(crate) fn new(source: &str) -> Result<Self, String> {
        let tokens = tokens(source)?;
        let first_star = tokens
            .iter()
            .position(|token| !matches!(token, Token::Literal(_)))
            .unwrap_or(tokens.len());
        let (before, rest) = tokens.split_at(first_star);
        if rest.len() > GLOB_TOKENS_MAX {
            return Err(format!(
                "the glob has {} characters from its first `*` on; at most {GLOB_TOKENS_MAX} are allowed",
                rest.len()
            ));
        }
        let literal = before.iter().filter_map(|token| match token {
            Token::Literal(byte) => Some(*byte),
            _ => None,
        });
        let mut glob = Self {
            source: source.into(),
            literal: literal.collect(),
            classes: Box::new([0; 256]),
            literals: Box::new([]),
            star: 0,
            deep: 0,
            deep_slash: 0,
            end: 1 << rest.len(),
        };
        let mut literals = vec![0];
        for (at, token) in rest.iter().enumerate() {
            let bit = 1u128 << at;
            match *token {
                Token::Literal(byte) => {
                    let class = &mut glob.classes[usize::from(byte)];
                    if *class == 0 {
                        // At most GLOB_TOKENS_MAX classes, so the number fits.
                        *class = literals.len() as u8;
                        literals.push(0);
                    }
                    literals[usize::from(*class)] |= bit;
                }
                Token::Star => glob.star |= bit,
                Token::Deep => glob.deep |= bit,
                Token::DeepSlash => glob.deep_slash |= bit,
            }
        }
        glob.literals = literals.into_boxed_slice();
        Ok(glob)
    }

    /// The pattern has no star: it is an exact path.
    pub(crate) fn is_literal(&self) -> bool {
        self.end == 1
    }

    /// The pattern is a literal and a last `**`: it is a plain prefix.
    pub(crate) fn is_prefix(&self) -> bool {
        self.end == 2 && self.deep == 1
    }

    pub(crate) fn is_match(&self, path: &[u8]) -> bool {
        let Some(rest) = path.strip_prefix(&*self.literal) else {
            return false;
        };
        let mut states = self.entered(1);
        for &byte in rest {
            let class = usize::from(self.classes[usize::from(byte)]);
            let mut entering = (states & self.literals[class]) << 1;
            let mut staying = states & (self.deep | self.deep_slash);
            if byte == b'/' {
                entering |= (states & self.deep_slash) << 1;
            } else {
                staying |= states & self.star;
            }
            // Leaving a star is always allowed; leaving `**/` only at a slash, handled above.
            entering |= (staying & (self.star | self.deep)) << 1;
            states = staying | self.entered(entering);
            if states == 0 {
                return false;
            }
        }
        states & self.end != 0
    }

    /// Positions reached on entering some: every kind of star can stand for nothing. Two rounds are enough because
    /// parsing leaves no longer runs of stars than `**/` before `*` or `**`.
    fn entered(&self, states: u128) -> u128 {
        let skippable = self.star | self.deep | self.deep_slash;
        let once = states | (states & skippable) << 1;
        once | (once & skippable) << 1
    }
}

fn tokens(source: &str) -> Result<Vec<Token>, String> {
    if !source.starts_with('/') && !source.starts_with("**") {
        return Err(format!(
            "a glob covers the whole path, which begins with a slash: write `/{source}`, or begin with `**`"
        ));
    }
    let bytes = normal_escapes(source)?;
    if bytes
        .split(|&byte| byte == b'/')
        .any(|segment| matches!(segment, b"." | b".."))
    {
        return Err(
            "a glob has no `.` or `..` segments; paths are resolved before they are matched"
                .to_owned(),
        );
    }
    let mut tokens: Vec<Token> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let stars = bytes[at..].iter().take_while(|&&byte| byte == b'*').count();
        let before = tokens.last().copied();
        at += stars.max(1);
        match (stars, before) {
            (0, Some(Token::Literal(b'/') | Token::DeepSlash)) if byte == b'/' => {}
            (0, _) => tokens.push(Token::Literal(byte)),
            (1, _) => tokens.push(Token::Star),
            (_, Some(Token::DeepSlash)) if bytes.get(at) == Some(&b'/') => at += 1,
            (_, Some(Token::Literal(b'/'))) if bytes.get(at) == Some(&b'/') => {
                tokens.push(Token::DeepSlash);
                at += 1;
            }
            _ => tokens.push(Token::Deep),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_mean_what_the_guide_says() {
        for (glob, path, matches) in [
            ("/a/*/b", "/a/x/b", true),
            ("/a/*/b", "/a//b", true),
            ("/a/*/b", "/a/x/y/b", false),
            ("/a/**/b", "/a/b", true),
            ("/a/**/b", "/a/x/y/b", true),
            ("/a/**/b", "/a/xb", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/x/y", true),
            ("/a/**", "/a", false),
            ("/videos/*", "/videos/1", true),
            ("/videos/*", "/videos/", true),
            ("/videos/*", "/videos/1/2", false),
            ("**.jpg", "/a/b.jpg", true),
            ("**.jpg", "/a/b.jpg/c", false),
            ("**/*.jpg", "/b.jpg", true),
            ("/*.jpg", "/a/b.jpg", false),
            ("/a*b*c", "/axbxbxc", true),
            ("/exact", "/exact", true),
            ("/exact", "/exact/", false),
            ("/a/**/**/b", "/a/b", true),
            ("/a/**/*", "/a/x", true),
            ("/a***b", "/a/x/b", true),
            ("/caf\u{e9}/*", "/caf%C3%A9/x", true),
            ("/%61/*", "/a/x", true),
            ("//a//*", "/a/x", true),
        ] {
            assert_eq!(
                Glob::new(glob).unwrap().is_match(path.as_bytes()),
                matches,
                "{glob} {path}"
            );
        }
        for glob in ["", "a/*", "*.jpg", "/a?", "/a/../*", "/%zz*"] {
            assert!(Glob::new(glob).is_err(), "{glob}");
        }
        assert!(Glob::new(&format!("/{}*", "a".repeat(1000))).is_ok());
        assert!(Glob::new(&format!("/*{}", "a".repeat(126))).is_ok());
        assert!(Glob::new(&format!("/*{}", "a".repeat(127))).is_err());
    }

    /// The same meaning as a regular expression.
    fn reference(glob: &str) -> regex::Regex {
        let mut text = String::from(r"(?s)\A");
        let mut rest = glob;
        while let Some(next) = rest.chars().next() {
            let stars = rest.len() - rest.trim_start_matches('*').len();
            if let Some(after) = rest.strip_prefix("/**/") {
                text.push_str("/(?:.*/)?");
                // The slash may begin the next `/**/`.
                rest = after;
                while let Some(after) = rest.strip_prefix("**/") {
                    rest = after;
                }
            } else if stars > 0 {
                text.push_str(if stars == 1 { "[^/]*" } else { ".*" });
                rest = &rest[stars..];
            } else {
                text.push_str(&regex::escape(&next.to_string()));
                rest = &rest[next.len_utf8()..];
            }
        }
        text.push_str(r"\z");
        regex::Regex::new(&text).unwrap()
    }

    proptest! {
        #[test]
        fn same_as_the_regular_expression(
            glob in "/([ab]|\\*|\\*\\*|/\\*\\*/|[ab]/){0,8}",
            paths in prop::collection::vec("/([ab]{0,2}/){0,3}[ab]{0,3}", 1..8),
        ) {
            prop_assume!(!glob.contains("//") && !glob.contains("***"));
            let compiled = Glob::new(&glob).unwrap();
            let reference = reference(&glob);
            for path in paths {
                prop_assert_eq!(compiled.is_match(path.as_bytes()), reference.is_match(&path), "{} {}", glob, path);
            }
        }
    }
}
