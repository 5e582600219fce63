//! The JSON Schema (draft 2020-12) of the configuration, for completion and checks in editors.

use serde_json::{Map, Value, json};

use crate::keys::{Default, EXTENSION_PREFIX, Form, Key, Kind, TABLES, TOP, Table, Words};

/// The JSON Schema of a configuration file, short forms included. It refuses whatever the loader refuses by
/// type, unit, range or key; what only the loader can see (names that refer to nothing, addresses) it accepts.
pub fn schema() -> Value {
    let mut defs = Map::new();
    for table in TABLES.iter().filter(|table| table.id != TOP.id) {
        defs.insert(table.id.to_owned(), section(table));
    }
    let mut root = section(&TOP);
    if let Value::Object(root) = &mut root {
        root.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert("title".to_owned(), json!("evenkeel configuration"));
        let any = format!("^{EXTENSION_PREFIX}");
        root.insert("patternProperties".to_owned(), json!({ any: {} }));
        root.insert("$defs".to_owned(), Value::Object(defs));
    }
    root
}

fn section(table: &Table) -> Value {
    let properties: Map<String, Value> = table
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(|key| matches!(key.default, Default::Required))
        .map(|key| key.name)
        .collect();
    let mut out = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if let Value::Object(out) = &mut out {
        if !required.is_empty() && table.id != TOP.id {
            out.insert("required".to_owned(), json!(required));
        }
        if !table.one_of.is_empty() {
            let each: Vec<Value> = table
                .one_of
                .iter()
                .map(|name| json!({ "required": [name] }))
                .collect();
            out.insert("oneOf".to_owned(), json!(each));
        }
    }
    out
}

fn property(key: &Key) -> Value {
    let mut out = kind(&key.kind);
    let mut about = key.about.to_owned();
    if let Default::Absent(meaning) | Default::Value(meaning) = key.default {
        about.push_str(&format!(" Default: {meaning}."));
    }
    if let Value::Object(out) = &mut out {
        out.insert("description".to_owned(), json!(about));
        if let Some(default) = default_value(key) {
            out.insert("default".to_owned(), default);
        }
    }
    out
}

fn default_value(key: &Key) -> Option<Value> {
    let Default::Value(text) = key.default else {
        return None;
    };
    Some(crate::tree::fragment(text, crate::Span::default()).to_json())
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::Percent { .. } => json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$" }),
        Kind::Duration { .. } => {
            json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$" })
        }
        Kind::Size { .. } => {
            json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([KkMmGgTt][Ii]?)?[Bb]$" })
        }
        Kind::Text(form) => text(form),
        Kind::Words(words) => word(words),
        Kind::WordOr(words, other) => json!({ "anyOf": [word(words), kind(other)] }),
        Kind::PercentOr { min, max, other } => json!({ "anyOf": [
            kind(&Kind::Percent { min: *min, max: *max }),
            kind(other),
        ] }),
        Kind::Section(table) => json!({ "$ref": format!("#/$defs/{}", table.id) }),
        Kind::Map { name, value, min } => {
            let mut out = json!({
                "type": "object",
                "additionalProperties": kind(value),
                "minProperties": min,
            });
            if let (Some(pattern), Value::Object(out)) = (name.pattern, &mut out) {
                out.insert("propertyNames".to_owned(), json!({ "pattern": pattern }));
            }
            out
        }
        Kind::List { item, min } => {
            json!({ "type": "array", "items": kind(item), "minItems": min })
        }
        Kind::OneOrMany { item, min } => json!({ "anyOf": [
            kind(item),
            { "type": "array", "items": kind(item), "minItems": min },
        ] }),
        Kind::Shape { scalar, list, map } => {
            let shapes: Vec<Value> = [scalar, list, map]
                .into_iter()
                .flatten()
                .map(|shape| kind(shape))
                .collect();
            json!({ "anyOf": shapes })
        }
    }
}

/// A scalar without quotes that YAML takes for a number or boolean is a text where a text is needed.
fn text(form: &Form) -> Value {
    let mut string = json!({ "type": "string", "title": form.name });
    if let Value::Object(string) = &mut string {
        if let Some(pattern) = form.pattern {
            string.insert("pattern".to_owned(), json!(pattern));
        } else if !form.empty {
            string.insert("minLength".to_owned(), json!(1));
        }
    }
    if !form.plain {
        return string;
    }
    json!({ "anyOf": [string, { "type": ["number", "boolean"] }] })
}

fn word(words: Words) -> Value {
    let mut each = Vec::new();
    for (word, about) in words {
        each.push(json!({ "const": word, "description": about }));
        // `301`, `1.2` and `true` without quotes are no texts to YAML.
        if let Ok(number) = word.parse::<u64>() {
            each.push(json!({ "const": number, "description": about }));
        } else if let Ok(number) = word.parse::<f64>() {
            each.push(json!({ "const": number, "description": about }));
        } else if let Ok(flag) = word.parse::<bool>() {
            each.push(json!({ "const": flag, "description": about }));
        }
    }
    json!({ "oneOf": each })
}
