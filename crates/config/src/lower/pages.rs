//! Error pages and the bodies of fixed answers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Lower;
use crate::decode::{Data, Fields, Item, Text, read_reference};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{ErrorPage, ErrorPages};
use crate::span::{Span, Spanned};
use crate::values;

const TEXT_TYPE: &str = "text/plain; charset=utf-8";

impl Lower<'_> {
    pub(super) fn error_pages(&mut self, entries: Vec<(Spanned<String>, Item)>) -> ErrorPages {
        let mut by_class: HashMap<u16, (Arc<ErrorPage>, Span)> = HashMap::new();
        let mut by_code: HashMap<u16, (Arc<ErrorPage>, Span)> = HashMap::new();
        for (name, item) in entries {
            let Ok(set) = values::status_set(&name) else {
                continue;
            };
            let Some(page) = self.page(item) else {
                continue;
            };
            let page = Arc::new(page);
            for (map, statuses, unit) in [
                (&mut by_class, &set.classes, "xx"),
                (&mut by_code, &set.codes, ""),
            ] {
                for status in statuses {
                    if let Some((_, first)) = map.insert(*status, (Arc::clone(&page), name.span)) {
                        self.status_twice(&format!("{status}{unit}"), name.span, first);
                        break;
                    }
                }
            }
        }
        let mut pages = ErrorPages::default();
        for (class, (page, _)) in by_class {
            for status in class * 100..class * 100 + 100 {
                pages.insert(status, Arc::clone(&page));
            }
        }
        for (status, (page, _)) in by_code {
            pages.insert(status, page);
        }
        pages
    }

    fn status_twice(&mut self, status: &str, span: Span, first: Span) {
        let sources = self.input.sources;
        let what = format!("there are two pages for {status}");
        self.report(&codes::STATUS_TWICE, span, what, |report| {
            report
                .related(sources, first, "the other one")
                .help("keep one; a code or range wins over a class, so `404` beside `4xx` is fine")
        });
    }

    fn page(&mut self, item: Item) -> Option<ErrorPage> {
        match item.data {
            Data::Text(text) => {
                let (body, content_type) = body(text);
                Some(ErrorPage { body, content_type })
            }
            Data::Fields(fields) => self.page_in_full(fields),
            _ => None,
        }
    }

    fn page_in_full(&mut self, mut fields: Fields) -> Option<ErrorPage> {
        let file: Option<Spanned<String>> = fields.get(&keys::PAGE_FILE);
        let text: Option<Spanned<Text>> = fields.get(&keys::PAGE_TEXT);
        let own: Option<String> = fields.get(&keys::PAGE_TYPE);
        let text = match (file, text) {
            (Some(file), _) => {
                let path = file.value.strip_prefix("file:").unwrap_or(&file.value);
                let read = read_reference(self.input, self.found, file.span, path)?;
                Text {
                    text: String::new(),
                    file: Some(read),
                }
            }
            (None, Some(text)) => text.value,
            (None, None) => return None,
        };
        let (body, by_ending) = body(text);
        Some(ErrorPage {
            body,
            content_type: own.unwrap_or(by_ending),
        })
    }
}

/// The bytes of a body and its type.
pub(super) fn body(text: Text) -> (Arc<[u8]>, String) {
    match text.file {
        Some((path, bytes)) => (bytes.into(), by_ending(&path).to_owned()),
        None => (text.text.into_bytes().into(), TEXT_TYPE.to_owned()),
    }
}

/// Media types of the files that one answers with.
fn by_ending(path: &Path) -> &'static str {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "txt" | "" => TEXT_TYPE,
        _ => "application/octet-stream",
    }
}
