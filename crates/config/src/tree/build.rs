//! Builds the tree from the parser's events: aliases expanded, merge keys merged, all limits kept.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::lines::Lines;
use super::{Budget, DEPTH_MAX, Key, Node, VALUES_MAX, Value, scalar_cost, syntax};
use crate::diagnostic::{Code, Diagnostic, codes};
use crate::source::Sources;
use crate::span::{FileId, Span};

/// Reads one file. `None` when it cannot be read on, or when it has no value at all; what is wrong
/// is added to `found`.
pub(crate) fn parse(
    file: FileId,
    sources: &Sources,
    budget: &mut Budget,
    found: &mut Vec<Diagnostic>,
) -> Option<Node> {
    let text = &*sources.file(file)?.text;
    if let Some(report) = syntax::forbidden(text, file, sources) {
        found.push(report);
        return None;
    }
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        lines: Lines::new(text, file),
        sources,
        budget,
        found,
        anchors: HashMap::new(),
    };
    match builder.stream() {
        Ok(node) => node,
        Err(report) => {
            builder.found.push(*report);
            None
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    lines: Lines<'a>,
    sources: &'a Sources,
    budget: &'a mut Budget,
    found: &'a mut Vec<Diagnostic>,
    /// Finished values by anchor.
    anchors: HashMap<usize, Anchored>,
}

/// A value that an alias can name.
struct Anchored {
    node: Node,
    cost: usize,
    height: usize,
}

/// A report after which the file cannot be read on.
type Fatal = Box<Diagnostic>;

impl<'a> Builder<'a> {
    fn report(&self, code: &'static Code, span: Span, what: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.sources, span, what)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fatal> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.lines.span(span))),
            Some(Err(error)) => Err(Box::new(syntax::report(&error, &self.lines, self.sources))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stream(&mut self) -> Result<Option<Node>, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    let report = self.report(
                        &codes::DOCUMENTS,
                        span,
                        "a second YAML document starts here",
                    );
                    return Err(Box::new(report.help(
                        "remove the `---` line, or move what follows to a file of its own and name it in `include`",
                    )));
                }
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fatal> {
        if depth > DEPTH_MAX {
            return Err(self.too_deep(span));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.charge(scalar_cost(&text), span)?;
                let span = self.lines.trimmed(span);
                let plain = style == ScalarStyle::Plain;
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
                    _ => Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                };
                (Node { span, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.charge(1, span)?;
                (self.list(span, depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.charge(1, span)?;
                (self.map(span, depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            _ => (
                Node {
                    span,
                    value: Value::Null,
                },
                0,
            ),
        };
        if anchor > 0 {
            let (cost, height) = (node.cost(), node.height());
            self.charge(cost, span)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    cost,
                    height,
                },
            );
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, Fatal> {
        let Some((cost, height)) = self.anchors.get(&anchor).map(|a| (a.cost, a.height)) else {
            let what = "this alias stands inside the value that it names";
            let report = self.report(&codes::SYNTAX, span, what);
            return Err(Box::new(
                report
                    .why("its expansion would never end")
                    .help("remove the alias, or write the value out"),
            ));
        };
        if depth + height > DEPTH_MAX {
            return Err(self.too_deep(span));
        }
        self.charge(cost, span)?;
        match self.anchors.get(&anchor) {
            Some(anchored) => Ok(anchored.node.clone()),
            None => Ok(Node {
                span,
                value: Value::Null,
            }),
        }
    }

    fn too_deep(&self, span: Span) -> Fatal {
        let what = format!("values are nested more than {DEPTH_MAX} deep");
        Box::new(
            self.report(&codes::TOO_DEEP, span, what)
                .help("check that every `{` and `[` is closed where it should be"),
        )
    }

    fn charge(&mut self, cost: usize, span: Span) -> Result<(), Fatal> {
        if self.budget.take(cost) {
            return Ok(());
        }
        let what = format!("there are more than {VALUES_MAX} values, aliases expanded");
        Err(Box::new(
            self.report(&codes::TOO_MANY_VALUES, span, what)
                .help("check for aliases of lists that hold aliases"),
        ))
    }

    fn tag(&mut self, tag: Option<&Tag>, span: Span) {
        let Some(tag) = tag else { return };
        let shown = match tag.handle.as_str() {
            "tag:yaml.org,2002:" => format!("!!{}", tag.suffix),
            handle => format!("{handle}{}", tag.suffix),
        };
        let report = self.report(&codes::TAG, span, format!("the tag `{shown}` is used"));
        self.found
            .push(report.help("remove the tag; put a value in quotes to make it text"));
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Node, Fatal> {
        let mut items: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                let last = items.last().map(|item| item.span);
                return Ok(Node {
                    span: whole(start, last, span),
                    value: Value::List(items),
                });
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Node, Fatal> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut merges: Vec<(Span, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                let last = entries.last().map(|(_, value)| value.span);
                self.merge(&mut entries, &mut seen, merges);
                return Ok(Node {
                    span: whole(start, last, span),
                    value: Value::Map(entries),
                });
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let mut value = self.node(event, span, depth + 1)?;
            if matches!(value.value, Value::Null) && value.span.start == value.span.end {
                value.span = key.span;
            }
            let Value::Scalar { text, plain } = key.value else {
                let what = format!("{} cannot be a key", key.describe());
                let report = self.report(&codes::KEY_NOT_TEXT, key.span, what);
                self.found.push(report.help("write the key as a word; a value that starts with `{`, `[` or `?` needs quotes"));
                continue;
            };
            if plain && text == "<<" {
                merges.push((key.span, value));
            } else if let Some(&at) = seen.get(&text) {
                let first = entries[at].0.span;
                let what = format!("the key `{text}` stands twice in this map");
                let report = self.report(&codes::DUPLICATE_KEY, key.span, what);
                self.found.push(
                    report
                        .related(self.sources, first, "first here")
                        .help("remove one of them, or merge the two"),
                );
            } else {
                seen.insert(text.clone(), entries.len());
                entries.push((
                    Key {
                        text,
                        span: key.span,
                    },
                    value,
                ));
            }
        }
    }

    /// Adds the entries of the merged maps; keys that stand in the map itself win, then earlier maps.
    fn merge(
        &mut self,
        entries: &mut Vec<(Key, Node)>,
        seen: &mut HashMap<String, usize>,
        merges: Vec<(Span, Node)>,
    ) {
        for (span, node) in merges {
            let maps = match node.value {
                Value::List(items) => items,
                _ => vec![node],
            };
            for map in maps {
                let Value::Map(inner) = map.value else {
                    let what = format!("`<<` merges maps, this is {}", map.describe());
                    let report = self.report(&codes::MERGE, span, what);
                    self.found.push(report.help("name a map: `<<: *defaults`"));
                    continue;
                };
                for (key, value) in inner {
                    if !seen.contains_key(&key.text) {
                        seen.insert(key.text.clone(), entries.len());
                        entries.push((key, value));
                    }
                }
            }
        }
    }
}

/// The span of a list or map. The end of a block is only known at the next token, which may stand
/// lines below, so the last value's end is taken when there is one and the text has no closing bracket.
fn whole(start: Span, last: Option<Span>, end: Span) -> Span {
    let closed = end.end.offset > end.start.offset;
    let end = match last {
        Some(last)
            if !closed && last.file == start.file && last.end.offset >= start.start.offset =>
        {
            last.end
        }
        _ if end.end.offset >= start.start.offset => end.end,
        _ => start.end,
    };
    Span { end, ..start }
}

/// A value of a table, such as a default, as it would be written; every part of it gets `span`.
pub(crate) fn fragment(text: &str, span: Span) -> Node {
    let null = Node {
        span,
        value: Value::Null,
    };
    if !text.starts_with(['[', '{', '"']) {
        return Node {
            span,
            value: Value::Scalar {
                text: text.to_owned(),
                plain: true,
            },
        };
    }
    let mut sources = Sources::default();
    let file = sources.add(String::new(), text.into());
    let mut found = Vec::new();
    let mut node = parse(file, &sources, &mut Budget::default(), &mut found).unwrap_or(null);
    debug_assert!(found.is_empty(), "a value of a table is not YAML: {text}");
    node.place(span);
    node
}

impl Node {
    fn place(&mut self, span: Span) {
        self.span = span;
        match &mut self.value {
            Value::Null | Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.place(span)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.span = span;
                    value.place(span);
                }
            }
        }
    }
}
