//! What is done to whom, and when: a pure function of the seed.
//!
//! Of each group of servers so many stay unharmed at any time that each request has one that was well all along. A harm
//! counts as over only [`SETTLE_MS`] after its end.

use super::dice::Dice;

/// Time after the end of a harm in which its server still counts as harmed, in milliseconds.
pub const SETTLE_MS: u64 = 400;

/// Before the first harm, and after the last, in milliseconds: connections open, and what was harmed comes back.
const QUIET_MS: u64 = 1_500;

/// What is done to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// SIGKILL; started again after the harm's time.
    Kill,
    /// Told to end as its kind does in order; started again after the harm's time.
    Restart,
    /// SIGSTOP, then SIGCONT: the kernel accepts connections for it, nobody answers.
    Stop,
    /// Answers late, but within the time of a try.
    Slow,
    /// Reads requests and never answers.
    Mute,
    /// Resets connections once it has read a request (SO_LINGER 0).
    Reset,
    /// Resets connections as soon as they are accepted.
    Slam,
    /// Answers what is no HTTP.
    Garbage,
    /// Answers with heads that break the rules or the limits.
    BadHead,
    /// Breaks its answers off in the middle.
    Cut,
    /// Answers 503.
    Unavailable,
}

impl Harm {
    /// Whether a request that this server got may come to nothing: one that must not be repeated is excused then.
    pub fn breaks(self) -> bool {
        self != Harm::Slow
    }

    /// Whether an answer that has begun may break off.
    pub fn cuts(self) -> bool {
        !matches!(self, Harm::Slow | Harm::Unavailable)
    }

    /// Whether it ends the connections that the server has.
    pub fn ends_connections(self) -> bool {
        matches!(self, Harm::Kill | Harm::Restart)
    }
}

/// How a server can be harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// One of ours: everything.
    Own,
    /// Somebody else's program: signals only.
    Foreign,
}

impl Nature {
    /// What can be done to it; what is twice here is done twice as often.
    pub fn harms(self) -> &'static [Harm] {
        match self {
            Nature::Own => &[
                Harm::Kill,
                Harm::Kill,
                Harm::Restart,
                Harm::Stop,
                Harm::Slow,
                Harm::Mute,
                Harm::Reset,
                Harm::Slam,
                Harm::Garbage,
                Harm::BadHead,
                Harm::Cut,
                Harm::Unavailable,
            ],
            Nature::Foreign => &[Harm::Kill, Harm::Restart, Harm::Stop],
        }
    }
}

/// A server as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Servers of a group serve the same requests.
    pub group: usize,
    /// What can be done to it.
    pub nature: Nature,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// To this server, for so long.
    Harm(usize, Harm, u64),
    /// Takes this server out of service and puts it back after so long, by the run-time API.
    Drain(usize, u64),
    /// A reload with another file.
    Reload,
    /// A new process takes over.
    Upgrade,
}

/// Something to be done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Milliseconds from the start.
    pub at_ms: u64,
    /// What.
    pub deed: Deed,
}

/// How often what is done, in milliseconds; 0 = never.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Between two harms, on average.
    pub harm: u64,
    /// Between two reloads.
    pub reload: u64,
    /// Between two upgrades.
    pub upgrade: u64,
    /// Of a hundred harms, so many are drains instead.
    pub drains: u64,
}

/// The actions of a run, in order of time.
pub fn plan(seed: u64, targets: &[Target], length_ms: u64, rhythm: Rhythm) -> Vec<Action> {
    let mut dice = Dice::new(seed);
    let mut actions = Vec::new();
    let mut busy_until = vec![0_u64; targets.len()];
    let end = length_ms.saturating_sub(QUIET_MS);
    let mut at = QUIET_MS;
    while rhythm.harm > 0 && at < end {
        if let Some(deed) = pick(&mut dice, targets, &busy_until, at, end, rhythm) {
            let (server, time) = match deed {
                Deed::Harm(server, _, time) | Deed::Drain(server, time) => (server, time),
                Deed::Reload | Deed::Upgrade => continue,
            };
            busy_until[server] = at + time + SETTLE_MS;
            actions.push(Action { at_ms: at, deed });
        }
        at += dice.between(rhythm.harm / 2, rhythm.harm * 3 / 2);
    }
    for (every, deed) in [
        (rhythm.reload, Deed::Reload),
        (rhythm.upgrade, Deed::Upgrade),
    ] {
        // Not at the same moment, or each upgrade would meet a reload.
        let mut at = QUIET_MS + every + every / 10;
        while every > 0 && at < end {
            actions.push(Action { at_ms: at, deed });
            at += every;
        }
    }
    actions.sort_by_key(|action| action.at_ms);
    actions
}

/// A deed for a server that is well, when its group can spare it.
fn pick(
    dice: &mut Dice,
    targets: &[Target],
    busy_until: &[u64],
    at: u64,
    end: u64,
    rhythm: Rhythm,
) -> Option<Deed> {
    let server = usize::try_from(dice.next() % targets.len() as u64).ok()?;
    let harm = harm_for(dice, targets[server].nature);
    let time = dice.between(300, 3_000).min(end.saturating_sub(at));
    let drains = dice.is(rhythm.drains);
    let of_group = |index: &usize| targets[*index].group == targets[server].group;
    let group: Vec<usize> = (0..targets.len()).filter(of_group).collect();
    let harmed = group.iter().filter(|index| busy_until[**index] > at);
    let spare = may_be_harmed(group.len());
    if busy_until[server] > at || harmed.count() >= spare || time < 300 {
        return None;
    }
    Some(match drains {
        true => Deed::Drain(server, time),
        false => Deed::Harm(server, harm, time),
    })
}

/// How many of a group may be harmed at a time.
pub fn may_be_harmed(servers: usize) -> usize {
    servers.saturating_sub(1) / 2
}

fn harm_for(dice: &mut Dice, nature: Nature) -> Harm {
    let kinds = nature.harms();
    kinds[usize::try_from(dice.next() % kinds.len() as u64).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<Target> {
        let of = |group, nature| Target { group, nature };
        let mut all = vec![of(0, Nature::Own); 4];
        all.extend([of(0, Nature::Foreign); 3]);
        all.extend([of(1, Nature::Own); 3]);
        all
    }

    const RHYTHM: Rhythm = Rhythm {
        harm: 400,
        reload: 1_000,
        upgrade: 5_000,
        drains: 10,
    };

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        for seed in 0..50 {
            let [one, two] = [(); 2].map(|()| plan(seed, &targets(), 60_000, RHYTHM));
            assert_eq!(one, two);
            assert_ne!(one, plan(seed + 1, &targets(), 60_000, RHYTHM));
        }
    }

    #[test]
    fn enough_of_each_group_are_well_at_any_time() {
        let targets = targets();
        for seed in 0..200 {
            let actions = plan(seed, &targets, 60_000, RHYTHM);
            let spans: Vec<(usize, u64, u64)> = actions
                .iter()
                .filter_map(|action| match action.deed {
                    Deed::Harm(server, _, time) | Deed::Drain(server, time) => {
                        Some((server, action.at_ms, action.at_ms + time + SETTLE_MS))
                    }
                    Deed::Reload | Deed::Upgrade => None,
                })
                .collect();
            for (_, at, _) in &spans {
                for (group, size) in [(0, 7), (1, 3)] {
                    let harmed = spans.iter().filter(|(server, from, to)| {
                        targets[*server].group == group && from <= at && at < to
                    });
                    let servers: Vec<usize> = harmed.map(|(server, ..)| *server).collect();
                    assert!(servers.len() <= may_be_harmed(size), "seed {seed} at {at}");
                }
            }
        }
    }

    #[test]
    fn all_that_can_be_done_is_done() {
        let targets = targets();
        let actions = plan(7, &targets, 600_000, RHYTHM);
        for harm in [
            Harm::Kill,
            Harm::Restart,
            Harm::Stop,
            Harm::Slow,
            Harm::Mute,
            Harm::Reset,
            Harm::Slam,
            Harm::Garbage,
            Harm::BadHead,
            Harm::Cut,
            Harm::Unavailable,
        ] {
            let done =
                |action: &Action| matches!(action.deed, Deed::Harm(_, have, _) if have == harm);
            assert!(actions.iter().any(done), "{harm:?}");
        }
        let count = |deed| actions.iter().filter(|action| action.deed == deed).count();
        assert_eq!((count(Deed::Reload), count(Deed::Upgrade)), (596, 119));
        assert!(
            actions
                .iter()
                .any(|action| matches!(action.deed, Deed::Drain(..)))
        );
        let foreign = |action: &Action| match action.deed {
            Deed::Harm(server, harm, _) => {
                targets[server].nature == Nature::Foreign
                    && !matches!(harm, Harm::Kill | Harm::Restart | Harm::Stop)
            }
            _ => false,
        };
        assert!(
            !actions.iter().any(foreign),
            "programs of others get signals only"
        );
    }
}
