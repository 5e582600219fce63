//! The patches of one list of servers.

use super::text::{Form, Style};
use super::{EditFault, EntryChange, NewEntry, Patch, PoolEdit, servers_of, tree_of};
use crate::model::Pool;
use crate::source::SourceFile;
use crate::tree::{Key, Node, Value};
use crate::{FileId, Sources, Span};

/// A list of servers in its text.
struct List<'a> {
    text: &'a str,
    items: &'a [Node],
    style: Style,
    /// `\n`, or `\r\n`.
    newline: &'static str,
}

/// The patches that make the change. None when nothing changes.
pub(super) fn patches(
    read: &SourceFile,
    file: FileId,
    sources: &Sources,
    pool: &Pool,
    change: &PoolEdit,
) -> Result<Vec<Patch>, EditFault> {
    let fault = |span: Span, why| EditFault::Form {
        place: sources.place(span),
        pool: pool.name.value.clone(),
        why,
    };
    let at = pool.name.span;
    let root = tree_of(file, sources);
    let found = root.as_ref().and_then(|root| servers_of(root, &pool.name));
    let Some((key, node)) = found else {
        return Err(fault(at, "are not where they were"));
    };
    let Value::List(items) = &node.value else {
        return Err(fault(node.span, "are no list"));
    };
    if items.len() != pool.servers.len() {
        return Err(fault(node.span, "are not as they were loaded"));
    }
    if change.removed.len() == items.len() && change.added.is_empty() {
        return Err(fault(node.span, "would be none at all"));
    }
    let text: &str = &read.text;
    let in_order = items.windows(2).all(|two| match two {
        [one, next] => one.span.end.offset <= next.span.start.offset,
        _ => true,
    });
    if !in_order {
        return Err(fault(node.span, "use an alias inside their list"));
    }
    let style = Style::of(text, key.span, node, items);
    let list = List {
        text,
        items,
        style,
        newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
    };
    let mut patches = Vec::new();
    for (position, new) in &change.changed {
        let Some(item) = list.items.get(*position) else {
            continue;
        };
        if !change.removed.contains(position) {
            let changed = list.change(item, new);
            patches.extend(
                changed.ok_or_else(|| fault(item.span, "have an entry of an unusual form"))?,
            );
        }
    }
    let moved = match list.style.form {
        Form::Block { .. } => list.block(change),
        Form::Line => list.line(change),
        Form::Lines => list.lines(change),
    };
    patches.extend(moved.ok_or_else(|| fault(node.span, "have an entry of an unusual form"))?);
    Ok(patches)
}

fn start(node: &Node) -> usize {
    node.span.start.offset as usize
}

impl List<'_> {
    fn end(&self, node: &Node) -> usize {
        super::text::end(self.text, node)
    }

    /// Where the line ends on which this offset stands, before its line break.
    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let end = rest.find('\n').map_or(self.text.len(), |found| at + found);
        match self
            .text
            .get(..end)
            .is_some_and(|text| text.ends_with('\r'))
            && end > at
        {
            true => end - 1,
            false => end,
        }
    }

    /// Where the next line starts.
    fn next_line(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find('\n')
            .map_or(self.text.len(), |found| at + found + 1)
    }

    /// Where the line starts on which this offset stands.
    fn line_start(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        before.rfind('\n').map_or(0, |found| found + 1)
    }

    /// The dash of a block entry.
    fn dash(&self, item: &Node) -> Option<usize> {
        let before = self.text.get(..start(item))?.trim_end();
        before.ends_with('-').then(|| before.len() - 1)
    }

    /// Changes values of an entry where they stand, or adds them to it.
    fn change(&self, item: &Node, new: &EntryChange) -> Option<Vec<Patch>> {
        let values = [
            ("weight", new.weight.map(|weight| weight.to_string())),
            ("down", new.down.map(|down| down.to_string())),
        ];
        let values = values
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let Value::Map(entries) = &item.value else {
            let written = self.text.get(start(item)..self.end(item))?;
            let mut pairs = vec![("address", written.to_owned())];
            pairs.extend(values);
            return Some(vec![(
                start(item)..self.end(item),
                self.style.flow_map(&pairs),
            )]);
        };
        let mut patches = Vec::new();
        let mut missing = Vec::new();
        for (name, value) in values {
            let here = |(key, old): &&(Key, Node)| {
                let inside = start(item)..self.end(item).max(start(old));
                key.text == name && inside.contains(&(key.span.start.offset as usize))
            };
            match entries.iter().find(here) {
                Some((_, old)) => patches.push((start(old)..self.end(old), value)),
                None => missing.push((name, value)),
            }
        }
        if missing.is_empty() {
            return Some(patches);
        }
        let is_flow = self.text.get(start(item)..)?.starts_with('{');
        let (at, more) = match is_flow {
            true => {
                let inside = self
                    .text
                    .get(start(item)..self.end(item))?
                    .strip_suffix('}')?;
                let kept = inside.trim_end();
                let comma = if kept.ends_with(['{', ',']) {
                    " "
                } else {
                    ", "
                };
                // A comment would swallow what is put after it.
                let last = kept.rsplit('\n').next().unwrap_or_default();
                if last.contains('#') {
                    return None;
                }
                let pairs = self.style.pairs(&missing);
                (start(item) + kept.len(), format!("{comma}{pairs}"))
            }
            false => {
                let indent = " ".repeat(item.span.start.column.saturating_sub(1) as usize);
                let line = |(name, value): &(&str, String)| {
                    format!("{}{indent}{}: {value}", self.newline, self.style.key(name))
                };
                let lines: String = missing.iter().map(line).collect();
                (self.line_end(self.end(item)), lines)
            }
        };
        patches.push((at..at, more));
        Some(patches)
    }

    /// Entries with dashes, each on lines of its own.
    fn block(&self, change: &PoolEdit) -> Option<Vec<Patch>> {
        let Form::Block { column } = self.style.form else {
            return None;
        };
        let mut patches = Vec::new();
        for position in &change.removed {
            let item = self.items.get(*position)?;
            let dash = self.dash(item)?;
            let line = self.line_start(dash);
            // Something else stands before the dash.
            if !self.text.get(line..dash)?.trim().is_empty() {
                return None;
            }
            patches.push((line..self.next_line(self.end(item)), String::new()));
        }
        if change.added.is_empty() {
            return Some(patches);
        }
        let last = self.items.last()?;
        self.dash(last)?;
        let at = self.next_line(self.end(last));
        let indent = " ".repeat(column);
        let open = at == self.text.len() && !self.text.ends_with('\n');
        let mut text = String::new();
        for new in &change.added {
            let entry = self.entry(new, &format!("{}{indent}  ", self.newline));
            let line = match open {
                true => format!("{}{indent}- {entry}", self.newline),
                false => format!("{indent}- {entry}{}", self.newline),
            };
            text.push_str(&line);
        }
        patches.push((at..at, text));
        Some(patches)
    }

    fn entry(&self, new: &NewEntry, next: &str) -> String {
        self.style.entry(new, next)
    }

    /// `[…]` on one line.
    fn line(&self, change: &PoolEdit) -> Option<Vec<Patch>> {
        if change.removed.is_empty() {
            let last = self.items.last()?;
            let added = change.added.iter();
            let text: String = added
                .map(|new| format!(", {}", self.entry(new, "")))
                .collect();
            let at = self.end(last);
            return Some(match text.is_empty() {
                true => Vec::new(),
                false => vec![(at..at, text)],
            });
        }
        // From the first entry that goes on: what stays there is moved together with its text.
        let gone = |at: &usize| change.removed.contains(at);
        let stays = |at: &usize| !gone(at);
        let (first, last) = (self.items.first()?, self.items.last()?);
        let mut patches = Vec::new();
        let mut before: Option<&Node> = None;
        for (at, item) in self.items.iter().enumerate() {
            if stays(&at) {
                before = Some(item);
            } else if let Some(before) = before {
                // With the comma before it.
                let from = self
                    .items
                    .get(at - 1)
                    .map_or(self.end(before), |it| self.end(it));
                patches.push((from..self.end(item), String::new()));
            } else {
                // With the comma after it.
                let next = self.items.get(at + 1).map_or(self.end(item), start);
                patches.push((start(item)..next, String::new()));
            }
        }
        let comma = if before.is_some() { ", " } else { "" };
        let added: Vec<String> = change.added.iter().map(|new| self.entry(new, "")).collect();
        if !added.is_empty() {
            let at = self.end(last).max(start(first));
            patches.push((at..at, format!("{comma}{}", added.join(", "))));
        }
        Some(patches)
    }

    /// `[…]` over several lines.
    fn lines(&self, change: &PoolEdit) -> Option<Vec<Patch>> {
        let last = self.items.last()?;
        let comma = |item: &Node| {
            let rest = self.text.get(self.end(item)..)?;
            let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            rest.get(blank..)?
                .starts_with(',')
                .then_some(self.end(item) + blank + 1)
        };
        let column = last.span.start.column.saturating_sub(1) as usize;
        let next = format!("{}{}", self.newline, " ".repeat(column));
        let mut added = change.added.iter().map(|new| self.entry(new, ""));
        let mut patches = Vec::new();
        let mut in_place = None;
        for position in &change.removed {
            let item = self.items.get(*position)?;
            let until = comma(item);
            if until.is_none() && std::ptr::eq(item, last) {
                // The comma before it stays: one may stand at the end.
                in_place = added.next();
                if let Some(new) = &in_place {
                    patches.push((start(item)..self.end(item), new.clone()));
                    continue;
                }
            }
            let (from, until) = (start(item), until.unwrap_or(self.end(item)));
            let (line, line_end) = (self.line_start(from), self.line_end(until));
            let alone = self.text.get(line..from)?.trim().is_empty();
            let nothing_after = {
                let after = self.text.get(until..line_end)?.trim_start();
                after.is_empty() || after.starts_with('#')
            };
            patches.push(match alone && nothing_after {
                true => (line..self.next_line(until), String::new()),
                false => (from..until, String::new()),
            });
        }
        let rest: Vec<String> = added.collect();
        if rest.is_empty() {
            return Some(patches);
        }
        let removed_last = change.removed.contains(&(self.items.len() - 1));
        let (at, text) = match (comma(last), removed_last && in_place.is_none()) {
            (Some(at), false) => (at, rest.iter().map(|new| format!("{next}{new},")).collect()),
            (None, false) => (
                self.end(last),
                rest.iter().map(|new| format!(",{next}{new}")).collect(),
            ),
            // Its line goes, comma and all.
            (Some(at), true) => {
                let at = self.next_line(at);
                let line = |new: &String| format!("{}{new},{}", " ".repeat(column), self.newline);
                (at, rest.iter().map(line).collect::<String>())
            }
            (None, true) => return None,
        };
        patches.push((at..at, text));
        Some(patches)
    }
}
