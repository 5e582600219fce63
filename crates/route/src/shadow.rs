//! Finds routes that an earlier route shadows wholly.
//!
//! Conservative: `implies` says true only when every request that meets the one condition meets the other. What it cannot
//! prove, and routes hidden only by several others together, are not reported. The index gives the few earlier routes
//! that are worth a proof.

use crate::condition::{Condition, host_is_under, path_is_under};
use crate::index::{Index, List, NONE, Visit};
use crate::keys::{Key, keys};
use crate::router::{Compiled, Shadowed};
use crate::value::Test;

/// Most earlier routes to which one route is compared.
const COMPARED_MAX: u32 = 64;
/// Most steps of one proof.
const STEPS_MAX: u32 = 4096;

pub(crate) fn unreachable(routes: &[Compiled], index: &Index) -> Vec<Shadowed> {
    let mut shadowed = Vec::new();
    for (route, compiled) in routes.iter().enumerate() {
        // A route that takes all requests of this one has a key over each of its keys; one is enough to find it.
        let own_keys = keys(&compiled.condition);
        let Some(key) = own_keys.first() else {
            continue;
        };
        let mut compare = Compare {
            index,
            routes,
            key,
            condition: &compiled.condition,
            before: route as u32,
            left: COMPARED_MAX,
        };
        let path = key.path.to_vec();
        index.walk(key.listener, key.host, &path, key.path.exact, &mut compare);
        if compare.before < route as u32 {
            shadowed.push(Shadowed {
                route,
                by: compare.before as usize,
            });
        }
    }
    shadowed
}

struct Compare<'c> {
    index: &'c Index,
    routes: &'c [Compiled],
    key: &'c Key<'c>,
    condition: &'c Condition,
    /// First route known to cover the condition, or the route itself.
    before: u32,
    left: u32,
}

impl Visit for Compare<'_> {
    fn limit(&self) -> u32 {
        self.before
    }

    fn list(&mut self, list: &List) {
        self.candidates(list);
        let index = self.index;
        if let Some((field, value)) = self.key.value {
            for table in &index.tables[list.tables_start as usize..list.tables_end as usize] {
                if table.field == *field
                    && let Some(&list) = table.lists.get(value)
                {
                    self.candidates(&index.lists[list as usize]);
                }
            }
        }
    }
}

impl Compare<'_> {
    fn candidates(&mut self, list: &List) {
        let index = self.index;
        self.candidate(list.sure);
        for entry in &index.entries[list.entries_start as usize..list.entries_end as usize] {
            if entry.route >= self.before || self.left == 0 {
                break;
            }
            self.left -= 1;
            self.candidate(entry.route);
        }
    }

    fn candidate(&mut self, route: u32) {
        if route == NONE || route >= self.before {
            return;
        }
        let mut steps = STEPS_MAX;
        if implies(
            self.condition,
            &self.routes[route as usize].condition,
            &mut steps,
        ) {
            self.before = route;
        }
    }
}

/// Every request that meets `narrow` meets `wide`. False when that cannot be shown in the steps left.
fn implies(narrow: &Condition, wide: &Condition, steps: &mut u32) -> bool {
    let Some(left) = steps.checked_sub(1) else {
        return false;
    };
    *steps = left;
    match (narrow, wide) {
        (_, Condition::Always) => true,
        (Condition::Any(parts), _) => parts.iter().all(|part| implies(part, wide, steps)),
        (_, Condition::All(parts)) => parts.iter().all(|part| implies(narrow, part, steps)),
        (Condition::All(narrows), Condition::Any(wides)) => {
            wides.iter().any(|part| implies(narrow, part, steps))
                || narrows.iter().any(|part| implies(part, wide, steps))
        }
        (_, Condition::Any(parts)) => parts.iter().any(|part| implies(narrow, part, steps)),
        (Condition::All(parts), _) => parts.iter().any(|part| implies(part, wide, steps)),
        (Condition::Not(narrow), Condition::Not(wide)) => implies(wide, narrow, steps),
        _ => leaf_implies(narrow, wide),
    }
}

fn leaf_implies(narrow: &Condition, wide: &Condition) -> bool {
    use Condition::{Client, HostExact, HostUnder, Listener, Method, Scheme, Value};
    match (narrow, wide) {
        (Listener(narrow), Listener(wide)) => narrow.iter().all(|one| wide.contains(one)),
        (HostExact(narrow), HostExact(wide)) => narrow == wide,
        (HostExact(host), HostUnder(suffix)) => host_is_under(host, suffix),
        (HostUnder(narrow), HostUnder(wide)) => narrow.ends_with(wide),
        (Method(narrow), Method(wide)) => narrow.iter().all(|one| wide.contains(one)),
        (Scheme(narrow), Scheme(wide)) => narrow == wide,
        (Client(narrow), Client(wide)) => wide.covers(narrow),
        (
            Value { field, test, .. },
            Value {
                field: wide_field,
                test: wide,
                ..
            },
        ) => field == wide_field && value_implies(test, wide),
        _ => path_implies(narrow, wide),
    }
}

fn path_implies(narrow: &Condition, wide: &Condition) -> bool {
    use Condition::{PathExact, PathGlob, PathPattern, PathPrefix, PathSegments};
    // Every path that meets the condition begins with one of these.
    let beginnings: Vec<&[u8]> = match (narrow, wide) {
        (PathExact(path), PathExact(wide)) => return path == wide,
        (PathExact(path), PathSegments(prefix)) => return path_is_under(path, prefix),
        (PathExact(path), PathGlob(glob)) => return glob.is_match(path),
        (PathExact(path), PathPattern(pattern)) => return pattern.is_match(path),
        (PathSegments(narrow), PathSegments(wide)) => return path_is_under(narrow, wide),
        (PathGlob(narrow), PathGlob(wide)) if narrow.source == wide.source => return true,
        (PathPattern(narrow), PathPattern(wide)) if narrow == wide => return true,
        (PathExact(path) | PathPrefix(path) | PathSegments(path), _) => vec![path],
        (PathGlob(glob), _) => vec![&glob.literal],
        (PathPattern(pattern), _) => pattern.beginnings.iter().map(|bytes| &**bytes).collect(),
        _ => return false,
    };
    match wide {
        PathPrefix(prefix) => beginnings.iter().all(|start| start.starts_with(prefix)),
        PathSegments(prefix) => beginnings.iter().all(|start| {
            start
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.starts_with(b"/"))
        }),
        _ => false,
    }
}

fn value_implies(narrow: &Test, wide: &Test) -> bool {
    let contains = |text: &[u8], part: &[u8]| memchr::memmem::find(text, part).is_some();
    match (narrow, wide) {
        (Test::Absent, Test::Absent) => true,
        (Test::Absent, _) | (_, Test::Absent) => false,
        (_, Test::Present) => true,
        (Test::Exact(text), wide) => wide.passes(text),
        (Test::Prefix(narrow), Test::Prefix(wide)) => narrow.starts_with(wide),
        (Test::Suffix(narrow), Test::Suffix(wide)) => narrow.ends_with(wide),
        (Test::Prefix(text) | Test::Suffix(text), Test::Contains(part)) => {
            contains(text, part.needle())
        }
        (Test::Contains(text), Test::Contains(part)) => contains(text.needle(), part.needle()),
        (Test::Pattern(narrow), Test::Pattern(wide)) => narrow == wide,
        _ => false,
    }
}
