//! Rust source with comments and literals blanked out, and the functions in it.
//!
//! Not a parser: just enough of a lexer that words in comments and strings are not taken for code. Line numbers are kept.

/// A function and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Lines from its signature to its closing brace.
    pub lines: usize,
}

/// The code, with every byte of a comment or a literal replaced by a space; line breaks stay.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let len = if rest.starts_with(b"//") {
            rest.iter()
                .position(|&byte| byte == b'\n')
                .unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if let Some(len) = raw_string(rest, before) {
            len
        } else if rest[0] == b'"' {
            string(rest)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(
            rest[..len]
                .iter()
                .map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }),
        );
        at += len;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`; `None` when this is something else, such as the end of a name.
fn raw_string(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if before.is_some_and(is_word) {
        return None;
    }
    let body = rest
        .strip_prefix(b"br")
        .or_else(|| rest.strip_prefix(b"r"))?;
    let hashes = body.iter().take_while(|&&byte| byte == b'#').count();
    if body.get(hashes) != Some(&b'"') {
        return None;
    }
    let opening = rest.len() - body.len() + hashes + 1;
    let closing: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let end = rest[opening..]
        .windows(closing.len())
        .position(|window| window == closing);
    Some(end.map_or(rest.len(), |end| opening + end + closing.len()))
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal; a lifetime is left alone but for its quote.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|&byte| byte == b'\'');
        return end.map_or(1, |end| end + 4).min(rest.len());
    }
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
    let Some(first) = text.chars().next() else {
        return 1;
    };
    match rest.get(1 + first.len_utf8()) {
        Some(b'\'') => first.len_utf8() + 2,
        _ => 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// True when the blanked code holds this word, as a word.
pub fn has_word(code: &str, word: &str) -> bool {
    words(code).any(|(_, have)| have == word)
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = code.as_bytes();
        while at < bytes.len() && !is_word(bytes[at]) {
            at += 1;
        }
        let from = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        (at > from).then(|| (from, &code[from..at]))
    })
}

/// All functions with a body in blanked code.
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut words = words(code).peekable();
    while let Some((at, word)) = words.next() {
        if word != "fn" {
            continue;
        }
        let Some(&(name_at, name)) = words.peek() else {
            break;
        };
        let between = &code[at + 2..name_at];
        if !between.chars().all(char::is_whitespace) {
            continue; // a function pointer type
        }
        if let Some(end) = body_end(&code[name_at..]) {
            let lines = code[at..name_at + end].matches('\n').count() + 1;
            found.push(Function {
                name: name.to_owned(),
                lines,
            });
        }
    }
    found
}

/// Offset of the closing brace of the first block; `None` when a `;` comes first.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            b';' if braces == 0 && others == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "let a = \"dbg!(\\\"\"; // todo!()\nlet b = r#\"un\"safe\"#; /* a /* b */ c */ let c = '\"'; d::<'a>('\\'');";
        let code = code(text);
        for word in ["dbg", "todo", "un", "safe", "b */"] {
            assert!(
                !code.contains(word) || word == "un" && !has_word(&code, "un"),
                "{word}: {code}"
            );
        }
        assert_eq!(code.matches('\n').count(), 1);
        assert!(code.contains("let c =") && code.contains("d::<"));
    }

    #[test]
    fn functions_are_measured() {
        let text = "fn a() {}\ntrait T {\n    fn b(&self);\n    fn c(&self) -> [u8; 2] {\n        if x { y }\n        z\n    }\n}\ntype F = fn(u8);\n";
        let found = functions(&code(text));
        let names: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.lines)).collect();
        assert_eq!(names, [("a", 1), ("c", 4)]);
    }
}
