//! Servers of pools: what is known of them, and changes.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use keel_config::parse;
use keel_control::{Actor, Change, Control, NewServer, ServerState};
use serde_json::{Value, json};

use crate::answer::{Fault, json_answer};
use crate::body::Fields;
use crate::routes::Op;

/// Largest weight, as in a file.
const WEIGHT_MAX: u32 = 65_535;
/// Highest tier, as in a file.
const TIER_MAX: u32 = 255;

fn param(params: &HashMap<String, String>, name: &str) -> String {
    params.get(name).cloned().unwrap_or_default()
}

/// The servers of a pool, or one of them.
pub fn tell(control: &Control, params: &HashMap<String, String>) -> Result<Response<Body>, Fault> {
    let pool = param(params, "pool");
    let status = control.status();
    let Some(servers) = status.servers(&pool) else {
        return Err(keel_control::ChangeFault::NoPool(pool).into());
    };
    let Some(wanted) = params.get("server") else {
        return Ok(json_answer(StatusCode::OK, &json!({ "servers": servers })));
    };
    let name = |server: &Value| {
        server
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let found = servers
        .iter()
        .find(|it| name(it).as_deref() == Some(wanted));
    match found {
        Some(server) => Ok(json_answer(StatusCode::OK, server)),
        None => Err(keel_control::ChangeFault::NoServer {
            pool,
            server: wanted.clone(),
            has: servers.iter().filter_map(name).collect(),
        }
        .into()),
    }
}

/// Changes a server.
pub async fn change(
    control: &Control,
    op: Op,
    by: Actor,
    params: &HashMap<String, String>,
    fields: Option<Fields>,
) -> Result<Response<Body>, Fault> {
    let (pool, server) = (param(params, "pool"), param(params, "server"));
    let change = match (op, fields) {
        (Op::AddServer, Some(fields)) => Change::AddServer {
            pool,
            server: new_server(&fields)?,
        },
        (Op::SetState, Some(fields)) => Change::SetState {
            pool,
            server,
            state: state(&fields)?,
        },
        (Op::SetWeight, Some(fields)) => Change::SetWeight {
            pool,
            server,
            weight: Fields::needed(fields.number("weight", WEIGHT_MAX)?, "weight")?,
        },
        _ => Change::RemoveServer { pool, server },
    };
    let done = control.change(change, by).await?;
    let status = match op {
        Op::AddServer => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let told = json!({ "done": done.what, "generation": done.generation });
    Ok(json_answer(status, &told))
}

fn new_server(fields: &Fields) -> Result<NewServer, Fault> {
    let address = Fields::needed(fields.text("address")?, "address")?;
    let help = "write `host:port`";
    let address = parse::address(address).map_err(|what| Fault::bad(what, help))?;
    let name = fields.text("name")?;
    if let Some(name) = name {
        let help = "write a name of letters, digits, `_`, `.`, `-` and `:`";
        parse::server_name(name).map_err(|what| Fault::bad(what, help))?;
    }
    let tier = fields.number("tier", TIER_MAX)?;
    Ok(NewServer {
        name: name.map(str::to_owned),
        address,
        weight: fields.number("weight", WEIGHT_MAX)?,
        max_connections: fields.number("max_connections", u32::MAX)?,
        tier: tier.and_then(|tier| u8::try_from(tier).ok()),
    })
}

fn state(fields: &Fields) -> Result<ServerState, Fault> {
    let limit = fields.text("limit")?;
    let state = match Fields::needed(fields.text("state")?, "state")? {
        "ready" => ServerState::Ready,
        "down" => ServerState::Down,
        "drain" => {
            let help = "write a duration with its unit, such as `30s`";
            let limit = limit.map(parse::duration).transpose();
            return Ok(ServerState::Drain {
                limit: limit.map_err(|what| Fault::bad(what, help))?,
            });
        }
        other => {
            return Err(Fault::bad(
                format!("`{other}` is no state"),
                "write `ready`, `drain` or `down`",
            ));
        }
    };
    match limit {
        None => Ok(state),
        Some(_) => Err(Fault::bad(
            "`limit` stands without `drain`",
            "remove it, or write `\"state\": \"drain\"`",
        )),
    }
}
