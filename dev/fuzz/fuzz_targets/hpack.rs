//! HPACK: no panic, nothing beyond the limits of list and table, and what was decoded comes back when it is encoded.
//! The input is what SETTINGS announce (one octet), then blocks: a length (two octets) and as many octets as it says.
#![no_main]

use keel_http2::FieldList;
use keel_http2::hpack::{Decoder, Encoder};
use libfuzzer_sys::fuzz_target;

const LIST_BYTES_MAX: usize = 16 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else {
        return;
    };
    let table_bytes_max = u32::from(first) * 64;
    let mut decoder = Decoder::new(table_bytes_max);
    // The same blocks with a list that takes nothing must leave the same table.
    let mut blind = Decoder::new(table_bytes_max);
    let (mut encoder, mut back) = (Encoder::new(table_bytes_max), Decoder::new(4096));
    let (mut list, mut none, mut again) = Default::default();
    while let Some((len, after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
        let (block, after) = after.split_at(len);
        rest = after;
        clear([&mut list, &mut none, &mut again]);
        let decoded = decoder.decode(block, LIST_BYTES_MAX, &mut list);
        assert_eq!(decoded, blind.decode(block, 0, &mut none));
        assert_eq!(list.listed_bytes(), none.listed_bytes());
        assert!(none.is_empty());
        assert_eq!(list.is_over(), list.listed_bytes() > LIST_BYTES_MAX);
        let table_bytes = table_bytes_max.max(4096) as usize;
        assert!(decoder.held_bytes() <= table_bytes * 2 && blind.held_bytes() <= table_bytes * 2);
        if decoded.is_err() {
            return;
        }
        round_trip(&mut encoder, &mut back, &list, &mut again);
        encoder.set_peer_max(u32::from(block.first().copied().unwrap_or(0)) * 32);
    }
});

fn clear(lists: [&mut FieldList; 3]) {
    for list in lists {
        list.clear();
    }
}

fn round_trip(encoder: &mut Encoder, back: &mut Decoder, list: &FieldList, again: &mut FieldList) {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value) in list.iter() {
        encoder.field(name, value, &mut block);
    }
    assert_eq!(back.decode(&block, usize::MAX, again), Ok(()));
    assert_eq!(list.len(), again.len());
    for ((name, value), (its_name, its_value)) in list.iter().zip(again.iter()) {
        assert!(name.eq_ignore_ascii_case(its_name) && value == its_value);
        assert!(!its_name.iter().any(u8::is_ascii_uppercase));
    }
}
