//! The commands that speak with a running process.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::{ServerCommand, Target};
use crate::client::{Question, ask, finding, segment};
use crate::table;
use crate::{Failure, print_line};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The same of an upgrade: the new process has its own limit, `upgrade_timeout`.
const UPGRADE_LIMIT: Duration = Duration::from_secs(3600);
/// How long a process that is being replaced is asked again.
const HANDOVER_LIMIT: Duration = Duration::from_secs(5);
/// Pause before that.
const HANDOVER_PAUSE: Duration = Duration::from_millis(50);

fn request(
    target: &Target,
    method: &str,
    path: String,
    body: Option<Value>,
) -> Result<Value, Failure> {
    let question = || Question {
        method,
        path: path.clone(),
        body: body.clone(),
        limit: LIMIT,
    };
    let due = Instant::now() + HANDOVER_LIMIT;
    let mut answer = ask(target, question())?;
    // The name of the unix socket leads to the process that takes over; an address may lead elsewhere.
    while target.url.is_none() && answer.is_of_predecessor() && Instant::now() < due {
        std::thread::sleep(HANDOVER_PAUSE);
        match ask(target, question()) {
            Ok(other) => answer = other,
            // Nobody takes its place.
            Err(_) => break,
        }
    }
    answer.fine()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let items = value.get(name).and_then(Value::as_array);
    let items = items.into_iter().flatten().filter_map(Value::as_str);
    items.map(str::to_owned).collect()
}

/// `reload`
pub fn reload(target: &Target) -> Result<(), Failure> {
    let done = request(target, "POST", "/reload".to_owned(), None)?;
    let warnings = done.get("warnings").and_then(Value::as_array);
    for warning in warnings.into_iter().flatten() {
        eprintln!("{}", finding(warning));
    }
    for what in texts(&done, "dropped") {
        eprintln!("warning: run-time change dropped: {what}");
    }
    let after = texts(&done, "after_restart");
    if !after.is_empty() {
        let keys = after.join(", ");
        eprintln!("warning: these changes take effect after a restart or an upgrade: {keys}");
    }
    let generation = number(&done, "generation");
    print_line(&format!("reloaded: configuration {generation} is served"));
    Ok(())
}

/// `status`
pub fn status(target: &Target, as_json: bool) -> Result<(), Failure> {
    let status = request(target, "GET", "/pools".to_owned(), None)?;
    match as_json {
        true => print_line(&format!("{status:#}")),
        false => print_line(table::status(&status).trim_end()),
    }
    Ok(())
}

/// `server …`
pub fn server(target: &Target, command: &ServerCommand) -> Result<(), Failure> {
    let of =
        |pool: &str, server: &str| format!("/pools/{}/servers/{}", segment(pool), segment(server));
    let state = |pool: &str, server: &str, body: Value| {
        request(
            target,
            "PUT",
            format!("{}/state", of(pool, server)),
            Some(body),
        )
    };
    let done = match command {
        ServerCommand::Add(new) => {
            let body = json!({
                "address": new.address,
                "name": new.name,
                "weight": new.weight,
                "max_connections": new.max_connections,
                "tier": new.tier,
            });
            let path = format!("/pools/{}/servers", segment(&new.pool));
            request(target, "POST", path, Some(body))?
        }
        ServerCommand::Remove { pool, server } => {
            request(target, "DELETE", of(pool, server), None)?
        }
        ServerCommand::Drain {
            pool,
            server,
            limit,
        } => state(pool, server, json!({ "state": "drain", "limit": limit }))?,
        ServerCommand::Enable { pool, server } => state(pool, server, json!({ "state": "ready" }))?,
        ServerCommand::Down { pool, server } => state(pool, server, json!({ "state": "down" }))?,
        ServerCommand::Weight {
            pool,
            server,
            weight,
        } => {
            let path = format!("{}/weight", of(pool, server));
            request(target, "PUT", path, Some(json!({ "weight": weight })))?
        }
    };
    print_line(text(&done, "done"));
    Ok(())
}

/// `save`
pub fn save(target: &Target) -> Result<(), Failure> {
    let saved = request(target, "POST", "/save".to_owned(), None)?;
    let files = texts(&saved, "files");
    print_line(&match files.is_empty() {
        true => "nothing to save: the file says what is served".to_owned(),
        false => format!(
            "saved: {} changed in {}",
            match number(&saved, "servers") {
                1 => "1 server".to_owned(),
                count => format!("{count} servers"),
            },
            files.join(", ")
        ),
    });
    Ok(())
}

/// `drain`
pub fn drain(target: &Target) -> Result<(), Failure> {
    let done = request(target, "POST", "/drain".to_owned(), None)?;
    print_line(text(&done, "done"));
    Ok(())
}

/// `upgrade`
pub fn upgrade(target: &Target) -> Result<(), Failure> {
    let question = Question {
        method: "POST",
        path: "/upgrade".to_owned(),
        body: None,
        limit: UPGRADE_LIMIT,
    };
    let done = ask(target, question)?.fine()?;
    let pid = number(&done, "pid");
    print_line(&format!("upgraded: process {pid} serves now"));
    Ok(())
}
