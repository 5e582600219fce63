//! Clients that mean no harm, as they are known to behave, over long times: none of them is ever cut off.

use super::tests::{Frame, Model, frame, headers, model, reset};
use super::*;
use crate::frame::{DATA, END_HEADERS, END_STREAM, HEADERS};
use proptest::prelude::*;

/// What happens on a busy connection; times are milliseconds since the step before.
#[derive(Debug, Clone)]
enum Step {
    /// A download in frames of this size, the window given back for the stream and for the connection after each.
    Download {
        frames: u32,
        bytes: u16,
    },
    /// An upload in frames of this size at full speed.
    Upload {
        frames: u32,
        bytes: u16,
    },
    /// A stream of little messages without answers, as many as these each millisecond.
    Messages {
        bytes: u8,
        each_ms: u8,
        for_ms: u16,
    },
    /// RPCs, each with a PING, and one more for the answer.
    Calls {
        count: u16,
    },
    /// A page is left: this many streams are cancelled, some seconds after they were opened.
    Leave {
        count: u8,
        after_ms: u16,
    },
    /// Calls run into their deadline, all at a time.
    Deadlines {
        count: u8,
    },
    /// Uploads with trailers behind an empty frame.
    Trailers {
        count: u16,
    },
    Rest {
        ms: u16,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..2000u32, 1..=16_384u16).prop_map(|(frames, bytes)| Step::Download {
            frames,
            bytes: bytes.max(64)
        }),
        (1..5000u32, 100..=1024u16).prop_map(|(frames, bytes)| Step::Upload { frames, bytes }),
        (5..40u8, 1..8u8, 1..4000u16).prop_map(|(bytes, each_ms, for_ms)| Step::Messages {
            bytes,
            each_ms,
            for_ms
        }),
        (1..1000u16).prop_map(|count| Step::Calls { count }),
        (1..=100u8, 1000..4000u16).prop_map(|(count, after_ms)| Step::Leave { count, after_ms }),
        (1..=100u8).prop_map(|count| Step::Deadlines { count }),
        (1..1000u16).prop_map(|count| Step::Trailers { count }),
        (0..3000u16).prop_map(|ms| Step::Rest { ms }),
    ]
}

struct Client {
    model: Model,
    now_ms: u64,
    next: u32,
}

impl Client {
    fn says(&mut self, frame: Frame) -> Result<(), H2Abuse> {
        self.model.feed(frame, self.now_ms)
    }

    fn hears(&mut self, frame: Frame) {
        self.model.feed_sent(frame, self.now_ms);
    }

    fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    fn open(&mut self) -> Result<u32, H2Abuse> {
        let stream = self.stream();
        self.says(frame(HEADERS, END_HEADERS, stream, 1))?;
        Ok(stream)
    }

    fn answered(&mut self, stream: u32) {
        self.hears(frame(HEADERS, END_HEADERS, stream, 1));
        self.hears(frame(DATA, END_STREAM, stream, 5));
    }

    fn sends(&mut self, stream: u32, bytes: u32) -> Result<(), H2Abuse> {
        self.says(frame(DATA, 0, stream, bytes))
    }

    fn messages(&mut self, bytes: u8, each_ms: u8, for_ms: u16) -> Result<(), H2Abuse> {
        let stream = self.open()?;
        for _ in 0..for_ms {
            self.now_ms += 1;
            for _ in 0..each_ms {
                self.sends(stream, u32::from(bytes))?;
            }
        }
        self.says(frame(DATA, END_STREAM, stream, 0))?;
        self.answered(stream);
        Ok(())
    }

    fn calls(&mut self, count: u16) -> Result<(), H2Abuse> {
        for _ in 0..count {
            let stream = self.open()?;
            self.says(frame(DATA, END_STREAM, stream, 7))?;
            self.says(frame(PING, 0, 0, 8))?;
            self.answered(stream);
            self.says(frame(PING, 0, 0, 8))?;
        }
        Ok(())
    }

    fn does(&mut self, step: &Step) -> Result<(), H2Abuse> {
        match *step {
            Step::Download { frames, bytes } => {
                let stream = self.stream();
                self.says(headers(stream))?;
                let data = frame(DATA, 0, stream, u32::from(bytes));
                for at in 0..frames {
                    self.hears(data);
                    self.says(frame(WINDOW_UPDATE, 0, stream, 4))?;
                    self.says(frame(WINDOW_UPDATE, 0, 0, 4))?;
                    self.now_ms += u64::from(at % 50 == 0);
                }
                self.answered(stream);
                Ok(())
            }
            Step::Upload { frames, bytes } => {
                let stream = self.open()?;
                for _ in 0..frames {
                    self.sends(stream, u32::from(bytes))?;
                }
                self.says(frame(DATA, END_STREAM, stream, 0))?;
                self.answered(stream);
                Ok(())
            }
            Step::Messages {
                bytes,
                each_ms,
                for_ms,
            } => self.messages(bytes, each_ms, for_ms),
            Step::Calls { count } => self.calls(count),
            Step::Leave { count, after_ms } => {
                let first = self.next;
                for _ in 0..count {
                    let stream = self.stream();
                    self.says(headers(stream))?;
                }
                self.now_ms += u64::from(after_ms);
                for at in 0..u32::from(count) {
                    self.says(reset(first + 2 * at))?;
                }
                Ok(())
            }
            Step::Deadlines { count } => self.does(&Step::Leave {
                count,
                after_ms: 1500,
            }),
            Step::Trailers { count } => {
                for _ in 0..count {
                    let stream = self.open()?;
                    self.sends(stream, 1000)?;
                    self.says(frame(DATA, 0, stream, 0))?;
                    let flags = END_STREAM | END_HEADERS;
                    self.says(frame(HEADERS, flags, stream, 5))?;
                    self.answered(stream);
                }
                Ok(())
            }
            Step::Rest { ms } => {
                self.now_ms += u64::from(ms);
                Ok(())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn fair_clients_are_served(steps in prop::collection::vec(any_step(), 1..30)) {
        let mut client = Client { model: model(), now_ms: 0, next: 1 };
        for step in &steps {
            prop_assert_eq!(client.does(step), Ok(()), "at {} ms: {:?}", client.now_ms, step);
        }
    }
}

/// A storm of uploads that are refused before they are whole: what is under way to streams that we have forgotten is
/// answered with STREAM_CLOSED, and is nobody's fault.
#[test]
fn refused_uploads_are_no_breach() {
    let mut client = Client {
        model: model(),
        now_ms: 0,
        next: 1,
    };
    for _ in 0..100 {
        let stream = client.open().unwrap();
        let now_ms = client.now_ms;
        let guard = &mut client.model.guard;
        guard.reset(ErrorCode::NO_ERROR.0, false, now_ms).unwrap();
        for _ in 0..16 {
            client.sends(stream, 16_384).unwrap();
            let late = ErrorCode::STREAM_CLOSED.0;
            client.model.guard.reset(late, true, now_ms).unwrap();
        }
        client.says(reset(stream)).unwrap();
        client.now_ms += 500;
    }
}

/// A gRPC stream of 20-byte messages, as fast as they can be told apart.
#[test]
fn little_messages_at_full_speed() {
    let mut client = Client {
        model: model(),
        now_ms: 0,
        next: 1,
    };
    let stream = client.open().unwrap();
    for at in 0..1_000_000 {
        client.now_ms += u64::from(at % 500 == 0);
        client.sends(stream, 20).unwrap();
    }
}
