//! `ip_hash: modulo`: the MD5 of the client address, modulo the number of open servers of the first
//! tier.
//!
//! The number is that of the configuration, not of the healthy ones, so that a server that rests
//! moves only its own clients: they are spread over the ready ones.

use crate::choose::{Look, Walk};
use crate::hash::{AddressText, md5_first8, mix};
use crate::members::Members;
use crate::view::Tier;

/// The open servers of the first tier in file order.
#[derive(Debug)]
pub(crate) struct Modulo {
    list: Box<[u16]>,
}

impl Modulo {
    pub(crate) fn new(members: &Members) -> Self {
        let specs = members.specs().iter().enumerate();
        let open = specs.filter(|(index, spec)| spec.is_open() && members.rank(*index) == 0);
        let position = |index| u16::try_from(index).expect("validated: ENDPOINTS_MAX");
        Modulo {
            list: open.map(|(index, _)| position(index)).collect(),
        }
    }

    /// The server of the client; on further attempts another one.
    pub(crate) fn candidate(&self, look: &Look<'_>, walk: &mut Walk) -> Option<usize> {
        let ready = &look.view.ready.list;
        if ready.len() < 2 {
            return ready.first().map(|index| usize::from(*index));
        }
        if walk.step == 0 {
            walk.hash = number(look);
            let all = match look.view.tier {
                Tier::Rank(1..) => ready,
                _ => &self.list,
            };
            if let Some(index) = pick(all, walk.hash).filter(|index| look.view.is_ready(*index)) {
                return Some(index);
            }
        }
        pick(ready, mix(walk.hash.wrapping_add(u64::from(walk.step))))
    }
}

// On its own, or the MD5 is laid into every choice and is slower there.
#[inline(never)]
fn number(look: &Look<'_>) -> u64 {
    match look.ask.client {
        Some(client) => u64::from(md5_first8(AddressText::new(client).as_str())),
        None => look.ask.hash.unwrap_or(look.ask.random),
    }
}

fn pick(list: &[u16], number: u64) -> Option<usize> {
    let at = number.checked_rem(list.len() as u64)?;
    list.get(at as usize).map(|index| usize::from(*index))
}
