//! The course of a world.

use std::sync::Arc;
use std::task::Waker;

use keel_http2::{Config, Connection, ErrorCode, Event, H2GuardLimits, StreamError};

use super::plan::{Dice, Plan, Quit, Turn, World};
use super::task::{Outcome, Task};
use super::watch::Watch;
use crate::side::Woken;

/// More steps than any world takes.
const STEPS_MAX: usize = 5_000_000;

struct End {
    conn: Connection,
    watch: Watch,
    io: Arc<Woken>,
    /// Bytes on the way to it.
    inbox: Vec<u8>,
    tasks: Vec<Task>,
    /// Bytes of its `out` that were looked at.
    seen: usize,
    /// What its owner knew when it last looked.
    has_out: bool,
    wants: bool,
    /// It has closed the socket.
    closed: bool,
    eof: bool,
}

impl End {
    fn new(conn: Connection, is_server: bool) -> End {
        let mut end = End {
            conn,
            watch: Watch::new(is_server),
            io: Woken::new(),
            inbox: Vec::new(),
            tasks: Vec::new(),
            seen: 0,
            has_out: true,
            wants: true,
            closed: false,
            eof: false,
        };
        end.look();
        end
    }

    /// Has what was said since the last time looked at.
    fn look(&mut self) {
        let out = self.conn.out();
        self.watch.says(&out[self.seen..]);
        self.seen = out.len();
    }
}

/// Something that can happen next.
#[derive(Debug, Clone, Copy)]
enum Act {
    Io(usize),
    Task(usize, usize),
    Open,
    Turn,
}

pub struct Universe {
    world: World,
    ends: [End; 2],
    dice: Dice,
    now: u64,
    next_plan: usize,
    turned: bool,
    pinged: bool,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

fn config(world: &World, which: usize) -> Config {
    let (stream, connection) = world.windows[which];
    Config {
        stream_window_bytes: stream,
        connection_window_bytes: connection,
        streams_max: world.streams_max,
        header_list_bytes_max: 65_536,
        out_bytes_max: world.out_max[which],
        limits: H2GuardLimits::default(),
    }
}

impl Universe {
    /// Lets a world happen and judges what became of it.
    pub fn run(mut world: World) {
        if world.cut < 64 {
            // So little at a time takes long.
            for plan in &mut world.plans {
                plan.request.body.len %= 5000;
                plan.answer.body.len %= 5000;
            }
        }
        let client = Connection::client(config(&world, CLIENT));
        let server = Connection::server(config(&world, SERVER), 0);
        let mut universe = Universe {
            ends: [End::new(client, false), End::new(server, true)],
            dice: Dice::new(world.seed),
            now: 0,
            next_plan: 0,
            turned: matches!(world.turn.1, Turn::None),
            pinged: false,
            world,
        };
        universe.go_on();
        universe.judge();
        universe.end();
    }

    /// Until nothing can happen any more.
    fn go_on(&mut self) {
        for _ in 0..STEPS_MAX {
            self.now += 1;
            let acts = self.acts();
            if acts.is_empty() {
                let due = |task: &Task| task.due.iter().flatten().copied().min();
                let tasks = self.ends.iter().flat_map(|end| &end.tasks);
                let open = tasks.filter(|task| !task.outcome.over);
                let turn = (!self.turned).then_some(u64::from(self.world.turn.0));
                match open.filter_map(due).chain(turn).min() {
                    Some(due) => self.now = self.now.max(due),
                    None => return,
                }
                continue;
            }
            let act = acts[self.dice.below(acts.len())];
            self.act(act);
        }
        panic!("it does not end");
    }

    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (at, end) in self.ends.iter().enumerate() {
            let peer = &self.ends[1 - at];
            let writes = end.has_out && !peer.eof && peer.inbox.len() < self.world.under_way;
            let reads = end.wants && !end.inbox.is_empty();
            let ended = end.inbox.is_empty() && peer.closed && !end.eof;
            if !end.closed && (writes || reads || ended || end.io.is_woken()) {
                acts.push(Act::Io(at));
            }
            for (number, task) in end.tasks.iter().enumerate() {
                if task.is_ready(self.now) {
                    acts.push(Act::Task(at, number));
                }
            }
        }
        let client = &self.ends[CLIENT].conn;
        let room = client.active() < self.world.streams_max as usize;
        if client.is_open() && room && self.next_plan < self.world.plans.len() {
            acts.push(Act::Open);
        }
        if !self.turned && self.now >= u64::from(self.world.turn.0) {
            acts.push(Act::Turn);
        }
        acts
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Io(at) => self.io(at),
            Act::Task(at, number) => {
                let end = &mut self.ends[at];
                end.tasks[number].run(&mut end.conn, &mut self.dice, self.now);
                end.look();
            }
            Act::Open => {
                let end = &mut self.ends[CLIENT];
                let plan = &self.world.plans[self.next_plan];
                let task = Task::open(&mut end.conn, self.next_plan, plan, self.now);
                end.tasks.push(task);
                self.next_plan += 1;
                end.look();
            }
            Act::Turn => self.turn(),
        }
    }

    fn turn(&mut self) {
        self.turned = true;
        let [client, server] = &mut self.ends;
        match self.world.turn.1 {
            Turn::None => {}
            Turn::Ping => {
                client.conn.ping();
                server.conn.ping();
                self.pinged = true;
            }
            Turn::ServerDrains => server.conn.drain(),
            Turn::ClientDrains => client.conn.drain(),
            Turn::ServerEnds => server.conn.end(ErrorCode::INTERNAL_ERROR),
            Turn::Lost => {
                for end in &mut self.ends {
                    end.conn.lost();
                    end.inbox.clear();
                    (end.eof, end.closed) = (true, true);
                }
            }
        }
        for end in &mut self.ends {
            end.look();
        }
    }

    /// What the owner of a socket does.
    fn io(&mut self, at: usize) {
        let end = &mut self.ends[at];
        end.io.take();
        end.conn.set_io_waker(&Waker::from(end.io.clone()));
        if self.dice.below(2) == 0 {
            self.read(at);
            self.write(at);
        } else {
            self.write(at);
            self.read(at);
        }
        let peer_closed = self.ends[1 - at].closed;
        let end = &mut self.ends[at];
        if end.inbox.is_empty() && peer_closed && !end.eof {
            end.eof = true;
            end.conn.lost();
        }
        end.look();
        end.has_out = !end.conn.out().is_empty();
        end.wants = end.conn.wants_bytes();
        if end.conn.is_over() && (!end.has_out || peer_closed) {
            end.closed = true;
        }
    }

    fn read(&mut self, at: usize) {
        let end = &mut self.ends[at];
        if !end.conn.wants_bytes() || end.inbox.is_empty() {
            return;
        }
        let len = end.inbox.len().min(1 + self.dice.below(self.world.cut));
        let bytes: Vec<u8> = end.inbox.drain(..len).collect();
        end.watch.hears(&bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match end.conn.receive(&mut rest, self.now / 10) {
                Ok(Some(Event::Opened(stream))) => {
                    let task = Task::accept(&mut end.conn, stream, &self.world.plans);
                    end.tasks.push(task);
                }
                Ok(None) => assert!(rest.is_empty()),
                Err(abuse) => panic!("end {at} fails: {abuse}"),
            }
        }
        end.look();
    }

    fn write(&mut self, at: usize) {
        let room = self
            .world
            .under_way
            .saturating_sub(self.ends[1 - at].inbox.len());
        let end = &mut self.ends[at];
        let out = end.conn.out();
        let len = out.len().min(room).min(1 + self.dice.below(self.world.cut));
        let bytes = out[..len].to_vec();
        end.conn.written(len);
        end.seen -= len;
        end.look();
        let peer = &mut self.ends[1 - at];
        if !peer.eof && !peer.closed {
            peer.inbox.extend(bytes);
        }
    }

    fn judge(&mut self) {
        for (at, end) in self.ends.iter().enumerate() {
            for task in &end.tasks {
                assert!(
                    task.outcome.over,
                    "end {at} waits for ever: {task:?} {:?}",
                    end.conn
                );
                self.judge_task(at, task);
            }
            assert_eq!(end.conn.active(), 0, "end {at}");
        }
        let [client, server] = &self.ends;
        if client.conn.is_open() {
            assert_eq!(self.next_plan, self.world.plans.len());
            assert_eq!(server.tasks.len(), self.next_plan);
        }
    }

    fn judge_task(&self, at: usize, task: &Task) {
        let plan = &self.world.plans[task.index];
        let outcome = task.outcome;
        if let Some(error) = outcome.error {
            let allowed = match at {
                CLIENT => self.client_may_see(plan, error),
                _ => self.server_may_see(plan, error),
            };
            assert!(allowed, "end {at}, {} saw {error:?}: {plan:?}", task.index);
        }
        if outcome.quit || outcome.error.is_some() && !is_early_end(plan, outcome) {
            return;
        }
        assert!(outcome.sent || plan.early, "{outcome:?}");
        assert!(outcome.received || at == SERVER && plan.early);
    }

    fn client_may_see(&self, plan: &Plan, error: StreamError) -> bool {
        let turn = self.turned.then_some(self.world.turn.1);
        let quit = plan.answer.quit.map(|it| it.1);
        match error {
            StreamError::Refused => {
                // Of what is lost, that of which nothing was sent.
                let gone = matches!(
                    turn,
                    Some(Turn::ServerDrains | Turn::ServerEnds | Turn::Lost)
                );
                gone || quit == Some(Quit::Reset(7))
            }
            StreamError::Reset(code) => match quit {
                Some(Quit::Reset(asked)) if asked == code.0 => true,
                Some(Quit::Release) if code.0 == 8 || code.0 == 0 => true,
                _ => plan.early && code.0 == 0,
            },
            StreamError::Lost => matches!(turn, Some(Turn::Lost | Turn::ServerEnds)),
            StreamError::Ended(_) => false,
        }
    }

    fn server_may_see(&self, plan: &Plan, error: StreamError) -> bool {
        let turn = self.turned.then_some(self.world.turn.1);
        let quit = plan.request.quit.map(|it| it.1);
        match error {
            StreamError::Reset(code) => match quit {
                Some(Quit::Reset(asked)) => asked == code.0,
                Some(Quit::Release) => code.0 == 8,
                None => false,
            },
            StreamError::Lost => matches!(turn, Some(Turn::Lost | Turn::ServerEnds)),
            StreamError::Refused | StreamError::Ended(_) => false,
        }
    }

    /// What holds when all streams are over, and what becomes of the connection.
    fn end(&mut self) {
        if self.pinged {
            assert!(self.ends.iter_mut().all(|end| end.conn.take_pong()));
        }
        for (at, end) in self.ends.iter_mut().enumerate() {
            let (_, window) = self.world.windows[at];
            if matches!(self.world.turn.1, Turn::None | Turn::Ping) {
                let open = end.watch.open_window();
                assert!(open > u64::from(window) / 2, "{open} of {window} are left");
                assert_eq!(end.conn.out(), b"");
                assert!(end.inbox.is_empty());
            }
            end.conn.trim();
        }
        self.turned = true;
        self.ends[SERVER].conn.drain();
        self.ends[SERVER].look();
        self.go_on();
        for (at, end) in self.ends.iter().enumerate() {
            assert!(end.conn.is_over() && end.closed, "end {at} is not over");
            assert_eq!(end.conn.active(), 0);
        }
        if !matches!(self.world.turn.1, Turn::None | Turn::Ping) {
            return; // half a frame may have come, or not have been written
        }
        for end in &mut self.ends {
            end.conn.trim();
            let held = end.conn.held_bytes();
            assert!(held < 12 << 10, "{held} bytes are held");
        }
    }
}

/// The answer was whole before its request, which is not wanted any more.
fn is_early_end(plan: &Plan, outcome: Outcome) -> bool {
    let error = outcome.error;
    plan.early
        && plan.answer.quit.is_none()
        && error == Some(StreamError::Reset(ErrorCode::NO_ERROR))
}
