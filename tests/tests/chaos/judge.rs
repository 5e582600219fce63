//! Which requests were lost that could have been served.
//!
//! Strictly: a request is excused only when it had no server that was well all along, or when it must not be repeated and
//! its own server was harmed while it had it. What is neither served nor excused is lost. A wrong answer and a second
//! execution are never excused.

use std::collections::HashMap;

use super::account::{Asked, Outcome, Pool, Tally};
use super::contract;
use super::journal::Span;
use super::load::websocket::Closed;
use super::origin::FAULT;

/// What the judge knows of the servers.
#[derive(Debug, Clone)]
pub struct Known {
    /// Their names, in the order of the plan.
    pub names: Vec<String>,
    /// The servers of each pool, by position.
    pub app: Vec<usize>,
    /// See `app`.
    pub big: Vec<usize>,
    /// See `app`.
    pub two: Vec<usize>,
    /// Their bad times.
    pub spans: Vec<Span>,
    /// The proxy's log: termination code and server, by request id.
    pub log: HashMap<String, (String, String)>,
}

/// What is to be said of a request that was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It could not have been served.
    Excused(&'static str),
    /// It could.
    Lost(String),
    /// What came was wrong.
    Wrong(String),
}

impl Known {
    fn servers(&self, pool: Pool) -> &[usize] {
        match pool {
            Pool::App => &self.app,
            Pool::Big => &self.big,
            Pool::Two => &self.two,
        }
    }

    fn was_harmed(&self, server: usize, from_us: u64, to_us: u64) -> bool {
        let mut spans = self.spans.iter();
        spans.any(|span| span.server == server && span.meets(from_us, to_us))
    }

    /// Whether a server of this name had a harm that can do that, in that time.
    fn had(&self, name: &str, from_us: u64, to_us: u64, can: impl Fn(&Span) -> bool) -> bool {
        let of_name = |span: &&Span| self.names[span.server] == name;
        let mut spans = self.spans.iter().filter(of_name);
        spans.any(|span| span.meets(from_us, to_us) && can(span))
    }

    /// Says what a request that was not served is.
    pub fn judge(&self, asked: &Asked) -> Verdict {
        let (from, to) = (asked.from_us, asked.to_us);
        let story = |what: &str| {
            let logged = self.log.get(&contract::text(asked.id));
            let harmed = self.harmed_servers(asked);
            format!("{what}; the log says {logged:?}; harmed: {harmed}")
        };
        match &asked.outcome {
            Outcome::Served(_) => Verdict::Excused("served"),
            Outcome::Wrong(what) => Verdict::Wrong(what.clone()),
            Outcome::Cut(server, how) => {
                let cuts = |span: &Span| span.harm.is_some_and(|harm| harm.cuts());
                // The reset of a stream overtakes a head that was about to be sent: then only the log knows the server.
                let logged = self.log.get(&contract::text(asked.id));
                let in_body =
                    logged.filter(|(termination, _)| termination == "SAB" || termination == "SPB");
                let server = match server.is_empty() {
                    true => in_body.map_or("", |(_, server)| server),
                    false => server,
                };
                match self.had(server, from, to, cuts) {
                    true => Verdict::Excused("broke off with its server, seen as broken"),
                    false => Verdict::Lost(story(&format!("broke off: {server} {how}"))),
                }
            }
            Outcome::Silent(how) => Verdict::Lost(story(&format!("no answer: {how}"))),
            Outcome::Error(status, by) => {
                let mut servers = self.servers(asked.pool).iter();
                let well = servers.any(|server| !self.was_harmed(*server, from, to));
                let what = format!("{status} by {by}");
                match (well, asked.method) {
                    (false, _) => Verdict::Excused("no server was well all along"),
                    (true, "POST") => self
                        .judge_post(asked, by)
                        .unwrap_or_else(|| Verdict::Lost(story(&what))),
                    (true, _) => Verdict::Lost(story(&what)),
                }
            }
        }
    }

    /// A POST is excused when the server that it may have reached was harmed at that time.
    fn judge_post(&self, asked: &Asked, by: &str) -> Option<Verdict> {
        let (termination, server) = self.log.get(&contract::text(asked.id))?;
        let breaks = |span: &Span| span.harm.is_some_and(|harm| harm.breaks());
        let harmed = |name: &str| self.had(name, asked.from_us, asked.to_us, breaks);
        if harmed(by) {
            return Some(Verdict::Excused("POST answered badly by its server"));
        }
        // Phases S and W: the server may have had the request. In phase C it had not.
        let reached = termination.starts_with('S') && termination.ends_with(['S', 'W', 'B']);
        (reached && harmed(server))
            .then_some(Verdict::Excused("POST that its server may have acted upon"))
    }

    fn harmed_servers(&self, asked: &Asked) -> String {
        let spans = self
            .spans
            .iter()
            .filter(|span| span.meets(asked.from_us, asked.to_us));
        let words = spans.map(|span| format!("{} {:?}", self.names[span.server], span.harm));
        words.collect::<Vec<_>>().join(", ")
    }

    /// A WebSocket may end only when its own server ends.
    pub fn judge_closed(&self, closed: &Closed) -> Verdict {
        let ends = |span: &Span| span.harm.is_some_and(|harm| harm.ends_connections());
        match closed.why.contains("WRONG") {
            true => Verdict::Wrong(closed.why.clone()),
            false if self.had(&closed.server, closed.opened_us, closed.closed_us, ends) => {
                Verdict::Excused("WebSocket whose own server ended")
            }
            false => Verdict::Lost(format!("{}: {}", closed.server, closed.why)),
        }
    }

    /// An opening may fail only when a server that it may have reached was harmed: it is not repeated.
    pub fn judge_refused(&self, refused: &Closed) -> Verdict {
        let breaks = |span: &&Span| span.harm.is_some_and(|harm| harm.breaks());
        let mut spans = self.spans.iter().filter(breaks);
        let harmed = spans.any(|span| {
            self.big.contains(&span.server) && span.meets(refused.opened_us, refused.closed_us)
        });
        match harmed {
            true => Verdict::Excused("opening of a WebSocket at a harmed server"),
            false => Verdict::Lost(refused.why.clone()),
        }
    }
}

/// What the records of the servers say against the clients': executions that were one too many or never happened, and
/// bytes that were not well-formed.
pub fn judge_records(records: &[(String, String)], tallies: &[Tally]) -> Vec<String> {
    let mut found = Vec::new();
    let mut executed: HashMap<&str, Vec<&str>> = HashMap::new();
    for (server, record) in records {
        for line in record.lines() {
            match line.strip_prefix(FAULT) {
                Some(fault) => found.push(format!("{server} got what is not well-formed: {fault}")),
                None => executed.entry(line).or_default().push(server),
            }
        }
    }
    for (id, servers) in &executed {
        if servers.len() > 1 {
            found.push(format!("POST {id} was executed by each of {servers:?}"));
        }
    }
    for (id, server) in tallies.iter().flat_map(|tally| &tally.posts) {
        let by = executed.get(contract::text(*id).as_str());
        if by.is_none_or(|by| !by.contains(&server.as_str())) {
            found.push(format!(
                "POST {} was answered by {server} and executed by {by:?}",
                contract::text(*id)
            ));
        }
    }
    found
}

/// The proxy's log: `ID TERMINATION SERVER` a line.
pub fn read_log(text: &str) -> HashMap<String, (String, String)> {
    let words = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, (words.next()?, words.next()?)))
    };
    text.lines().filter_map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Path;
    use crate::plan::Harm;

    fn known() -> Known {
        let span = |server, harm, from_us, to_us| Span {
            server,
            harm,
            from_us,
            to_us,
        };
        let id = |id| contract::text(id);
        Known {
            names: ["a", "b"].map(str::to_owned).into(),
            app: vec![0, 1],
            big: vec![0],
            two: vec![1],
            spans: vec![
                span(0, Some(Harm::Kill), 100, 200),
                span(1, None, 150, 300),
                span(0, Some(Harm::Slow), 400, 500),
            ],
            log: HashMap::from([
                (id(1), ("SAW".to_owned(), "a".to_owned())),
                (id(2), ("SUC".to_owned(), "a".to_owned())),
            ]),
        }
    }

    fn asked(id: u64, method: &'static str, span: (u64, u64), outcome: Outcome) -> Asked {
        Asked {
            id,
            path: Path::Kept,
            method,
            pool: Pool::App,
            from_us: span.0,
            to_us: span.1,
            reused: false,
            outcome,
        }
    }

    fn is_lost(asked: &Asked) -> bool {
        matches!(known().judge(asked), Verdict::Lost(_))
    }

    #[test]
    fn a_get_is_lost_while_a_server_is_well() {
        let error = Outcome::Error(502, "Backend-Unavailable".to_owned());
        assert!(is_lost(&asked(1, "GET", (110, 140), error.clone())));
        assert!(!is_lost(&asked(1, "GET", (110, 160), error.clone())));
        assert!(is_lost(&asked(1, "GET", (600, 700), error)));
    }

    #[test]
    fn a_post_is_excused_only_when_it_may_have_been_sent() {
        let error = Outcome::Error(502, "Backend-Unavailable".to_owned());
        assert!(!is_lost(&asked(1, "POST", (110, 140), error.clone())));
        assert!(
            is_lost(&asked(2, "POST", (110, 140), error.clone())),
            "refused: nothing sent"
        );
        assert!(
            is_lost(&asked(3, "POST", (110, 140), error.clone())),
            "not in the log"
        );
        assert!(
            is_lost(&asked(1, "POST", (450, 460), error)),
            "slow is no excuse"
        );
    }

    #[test]
    fn silence_and_wrong_answers_are_never_excused() {
        assert!(is_lost(&asked(
            1,
            "GET",
            (110, 140),
            Outcome::Silent(String::new())
        )));
        let wrong = known().judge(&asked(1, "GET", (110, 140), Outcome::Wrong(String::new())));
        assert!(matches!(wrong, Verdict::Wrong(_)));
    }

    #[test]
    fn what_breaks_off_is_excused_by_its_own_server_only() {
        let cut = |server: &str| Outcome::Cut(server.to_owned(), String::new());
        assert!(!is_lost(&asked(1, "GET", (110, 140), cut("a"))));
        assert!(
            is_lost(&asked(1, "GET", (160, 180), cut("b"))),
            "a drain cuts nothing"
        );
        assert!(
            is_lost(&asked(1, "GET", (410, 420), cut("a"))),
            "nor does slowness"
        );
    }

    #[test]
    fn executions_are_counted() {
        let record = |server: &str, text: &str| (server.to_owned(), text.to_owned());
        let (one, two) = (contract::text(1), contract::text(2));
        let mut tally = Tally::new(Path::Kept);
        tally.posts.push((1, "a".to_owned()));
        let good = [record("a", &format!("{one}\n{two}\n")), record("b", "")];
        assert_eq!(judge_records(&good, &[tally.clone()]), Vec::<String>::new());
        let twice = [
            record("a", &format!("{one}\n")),
            record("b", &format!("{one}\n")),
        ];
        assert_eq!(judge_records(&twice, &[tally.clone()]).len(), 1);
        let never = [record("a", ""), record("b", "! a fault\n")];
        assert_eq!(judge_records(&never, &[tally]).len(), 2);
    }
}
