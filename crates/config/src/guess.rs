//! What was probably meant by a word that is not known.

/// Longest word that is compared, in characters; the work grows with the square.
const WORD_CHARS_MAX: usize = 64;
/// Most words that are compared.
const WORDS_MAX: usize = 20_000;

/// The word nearest to `text`, when one is near enough to be worth a guess. The first of several.
pub(crate) fn closest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let typed = fold(text);
    if typed.is_empty() || typed.len() > WORD_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for word in words.into_iter().take(WORDS_MAX) {
        let folded = fold(word);
        let most = (typed.len().max(folded.len()) / 3).max(1);
        if folded.len() > WORD_CHARS_MAX || typed.len().abs_diff(folded.len()) > most {
            continue;
        }
        let far = distance(&typed, &folded);
        // A word of one or two letters is near to everything.
        let close = far <= most && far < typed.len().min(folded.len());
        if close && best.is_none_or(|(least, _)| far < least) {
            best = Some((far, word));
        }
    }
    best.map(|(_, word)| word)
}

/// Case and the choice between `-`, `_` and a space do not count.
fn fold(text: &str) -> Vec<char> {
    let plain = text
        .trim()
        .chars()
        .map(|c| if matches!(c, '-' | ' ') { '_' } else { c });
    plain.flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, changes and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j + 1] + 1)
                .min(row[j] + 1)
                .min(last[j] + usize::from(x != y));
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// Words in backquotes with commas, for a sentence. Long lists are cut.
pub(crate) fn join<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    const SHOWN_MAX: usize = 24;
    let words: Vec<&str> = words.into_iter().collect();
    let shown: Vec<String> = words
        .iter()
        .take(SHOWN_MAX)
        .map(|word| format!("`{word}`"))
        .collect();
    let mut out = shown.join(", ");
    if words.len() > SHOWN_MAX {
        out.push_str(&format!(" and {} more", words.len() - SHOWN_MAX));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_far() {
        let words = ["bind", "backlog", "timeouts", "round_robin", "least_conn"];
        for (typed, meant) in [
            ("bnid", Some("bind")),
            ("timeout", Some("timeouts")),
            ("Round-Robin", Some("round_robin")),
            ("leastconn", Some("least_conn")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, words), meant, "{typed}");
        }
    }

    #[test]
    fn a_swap_counts_once() {
        let (a, b): (Vec<char>, Vec<char>) = ("abcd".chars().collect(), "abdc".chars().collect());
        assert_eq!(distance(&a, &b), 1);
        assert_eq!(distance(&a, &[]), 4);
    }
}
