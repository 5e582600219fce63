//! Checks matchers and compiles them into conditions, collecting every fault.

use std::collections::HashMap;
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::condition::Condition;
use crate::fault::{PathInMatcher, RouteFault, Step};
use crate::glob::Glob;
use crate::networks::Networks;
use crate::normal::{normal_host, normal_path};
use crate::pattern::Pattern;
use crate::router::Compiled;
use crate::spec::{HostPattern, Matcher, PathPattern, RouteSpec, ValueTest};
use crate::value::{Field, Source, Test};

/// Most routes of one router.
pub const ROUTES_MAX: usize = 100_000;
/// Deepest nesting of `All`, `Any` and `Not`.
pub const MATCHER_DEPTH_MAX: usize = 16;
/// Most elements of one list in a matcher: parts, methods, listeners or networks.
pub const LIST_LEN_MAX: usize = 65_536;

const STANDARD_METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
];

pub(crate) fn compile_routes(routes: Vec<RouteSpec>) -> Result<Vec<Compiled>, Vec<RouteFault>> {
    let mut compiler = Compiler::default();
    if routes.len() > ROUTES_MAX {
        compiler.route = ROUTES_MAX;
        compiler.fault(format!(
            "there are {} routes; at most {ROUTES_MAX} are allowed",
            routes.len()
        ));
        return Err(compiler.faults);
    }
    let mut compiled = Vec::with_capacity(routes.len());
    for (route, spec) in routes.into_iter().enumerate() {
        compiler.route = route;
        let condition = compiler.matcher(&spec.matcher);
        debug_assert!(compiler.steps.is_empty(), "every step down is undone");
        compiled.push(Compiled {
            name: spec.name,
            condition,
        });
    }
    if compiler.faults.is_empty() {
        Ok(compiled)
    } else {
        Err(compiler.faults)
    }
}

#[derive(Default)]
struct Compiler {
    route: usize,
    steps: Vec<Step>,
    faults: Vec<RouteFault>,
    /// Expressions already compiled: many routes share a few.
    patterns: HashMap<(String, bool), Arc<Pattern>>,
}

impl Compiler {
    fn fault(&mut self, message: String) {
        self.faults.push(RouteFault {
            route: self.route,
            part: PathInMatcher(self.steps.clone()),
            message,
        });
    }

    /// Compiles a part; after a fault what it returns is never used.
    fn matcher(&mut self, matcher: &Matcher) -> Condition {
        let compiled = match matcher {
            Matcher::Always | Matcher::Host(HostPattern::Any) => Ok(Condition::Always),
            Matcher::All(parts) => self.parts(parts, Step::All).map(all_of),
            Matcher::Any(parts) => self
                .filled(parts.len(), "`any`")
                .and_then(|()| self.parts(parts, Step::Any))
                .map(any_of),
            Matcher::Not(part) => self
                .deeper(Step::Not, |compiler| compiler.matcher(part))
                .map(|part| Condition::Not(Box::new(part))),
            Matcher::Listener(listeners) => self
                .filled(listeners.len(), "the list of listeners")
                .map(|()| Condition::Listener(listeners.as_slice().into())),
            Matcher::Host(pattern) => host(pattern),
            Matcher::Path(pattern) => self.path(pattern),
            Matcher::Method(methods) => self.methods(methods),
            Matcher::Header { name, test } => {
                header_name(name).and_then(|()| self.value(Source::Header, name, test))
            }
            Matcher::Cookie { name, test } => {
                cookie_name(name).and_then(|()| self.value(Source::Cookie, name, test))
            }
            Matcher::Query { name, test } => self.value(Source::Query, name, test),
            Matcher::Tls { fact, test } => self.value(Source::Tls(*fact), fact.name(), test),
            Matcher::Client(networks) => self
                .filled(networks.len(), "the list of networks")
                .map(|()| Condition::Client(Networks::new(networks))),
            Matcher::Scheme(scheme) => scheme_of(scheme),
        };
        compiled.unwrap_or_else(|message| {
            self.fault(message);
            Condition::Always
        })
    }

    fn deeper<T>(&mut self, step: Step, f: impl FnOnce(&mut Self) -> T) -> Result<T, String> {
        let depth = self.steps.len();
        if depth >= MATCHER_DEPTH_MAX {
            return Err(format!(
                "conditions are nested more than {MATCHER_DEPTH_MAX} deep"
            ));
        }
        self.steps.push(step);
        let result = f(self);
        self.steps.truncate(depth);
        Ok(result)
    }

    fn filled(&self, len: usize, what: &str) -> Result<(), String> {
        match len {
            0 => Err(format!("{what} is empty, so the route could never match")),
            1..=LIST_LEN_MAX => Ok(()),
            _ => Err(format!(
                "{what} has {len} elements; at most {LIST_LEN_MAX} are allowed"
            )),
        }
    }

    fn parts(
        &mut self,
        parts: &[Matcher],
        step: fn(usize) -> Step,
    ) -> Result<Vec<Condition>, String> {
        if parts.len() > LIST_LEN_MAX {
            return Err(format!(
                "there are {} parts; at most {LIST_LEN_MAX} are allowed",
                parts.len()
            ));
        }
        parts
            .iter()
            .enumerate()
            .map(|(at, part)| self.deeper(step(at), |compiler| compiler.matcher(part)))
            .collect()
    }

    fn path(&mut self, pattern: &PathPattern) -> Result<Condition, String> {
        match pattern {
            PathPattern::Exact(path) if path == "*" => Ok(Condition::PathExact(b"*"[..].into())),
            PathPattern::Exact(path) => Ok(Condition::PathExact(starless_path(path)?)),
            PathPattern::Prefix { path, segment } => {
                let prefix = starless_path(path)?;
                if *segment && !prefix.ends_with(b"/") {
                    Ok(Condition::PathSegments(prefix))
                } else {
                    Ok(Condition::PathPrefix(prefix))
                }
            }
            PathPattern::Glob(source) => {
                let glob = Glob::new(source)?;
                Ok(if glob.is_literal() {
                    Condition::PathExact(glob.literal)
                } else if glob.is_prefix() {
                    Condition::PathPrefix(glob.literal)
                } else {
                    Condition::PathGlob(Box::new(glob))
                })
            }
            PathPattern::Regex(source) => self.pattern(source, false).map(Condition::PathPattern),
            PathPattern::RegexStart(source) => {
                self.pattern(source, true).map(Condition::PathPattern)
            }
        }
    }

    fn pattern(&mut self, source: &str, at_start: bool) -> Result<Arc<Pattern>, String> {
        let key = (source.to_owned(), at_start);
        if let Some(pattern) = self.patterns.get(&key) {
            return Ok(Arc::clone(pattern));
        }
        let pattern = Arc::new(Pattern::new(source, at_start)?);
        self.patterns.insert(key, Arc::clone(&pattern));
        Ok(pattern)
    }

    fn methods(&mut self, methods: &[String]) -> Result<Condition, String> {
        self.filled(methods.len(), "the list of methods")?;
        let mut compiled: Vec<Box<[u8]>> = Vec::with_capacity(methods.len());
        for (at, method) in methods.iter().enumerate() {
            if !is_token(method) {
                let message =
                    format!("`{method}` is not a method; a method is a word such as `GET`");
                self.deeper(Step::Item(at), |compiler| compiler.fault(message))?;
            }
            let upper = method.to_ascii_uppercase();
            let name = if STANDARD_METHODS.contains(&upper.as_str()) {
                &upper
            } else {
                method
            };
            compiled.push(name.as_bytes().into());
        }
        Ok(Condition::Method(compiled.into_boxed_slice()))
    }

    fn value(&mut self, source: Source, name: &str, test: &ValueTest) -> Result<Condition, String> {
        if name.is_empty() {
            return Err("the name is empty".to_owned());
        }
        let test = match test {
            ValueTest::Present => Test::Present,
            ValueTest::Absent => Test::Absent,
            ValueTest::Exact(text) => Test::Exact(text.as_bytes().into()),
            ValueTest::Prefix(text) => Test::Prefix(text.as_bytes().into()),
            ValueTest::Suffix(text) => Test::Suffix(text.as_bytes().into()),
            ValueTest::Contains(text) => Test::Contains(Box::new(Finder::new(text).into_owned())),
            ValueTest::Regex(source) => Test::Pattern(self.pattern(source, false)?),
            ValueTest::RegexStart(source) => Test::Pattern(self.pattern(source, true)?),
        };
        let compared = match source {
            Source::Header => name.to_ascii_lowercase(),
            Source::Cookie | Source::Query | Source::Tls(_) => name.to_owned(),
        };
        let field = Field {
            source,
            name: compared.into_bytes().into_boxed_slice(),
        };
        Ok(Condition::Value {
            field,
            test,
            shown: name.into(),
        })
    }
}

fn all_of(mut parts: Vec<Condition>) -> Condition {
    parts.retain(|part| !matches!(part, Condition::Always));
    match parts.len() {
        0 => Condition::Always,
        1 => parts.swap_remove(0),
        _ => Condition::All(parts.into_boxed_slice()),
    }
}

fn any_of(mut parts: Vec<Condition>) -> Condition {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    Condition::Any(parts.into_boxed_slice())
}

fn host(pattern: &HostPattern) -> Result<Condition, String> {
    match pattern {
        HostPattern::Any => Ok(Condition::Always),
        HostPattern::Exact(name) => Ok(Condition::HostExact(normal_host(name)?.into_boxed_slice())),
        HostPattern::Wildcard(name) if name == "*" => Ok(Condition::Always),
        HostPattern::Wildcard(name) => {
            let under = name.strip_prefix("*.").filter(|under| !under.is_empty()).ok_or_else(|| {
                format!("`{name}` is not a wildcard; a wildcard is `*.` and a name, such as `*.example.com`")
            })?;
            let mut suffix = vec![b'.'];
            suffix.extend(normal_host(under)?);
            Ok(Condition::HostUnder(suffix.into_boxed_slice()))
        }
    }
}

fn starless_path(path: &str) -> Result<Box<[u8]>, String> {
    if path.contains('*') {
        return Err(format!(
            "`*` has a meaning only in a glob; write {{ glob: \"{path}\" }}, or a prefix without the star"
        ));
    }
    Ok(normal_path(path)?.into_boxed_slice())
}

fn scheme_of(scheme: &str) -> Result<Condition, String> {
    let lower = scheme.to_ascii_lowercase();
    if matches!(lower.as_str(), "http" | "https") {
        Ok(Condition::Scheme(lower.into_boxed_str()))
    } else {
        Err(format!(
            "`{scheme}` is not a scheme; write `http` or `https`"
        ))
    }
}

fn header_name(name: &str) -> Result<(), String> {
    if is_token(name) {
        Ok(())
    } else {
        Err(format!("`{name}` is not a header name"))
    }
}

fn cookie_name(name: &str) -> Result<(), String> {
    if is_token(name) {
        Ok(())
    } else {
        Err(format!("`{name}` is not a cookie name"))
    }
}

/// RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
