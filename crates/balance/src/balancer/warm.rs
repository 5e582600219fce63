//! The choice while endpoints warm up, for the algorithms in which the board's keys do not see to it.
//!
//! The algorithm is asked as ever, and an endpoint that warms up is passed over for a part of the
//! requests that it would get. Whether it is depends on the request's key when there is one, so
//! that a key which is back at its server stays there while the share grows. One that was passed
//! over takes the request all the same when nobody else does.

use super::{ATTEMPTS_MAX, Admission, Balancer, Choice};
use crate::ask::{Ask, Selected};
use crate::board::Board;
use crate::choose::{Choose, Look, Walk};
use crate::hash::{GOLDEN, mix, unit};
use crate::view::{Tier, View};

/// Endpoints that a request may have tried or passed over; beyond that nobody is passed over.
const OUT_MAX: usize = 32;

/// Who is out of the question for a request.
struct Out {
    list: [usize; OUT_MAX],
    len: usize,
}

impl Out {
    fn of(tried: &[usize]) -> Option<Out> {
        let mut out = Out {
            list: [0; OUT_MAX],
            len: tried.len(),
        };
        out.list.get_mut(..tried.len())?.copy_from_slice(tried);
        Some(out)
    }

    fn as_slice(&self) -> &[usize] {
        &self.list[..self.len]
    }

    fn push(&mut self, index: usize) -> bool {
        match self.list.get_mut(self.len) {
            Some(slot) => {
                *slot = index;
                self.len += 1;
                true
            }
            None => false,
        }
    }
}

impl Balancer {
    #[cold]
    pub(super) fn select_warming(&self, view: &View, ask: &Ask<'_>) -> Choice {
        let Some(mut out) = Out::of(ask.tried) else {
            return self.select_by(view, ask);
        };
        let mut passed_over = None;
        let mut walk = Walk::of(ask);
        while walk.step < ATTEMPTS_MAX {
            let left = Ask {
                tried: out.as_slice(),
                ..*ask
            };
            let look = Look {
                ask: &left,
                view,
                members: &self.members,
                board: self.board.as_deref(),
            };
            let Some(index) = self.choose.candidate(&look, &self.turn, &mut walk) else {
                break;
            };
            walk.step += 1;
            if out.as_slice().contains(&index) {
                continue;
            }
            if self.passes_over(view, index, ask.random, walk.hash) && out.push(index) {
                passed_over = passed_over.or(Some(index));
                continue;
            }
            match self.admit(index, ask.now_ms, view.tier == Tier::Resting) {
                Admission::Taken(permit) => return Choice::Taken(Selected { index, permit }),
                Admission::Full => {}
                Admission::Resting => return Choice::OldView,
            }
        }
        let Some(index) = passed_over else {
            return Choice::Nobody;
        };
        match self.admit(index, ask.now_ms, false) {
            Admission::Taken(permit) => Choice::Taken(Selected { index, permit }),
            Admission::Full => Choice::Nobody,
            Admission::Resting => Choice::OldView,
        }
    }

    /// Whether this request does not go to an endpoint that warms up.
    fn passes_over(&self, view: &View, index: usize, random: u64, hash: u64) -> bool {
        let share = view.share(index);
        if share >= 1.0 || matches!(self.choose, Choose::PowerOfTwo) {
            // Two choices see to it themselves: who gets less would always be the less busy one.
            return false;
        }
        let busy = |board: &Board| board.key(index) != 0;
        if matches!(self.choose, Choose::LeastConn(_)) && self.board.as_deref().is_some_and(busy) {
            // Its key says it; that of an idle one cannot.
            return false;
        }
        let key = match self.choose {
            Choose::Keyed(_) | Choose::Modulo(_) => hash,
            _ => random,
        };
        let bits = mix(key ^ GOLDEN.wrapping_mul(index as u64 + 1));
        unit(bits) >= share
    }
}
