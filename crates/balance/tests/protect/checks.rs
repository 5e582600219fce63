//! Active checks of servers that die and come back at random times.

use keel_balance::{Check, CheckFault, CheckSettings, Health, Start};

use crate::pool::Random;

const SEEDS: u64 = 10_000;

/// When a server works: it changes at each of these times, and works at first.
struct Life(Vec<u64>);

impl Life {
    fn new(random: &mut Random) -> Self {
        let mut at = 0;
        let mut next = |_| {
            at += 1 + random.below(120_000);
            at
        };
        Life((0..8).map(&mut next).collect())
    }

    fn works(&self, now: u64) -> bool {
        self.0.partition_point(|change| *change <= now) % 2 == 0
    }

    /// Since when it is what it is at `now`.
    fn since(&self, now: u64) -> u64 {
        let changes = self.0.partition_point(|change| *change <= now);
        changes.checked_sub(1).map_or(0, |last| self.0[last])
    }

    fn end(&self) -> u64 {
        self.0.last().unwrap() + 300_000
    }
}

fn settings(random: &mut Random) -> CheckSettings {
    let every_ms = 100 + random.below(20_000);
    CheckSettings {
        every_ms,
        every_down_ms: (random.below(3) > 0).then(|| 50 + random.below(20_000)),
        timeout_ms: 1 + random.below(every_ms),
        rise: random.below(5) as u32,
        fall: random.below(5) as u32,
        jitter: random.below(4) as f64 * 0.1,
        start: if random.below(2) == 0 {
            Start::Optimistic
        } else {
            Start::FirstCheck
        },
    }
}

/// The verdict by definition, from the whole history of results since the last change.
fn verdict(health: Health, history: &[bool], settings: &CheckSettings) -> Health {
    let streak = |wanted: bool| history.iter().rev().take_while(|it| **it == wanted).count();
    let (passes, fails) = (streak(true) as u32, streak(false) as u32);
    match health {
        Health::Unknown if passes > 0 => Health::Up,
        Health::Unknown if fails > 0 && settings.start == Start::FirstCheck => Health::Down,
        Health::Unknown | Health::Up if fails >= settings.fall.max(1) => Health::Down,
        Health::Down if passes >= settings.rise.max(1) => Health::Up,
        same => same,
    }
}

struct Run {
    seed: u64,
    settings: CheckSettings,
    life: Life,
    check: Check,
    random: Random,
    history: Vec<bool>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let settings = settings(&mut random);
        Run {
            seed,
            life: Life::new(&mut random),
            check: Check::new(settings.clone(), 0, random.next()),
            settings,
            random,
            history: Vec::new(),
        }
    }

    /// Longest time from a change of the server to its verdict.
    fn bound(&self, works: bool) -> u64 {
        let every = self.settings.every_ms;
        let (first, other, times) = if works {
            let down = self
                .settings
                .every_down_ms
                .map_or(every, |down| down.min(every));
            (down, down, self.settings.rise.max(1))
        } else {
            (every, every, self.settings.fall.max(1))
        };
        // The first interval is in part over when the server changes. A check may take longer than
        // the interval.
        let step = |every: u64| {
            let longest = (every as f64 * (1.0 + self.settings.jitter)) as u64 + 1;
            longest.max(self.settings.timeout_ms)
        };
        step(first) + u64::from(times - 1) * step(other) + 2 * self.settings.timeout_ms
    }

    fn once(&mut self) -> u64 {
        let begins = self.check.next_due_ms();
        let before = self.check.health();
        assert_eq!(self.check.begin(begins, self.random.next()), None);
        let works = self.life.works(begins);
        let took = match works {
            true => self.random.below(self.settings.timeout_ms),
            false => self.settings.timeout_ms,
        };
        let ends = begins + took;
        let result = if works {
            Ok(())
        } else {
            Err(CheckFault::Timeout)
        };
        let change = self.check.finish(result, ends, self.random.next());
        self.history.push(works);
        let expected = verdict(before, &self.history, &self.settings);
        assert_eq!(self.check.health(), expected, "seed {}", self.seed);
        assert_eq!(change.is_some(), expected != before, "seed {}", self.seed);
        if let Some(change) = change {
            assert_eq!((change.from, change.to), (before, expected));
            assert_eq!(change.to == Health::Down, !works);
            self.history.clear();
        }
        self.rhythm(begins, ends);
        ends
    }

    /// The next check is one interval after this one, or right after it.
    fn rhythm(&self, begins: u64, ends: u64) {
        let every = match (self.check.health(), self.settings.every_down_ms) {
            (Health::Up, _) | (_, None) => self.settings.every_ms,
            (_, Some(down)) => down.min(self.settings.every_ms),
        };
        // The interval is that of the health before a verdict or after it.
        let least = every.min(self.settings.every_ms) as f64 * (1.0 - self.settings.jitter);
        let most = self.settings.every_ms as f64 * (1.0 + self.settings.jitter);
        let next = self.check.next_due_ms();
        assert!(next >= ends, "seed {}", self.seed);
        let gap = (next - begins) as f64;
        let late = next == ends;
        assert!(
            gap >= least - 1.0,
            "seed {}: {gap} ms, least {least}",
            self.seed
        );
        assert!(
            late || gap <= most + 1.0,
            "seed {}: {gap} ms, most {most}",
            self.seed
        );
    }
}

#[test]
fn verdicts_are_right_and_in_time() {
    for seed in 0..SEEDS {
        let mut run = Run::new(seed);
        loop {
            let now = run.once();
            let (works, since) = (run.life.works(now), run.life.since(now));
            if now - since >= run.bound(works) {
                let expected = if works { Health::Up } else { Health::Down };
                assert_eq!(
                    run.check.health(),
                    expected,
                    "seed {seed} at {now}, {since}"
                );
            }
            if now > run.life.end() {
                break;
            }
        }
        assert_eq!(
            run.check.health(),
            Health::Up,
            "seed {seed}: works in the end"
        );
    }
}

#[test]
fn servers_are_not_checked_in_step() {
    let mut random = Random(1);
    let mut seconds = [0u32; 10];
    for _ in 0..1_000 {
        let settings = CheckSettings {
            every_ms: 10_000,
            every_down_ms: None,
            ..CheckSettings::default()
        };
        let mut check = Check::new(settings, 0, random.next());
        for _ in 0..20 {
            let now = check.next_due_ms();
            check.begin(now, random.next());
            check.finish(Ok(()), now, random.next());
        }
        seconds[(check.next_due_ms() / 1_000 % 10) as usize] += 1;
    }
    assert!(
        seconds.iter().all(|count| (50..170).contains(count)),
        "{seconds:?}"
    );
}
