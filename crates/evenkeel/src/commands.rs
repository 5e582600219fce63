//! The commands that read a configuration.

use std::path::Path;

use keel_control::{Question, explain as explain_request};

use crate::cli::{Explain, Proxy};
use crate::load::{compiled, from_file, from_text};
use crate::parent::Parent;
use crate::run::serve;
use crate::{Failure, print_line};

/// `run FILE`
pub fn run(file: &Path, parent: &mut Parent) -> Result<(), Failure> {
    let (model, compiled) = compiled(from_file(file))?;
    serve(model, compiled, Some(file), parent)?;
    Ok(())
}

/// `check FILE`
pub fn check(file: &Path) -> Result<(), Failure> {
    let (model, compiled) = compiled(from_file(file))?;
    let servers = compiled.snapshot.pools.iter();
    let servers: usize = servers.map(|plan| plan.pool.servers.len()).sum();
    print_line(&format!(
        "{}: fine: {}, {}, {}, {}",
        file.display(),
        counted(model.listeners.len(), "listener"),
        counted(model.routes.len(), "route"),
        counted(model.pools.len(), "pool"),
        counted(servers, "server"),
    ));
    Ok(())
}

/// `proxy --listen … --to …`
pub fn proxy(options: &Proxy, parent: &mut Parent) -> Result<(), Failure> {
    let (model, compiled) = compiled(from_text(&proxy_text(options)))?;
    serve(model, compiled, None, parent)?;
    Ok(())
}

/// The configuration that the options of `proxy` stand for.
fn proxy_text(options: &Proxy) -> String {
    let mut text = serde_json::json!({
        "listeners": { "web": { "bind": options.listen } },
        "pools": { "app": { "servers": options.to, "balance": options.balance } },
        "routes": [{ "pool": "app" }],
    });
    if let Some(workers) = options.workers {
        text["workers"] = workers.into();
    }
    if options.access_log {
        text["access_log"] = serde_json::json!({ "to": "stdout", "format": "combined" });
    }
    match options.admin.as_deref() {
        None => {}
        Some("off") => text["admin"] = "off".into(),
        Some(address) => text["admin"] = serde_json::json!({ "bind": address }),
    }
    format!("{text:#}")
}

/// `explain FILE METHOD URL`
pub fn explain(options: &Explain) -> Result<(), Failure> {
    let (_, compiled) = compiled(from_file(&options.file))?;
    let mut headers = Vec::new();
    for header in &options.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Failure::Usage(format!("`{header}` is no header: write 'Name: value'"))
        })?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let question = Question {
        method: options.method.clone(),
        url: options.url.clone(),
        headers,
        client: options.client,
        listener: options.listener.clone(),
    };
    let explained = explain_request(&compiled, &question).map_err(Failure::Usage)?;
    for line in explained.lines {
        print_line(&line);
    }
    Ok(())
}

/// `schema`
pub fn schema() -> Result<(), Failure> {
    print_line(&format!("{:#}", keel_config::schema()));
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
