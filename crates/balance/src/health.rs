//! Active checks of one server: when the next is due, and what their results come to.
//!
//! A state machine with one owner, the prober. It sends nothing: it says when a check is due, is
//! told how the check went, and answers with a change of health when there is one. `rise` checks in
//! a row that pass bring a server up, `fall` in a row that fail take it down; a result the other
//! way starts the count anew. The first verdict after the start is quicker: one check that passes
//! is enough, and so is one that fails when no traffic waits for it ([`Start::FirstCheck`]).
//!
//! Worst time to take a dead server out: `(fall x every) x (1 + jitter) + timeout`.

use crate::hash::unit;

/// How a server is used before its first check is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// It takes traffic until checks say otherwise.
    #[default]
    Optimistic,
    /// It takes none until one check has passed.
    FirstCheck,
}

/// How a server is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckSettings {
    /// From the start of one check to the start of the next, in milliseconds. Default 5 s.
    pub every_ms: u64,
    /// The same while the server is not up; `None` is `every_ms`. Default 1 s. The slower of the
    /// two never counts: a down server is checked at least as often as an up one.
    pub every_down_ms: Option<u64>,
    /// How long a check may take, in milliseconds. The prober keeps to it; here it tells when a
    /// check counts as lost. Default 2 s.
    pub timeout_ms: u64,
    /// Passes in a row that bring a down server up; 0 counts as 1. Default 2.
    pub rise: u32,
    /// Failures in a row that take an up server down; 0 counts as 1. Default 3.
    pub fall: u32,
    /// Share by which each interval is longer or shorter at random, 0 to 1, so that many servers
    /// are not checked in step. Default 0.1.
    pub jitter: f64,
    /// What holds before the first check. Default [`Start::Optimistic`].
    pub start: Start,
}

impl Default for CheckSettings {
    fn default() -> Self {
        CheckSettings {
            every_ms: 5_000,
            every_down_ms: Some(1_000),
            timeout_ms: 2_000,
            rise: 2,
            fall: 3,
            jitter: 0.1,
            start: Start::Optimistic,
        }
    }
}

/// What checks say about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No verdict yet.
    Unknown,
    /// It passes.
    Up,
    /// It fails.
    Down,
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckFault {
    /// The name of the server has no address.
    #[error("the name does not resolve")]
    Unresolved,
    /// No connection.
    #[error("no connection: {0}")]
    Connect(Box<str>),
    /// No connection within the timeout.
    #[error("no connection within the timeout")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(Box<str>),
    /// No answer within the timeout.
    #[error("no answer within the timeout")]
    Timeout,
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer")]
    Closed,
    /// A status code that is not expected.
    #[error("status {0} is not one of those expected")]
    Status(u16),
    /// The body does not hold what is expected.
    #[error("the body does not hold what is expected: {0}")]
    Body(Box<str>),
    /// The gRPC health service answers something else than SERVING (its number).
    #[error("gRPC health is {0}, not SERVING")]
    NotServing(u32),
    /// The answer breaks its protocol.
    #[error("the answer is not of the protocol: {0}")]
    Answer(Box<str>),
    /// It was down in the process before, and was not checked in this one yet.
    #[error("it was down when this process took over")]
    Before,
    /// The check was begun and its result never told.
    #[error("the check was lost")]
    Lost,
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// Why.
    pub fault: CheckFault,
    /// When, in the time of [`Check::finish`].
    pub at_ms: u64,
}

/// A change of health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChange {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
    /// How long it was `from`, in milliseconds.
    pub lasted_ms: u64,
    /// The last failure: the cause when `to` is down.
    pub failure: Option<CheckFailure>,
}

/// The checks of one server.
#[derive(Debug, Clone)]
pub struct Check {
    settings: CheckSettings,
    health: Health,
    since_ms: u64,
    /// Results in a row that speak against `health`.
    against: u32,
    /// When the one under way began, and how long after that the next is due.
    begun: Option<u64>,
    last_begun_ms: Option<u64>,
    next_due_ms: u64,
    passed: u64,
    failed: u64,
    last_failure: Option<CheckFailure>,
}

impl Check {
    /// A server that was never checked. Its first check is due at once when traffic waits for it,
    /// else after a random part of an interval.
    pub fn new(settings: CheckSettings, now_ms: u64, random: u64) -> Self {
        let spread = match settings.start {
            Start::FirstCheck => 0,
            Start::Optimistic => {
                (interval(&settings, Health::Unknown) as f64 * unit(random)) as u64
            }
        };
        Check {
            settings,
            health: Health::Unknown,
            since_ms: now_ms,
            against: 0,
            begun: None,
            last_begun_ms: None,
            next_due_ms: now_ms.saturating_add(spread),
            passed: 0,
            failed: 0,
            last_failure: None,
        }
    }

    /// A server that another prober knew to be down (the process before an upgrade): it takes as many
    /// passes to bring it up as ever.
    pub fn known_down(settings: CheckSettings, now_ms: u64, random: u64) -> Self {
        let spread = (interval(&settings, Health::Down) as f64 * unit(random)) as u64;
        Check {
            health: Health::Down,
            next_due_ms: now_ms.saturating_add(spread),
            last_failure: Some(CheckFailure {
                fault: CheckFault::Before,
                at_ms: now_ms,
            }),
            ..Check::new(settings, now_ms, random)
        }
    }

    /// When the next check is due. While one is under way: when that one counts as lost.
    pub fn next_due_ms(&self) -> u64 {
        self.next_due_ms
    }

    /// Notes that a check begins now. One that is under way still is lost: its failure is
    /// [`Check::finish`]ed first, which may be a change.
    pub fn begin(&mut self, now_ms: u64, random: u64) -> Option<HealthChange> {
        let change = match self.begun {
            Some(_) => self.finish(Err(CheckFault::Lost), now_ms, random),
            None => None,
        };
        self.begun = Some(now_ms);
        self.last_begun_ms = Some(now_ms);
        let lost_after = self
            .settings
            .timeout_ms
            .saturating_add(self.settings.every_ms);
        self.next_due_ms = now_ms.saturating_add(lost_after.max(1));
        change
    }

    /// Takes the result of the check under way. The next is due one interval after that began.
    pub fn finish(
        &mut self,
        result: Result<(), CheckFault>,
        now_ms: u64,
        random: u64,
    ) -> Option<HealthChange> {
        let to = match result {
            Ok(()) => self.pass(),
            Err(fault) => self.fail(fault, now_ms),
        };
        let from = std::mem::replace(&mut self.health, to);
        let begun = self.begun.take().unwrap_or(now_ms);
        let next = begun.saturating_add(self.jittered(random));
        self.next_due_ms = next.max(now_ms);
        if from == to {
            return None;
        }
        self.against = 0;
        let lasted_ms = now_ms.saturating_sub(self.since_ms);
        self.since_ms = now_ms;
        let failure = self.last_failure.clone();
        Some(HealthChange {
            from,
            to,
            lasted_ms,
            failure,
        })
    }

    /// Makes the next check due now, because traffic has seen a failure; but not sooner after the last
    /// one than a down server is checked, however much traffic fails. Nothing when one is under way.
    pub fn hasten(&mut self, now_ms: u64) {
        if self.begun.is_none() {
            let rhythm = interval(&self.settings, Health::Down);
            let soonest = self
                .last_begun_ms
                .map_or(0, |last| last.saturating_add(rhythm));
            self.next_due_ms = self.next_due_ms.min(now_ms.max(soonest));
        }
    }

    /// Goes on under other settings: health, counts and the last failure stay.
    pub fn retune(&mut self, settings: CheckSettings, now_ms: u64) {
        self.settings = settings;
        let latest = now_ms.saturating_add(interval(&self.settings, self.health));
        if self.begun.is_none() {
            self.next_due_ms = self.next_due_ms.min(latest);
        }
    }

    /// What the checks say.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether the server may take traffic.
    pub fn is_usable(&self) -> bool {
        match self.health {
            Health::Up => true,
            Health::Down => false,
            Health::Unknown => self.settings.start == Start::Optimistic,
        }
    }

    /// Since when it is what it is.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Checks that passed, and that failed, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.passed, self.failed)
    }

    /// The last check that failed, whether or not others passed since.
    pub fn last_failure(&self) -> Option<&CheckFailure> {
        self.last_failure.as_ref()
    }

    /// The settings in use.
    pub fn settings(&self) -> &CheckSettings {
        &self.settings
    }

    fn pass(&mut self) -> Health {
        self.passed += 1;
        self.against = match self.health {
            Health::Up => 0,
            Health::Unknown => return Health::Up,
            Health::Down => self.against + 1,
        };
        if self.health == Health::Down && self.against < self.settings.rise {
            Health::Down
        } else {
            Health::Up
        }
    }

    fn fail(&mut self, fault: CheckFault, at_ms: u64) -> Health {
        self.failed += 1;
        self.last_failure = Some(CheckFailure { fault, at_ms });
        if self.health == Health::Down {
            self.against = 0;
            return Health::Down;
        }
        self.against += 1;
        let nobody_waits = self.health == Health::Unknown && !self.is_usable();
        if nobody_waits || self.against >= self.settings.fall {
            Health::Down
        } else {
            self.health
        }
    }

    fn jittered(&self, random: u64) -> u64 {
        let share = 1.0 + self.settings.jitter.clamp(0.0, 1.0) * (2.0 * unit(random) - 1.0);
        let interval = interval(&self.settings, self.health) as f64;
        ((interval * share) as u64).max(1)
    }
}

/// The mean interval of a server with this health.
fn interval(settings: &CheckSettings, health: Health) -> u64 {
    let every = match (health, settings.every_down_ms) {
        (Health::Up, _) | (_, None) => settings.every_ms,
        (_, Some(down)) => down.min(settings.every_ms),
    };
    every.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u64 = 1 << 63;

    fn check(start: Start) -> Check {
        let settings = CheckSettings {
            start,
            ..CheckSettings::default()
        };
        Check::new(settings, 1_000, MIDDLE)
    }

    /// One check that takes no time; the new health when it changed.
    fn probe(check: &mut Check, result: Result<(), CheckFault>) -> Option<Health> {
        let now = check.next_due_ms();
        assert_eq!(check.begin(now, MIDDLE), None);
        check.finish(result, now, MIDDLE).map(|change| change.to)
    }

    #[test]
    fn an_optimistic_start_takes_fall_failures_and_one_pass() {
        let mut one = check(Start::Optimistic);
        assert!(one.is_usable());
        assert_eq!(one.next_due_ms(), 1_500, "half of the quick interval");
        for expected in [None, None, Some(Health::Down)] {
            assert_eq!(probe(&mut one, Err(CheckFault::Timeout)), expected);
        }
        assert!(!one.is_usable());
        let mut other = check(Start::Optimistic);
        assert_eq!(probe(&mut other, Ok(())), Some(Health::Up));
    }

    #[test]
    fn a_first_check_decides_alone() {
        let mut one = check(Start::FirstCheck);
        assert!(!one.is_usable());
        assert_eq!(one.next_due_ms(), 1_000, "at once");
        assert_eq!(
            probe(&mut one, Err(CheckFault::Status(500))),
            Some(Health::Down)
        );
        assert_eq!(probe(&mut one, Ok(())), None);
        assert_eq!(probe(&mut one, Err(CheckFault::Closed)), None);
        assert_eq!(probe(&mut one, Ok(())), None, "the count starts anew");
        assert_eq!(probe(&mut one, Ok(())), Some(Health::Up));
        assert_eq!(one.last_failure().unwrap().fault, CheckFault::Closed);
        assert_eq!(one.counts(), (3, 2));
    }

    #[test]
    fn the_rhythm_follows_the_health() {
        let mut one = check(Start::FirstCheck);
        probe(&mut one, Ok(()));
        assert_eq!(one.next_due_ms(), 6_000);
        for due in [11_000, 16_000, 17_000] {
            probe(&mut one, Err(CheckFault::Timeout));
            assert_eq!(one.next_due_ms(), due);
        }
        one.begin(17_000, MIDDLE);
        one.hasten(17_001);
        one.finish(Err(CheckFault::Timeout), 19_000, MIDDLE);
        assert_eq!(one.next_due_ms(), 19_000, "the interval passed meanwhile");
        one.retune(CheckSettings::default(), 19_000);
        assert_eq!((one.health(), one.since_ms()), (Health::Down, 16_000));
    }

    #[test]
    fn traffic_that_fails_brings_a_check_but_not_one_after_the_other() {
        let mut one = check(Start::FirstCheck);
        probe(&mut one, Ok(()));
        assert_eq!(one.next_due_ms(), 6_000);
        one.hasten(1_010);
        assert_eq!(one.next_due_ms(), 2_000, "the rhythm of a down server");
        one.hasten(1_500);
        assert_eq!(one.next_due_ms(), 2_000);
        probe(&mut one, Ok(()));
        one.hasten(4_500);
        assert_eq!(one.next_due_ms(), 4_500, "at once");
    }

    #[test]
    fn what_was_down_before_stays_down_until_it_rises() {
        let mut one = Check::known_down(CheckSettings::default(), 1_000, MIDDLE);
        assert!(!one.is_usable());
        assert_eq!(one.last_failure().unwrap().fault, CheckFault::Before);
        assert_eq!(one.next_due_ms(), 1_500, "soon");
        assert_eq!(probe(&mut one, Err(CheckFault::Timeout)), None);
        assert_eq!(probe(&mut one, Ok(())), None);
        assert_eq!(probe(&mut one, Ok(())), Some(Health::Up));
    }

    #[test]
    fn a_lost_check_is_a_failure() {
        let mut one = check(Start::FirstCheck);
        one.begin(1_000, MIDDLE);
        assert_eq!(one.next_due_ms(), 8_000);
        let change = one.begin(8_000, MIDDLE).unwrap();
        assert_eq!(change.to, Health::Down);
        assert_eq!(change.failure.unwrap().fault, CheckFault::Lost);
        assert_eq!(change.lasted_ms, 7_000);
    }
}
