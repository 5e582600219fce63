//! What `/stats` tells about the routes (000-B35): name, strategy, pattern, number of backends.

use keel_config::model::{
    Condition, HostPattern, Model, PathPattern, Route, SplitBy, Target, ValueTest,
};

/// One route for `/stats`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSummary {
    /// Name.
    pub name: String,
    /// `path_based`, `header_based`, `cookie_based`, `host_based`, `weighted`, `canary`, …
    pub strategy: &'static str,
    /// The pattern that decides, as text; `*` when every request matches.
    pub pattern: String,
    /// Servers that its requests may reach.
    pub backends: usize,
}

/// All routes of a model, in file order.
pub(super) fn rules(model: &Model) -> Vec<RuleSummary> {
    model
        .routes
        .iter()
        .map(|route| rule(model, route))
        .collect()
}

fn rule(model: &Model, route: &Route) -> RuleSummary {
    let decisive = decisive(&route.condition.value);
    let strategy = match &route.target.value {
        Target::Split(split) if split.parts.len() == 2 && split.by == SplitBy::ClientAddress => {
            "canary"
        }
        Target::Split(_) => "weighted",
        _ => decisive.as_ref().map_or("any", |(strategy, _)| *strategy),
    };
    let servers = |id| model.pool(id).servers.len();
    RuleSummary {
        name: route.name.value.clone(),
        strategy,
        pattern: decisive.map_or_else(|| "*".to_owned(), |(_, pattern)| pattern),
        backends: match &route.target.value {
            Target::Pool(pool) => servers(pool.value),
            Target::Split(split) => split
                .parts
                .iter()
                .map(|part| servers(part.pool.value))
                .sum(),
            _ => 0,
        },
    }
}

/// The first condition that says what a route is about: cookies and headers before the path, the
/// path before the host.
fn decisive(condition: &Condition) -> Option<(&'static str, String)> {
    match condition {
        Condition::Cookie(test) => Some((
            "cookie_based",
            named(&test.name.value, test.tests.first().map(|t| &t.value)),
        )),
        Condition::Header(test) => Some((
            "header_based",
            named(&test.name.value, test.tests.first().map(|t| &t.value)),
        )),
        Condition::Query(test) => Some((
            "query_based",
            named(&test.name.value, test.tests.first().map(|t| &t.value)),
        )),
        Condition::Path(paths) => Some(("path_based", path(&paths.first()?.value))),
        Condition::Method(methods) => Some(("method_based", methods.first()?.value.clone())),
        Condition::Client(nets) => Some(("client_based", nets.first()?.value.to_string())),
        Condition::Host(hosts) => Some(("host_based", host(&hosts.first()?.value))),
        Condition::All(parts) | Condition::Any(parts) => {
            let rank = |strategy: &str| {
                [
                    "cookie_based",
                    "header_based",
                    "path_based",
                    "query_based",
                    "host_based",
                ]
                .iter()
                .position(|known| *known == strategy)
                .unwrap_or(usize::MAX)
            };
            parts
                .iter()
                .filter_map(decisive)
                .min_by_key(|(strategy, _)| rank(strategy))
        }
        Condition::Not(_) | Condition::Listener(_) | Condition::Scheme(_) | Condition::Tls(_) => {
            None
        }
    }
}

fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix { path, .. } => format!("{path}*"),
        PathPattern::Glob(text) | PathPattern::Regex(text) => text.clone(),
    }
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        HostPattern::Any => "*".to_owned(),
    }
}

fn named(name: &str, test: Option<&ValueTest>) -> String {
    match test {
        None | Some(ValueTest::Present) => name.to_owned(),
        Some(ValueTest::Absent) => format!("!{name}"),
        Some(ValueTest::Exact(text)) => format!("{name}: {text}"),
        Some(ValueTest::Prefix(text)) => format!("{name}: {text}*"),
        Some(ValueTest::Suffix(text)) => format!("{name}: *{text}"),
        Some(ValueTest::Contains(text)) => format!("{name}: *{text}*"),
        Some(ValueTest::Regex(text)) => format!("{name}: {text}"),
    }
}
