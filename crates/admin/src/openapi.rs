//! The OpenAPI document, made of the list of routes.

use serde_json::{Map, Value, json};

use crate::routes::{Op, ROUTES, Route};

/// The whole document, OpenAPI 3.1.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item = paths
            .entry(route.path.to_owned())
            .or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.to_owned(), operation(route));
            let parameters = parameters(route.path);
            if !parameters.is_empty() {
                item.insert("parameters".to_owned(), parameters.into());
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "evenkeel admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Over the unix socket root and the process's own user may do everything. Over TCP everybody who reaches it may look; changes need the token or a client certificate.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [ { "url": "/" } ],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": {
                "Error": {
                    "description": "What is wrong, where, and how to mend it.",
                    "content": content(&json!({ "$ref": "#/components/schemas/Error" })),
                },
            },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "That of `admin: { token: … }`." },
                "certificate": { "type": "mutualTLS", "description": "One that the CA of `admin: { tls: { client: … } }` signed." },
            },
        },
    })
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// The names in braces of a path.
fn parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| {
        part.strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
    });
    names
        .map(|name| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": format!("Name of the {name}."),
                "schema": { "type": "string" },
            })
        })
        .collect()
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    for (status, about) in route.answers {
        let answer = match status {
            400.. if route.op != Op::Health => json!({
                "description": about,
                "content": content(&json!({ "$ref": "#/components/schemas/Error" })),
            }),
            _ => json!({ "description": about, "content": answer_of(route.op) }),
        };
        responses.insert(status.to_string(), answer);
    }
    let error = json!({ "$ref": "#/components/responses/Error" });
    if route.guarded {
        for status in ["401", "403"] {
            responses.insert(status.to_owned(), error.clone());
        }
    }
    responses.insert("default".to_owned(), error);
    let mut operation = json!({
        "operationId": format!("{:?}", route.op),
        "summary": route.summary,
        "responses": responses,
        // Nothing at all is enough over the unix socket.
        "security": match route.guarded {
            true => json!([{}, { "token": [] }, { "certificate": [] }]),
            false => json!([]),
        },
    });
    if let (false, Some(fields)) = (route.body.is_empty(), operation.as_object_mut()) {
        let keys = route.body.iter().map(|key| {
            let schema = json!({ "type": key.kind, "description": key.about });
            (key.name.to_owned(), schema)
        });
        let needed = route.body.iter().filter(|key| key.needed);
        let needed: Vec<&str> = needed.map(|key| key.name).collect();
        let schema = json!({
            "type": "object",
            "properties": keys.collect::<Map<String, Value>>(),
            "required": needed,
            "additionalProperties": false,
        });
        let body = json!({ "required": true, "content": content(&schema) });
        fields.insert("requestBody".to_owned(), body);
    }
    operation
}

fn answer_of(op: Op) -> Value {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let map = || json!({ "type": "object" });
    match op {
        Op::Metrics => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Op::Servers => content(&json!({
            "type": "object",
            "properties": { "servers": { "type": "array", "items": named("Server") } },
            "required": ["servers"],
        })),
        Op::Server => content(&named("Server")),
        Op::AddServer | Op::RemoveServer | Op::SetState | Op::SetWeight => {
            content(&named("Changed"))
        }
        Op::Reload => content(&named("Reloaded")),
        Op::Save => content(&named("Saved")),
        Op::Drain => content(&named("Done")),
        Op::Upgrade => content(&named("Upgraded")),
        Op::Health | Op::Stats | Op::Config | Op::OpenApi | Op::Pools => content(&map()),
    }
}

fn object(fields: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": fields, "required": required })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let whole = || json!({ "type": "integer", "minimum": 0 });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let maybe = || json!({ "type": ["string", "null"] });
    let diagnostic = || json!({ "$ref": "#/components/schemas/Diagnostic" });
    let error = object(
        json!({
            "what": text(),
            "where": text(),
            "help": text(),
            "diagnostics": { "type": "array", "items": diagnostic() },
        }),
        &["what", "where", "help"],
    );
    let server = object(
        json!({
            "name": text(),
            "host": text(),
            "port": whole(),
            "state": { "type": "string", "enum": ["up", "slow_start", "checking", "down", "resting", "ejected", "draining", "disabled"] },
            "state_seconds": { "type": ["number", "null"], "description": "For how long." },
            "why": { "type": ["string", "null"], "description": "Why it is so: the last failure, who changed it." },
            "by": { "type": ["string", "null"], "description": "`check`, `traffic`, `configuration`, or who changed it." },
            "weight": whole(),
            "active_connections": whole(),
            "requests": whole(),
            "failures": whole(),
        }),
        &["name", "host", "port", "state", "weight"],
    );
    json!({
        "Error": object(json!({ "error": error }), &["error"]),
        "Diagnostic": object(
            json!({
                "code": text(), "severity": { "type": "string", "enum": ["error", "warning"] },
                "file": text(), "line": whole(), "column": whole(),
                "what": text(), "why": text(), "help": maybe(), "guess": maybe(),
            }),
            &["code", "severity", "what"],
        ),
        "Server": server,
        "Changed": object(json!({ "done": text(), "generation": whole() }), &["done", "generation"]),
        "Reloaded": object(
            json!({
                "generation": whole(),
                "warnings": { "type": "array", "items": diagnostic() },
                "after_restart": texts(),
                "dropped": texts(),
            }),
            &["generation", "warnings", "after_restart", "dropped"],
        ),
        "Saved": object(json!({ "files": texts(), "servers": whole() }), &["files", "servers"]),
        "Done": object(json!({ "done": text() }), &["done"]),
        "Upgraded": object(json!({ "pid": whole() }), &["pid"]),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` below a value.
    fn references<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "$ref" => out.push(text),
                _ => references(value, out),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, out)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_in_it_and_nothing_else() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let mut there = BTreeSet::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("an item") {
                if method != "parameters" {
                    assert!(
                        operation["responses"]
                            .as_object()
                            .is_some_and(|it| it.len() > 1)
                    );
                    there.insert((method.as_str(), path.as_str()));
                }
            }
        }
        let routes: BTreeSet<_> = ROUTES.iter().map(|it| (it.method, it.path)).collect();
        assert_eq!(there, routes);
        let ids: BTreeSet<_> = ROUTES.iter().map(|it| format!("{:?}", it.op)).collect();
        assert_eq!(ids.len(), ROUTES.len(), "an id stands twice");
    }

    #[test]
    fn references_lead_somewhere_and_parameters_are_declared() {
        let document = document();
        let mut all = Vec::new();
        references(&document, &mut all);
        assert!(all.len() > 20);
        for reference in all {
            let pointer = reference.strip_prefix('#').expect("of this document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for (path, item) in document["paths"].as_object().expect("paths") {
            let declared = item["parameters"].as_array().map_or(0, Vec::len);
            assert_eq!(declared, path.matches('{').count(), "{path}");
        }
    }

    #[test]
    fn whatever_changes_something_is_guarded() {
        for route in ROUTES {
            let changes = route.method != "get";
            assert!(!changes || route.guarded, "{:?}", route.op);
            let security = &document()["paths"][route.path][route.method]["security"];
            assert_eq!(
                security.as_array().map(Vec::len),
                Some(if route.guarded { 3 } else { 0 })
            );
        }
    }
}
