//! Both ends together, and against another implementation.

use loona_hpack::encoder::encode_integer;
use loona_hpack::huffman::HuffmanDecoder;
use loona_hpack::{Decoder as OtherDecoder, Encoder as OtherEncoder};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::huffman::{self, decoded_len_max};
use super::{Decoder, Encoder};
use crate::FieldList;

type Field = (Vec<u8>, Vec<u8>);

const LIST_MAX: usize = 1 << 24;

static NAMES: [&str; 16] = [
    ":method",
    ":path",
    ":status",
    "accept",
    "accept-encoding",
    "authorization",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "set-cookie",
    "server",
    "x-a",
    "x-b",
    "x-request-id",
    "x-some-longer-name-1",
];

static VALUES: [&str; 11] = [
    "",
    "/",
    "GET",
    "200",
    "404",
    "gzip, deflate",
    "text/html; charset=utf-8",
    "a",
    "0123456789",
    "Fri, 20 Nov 2026 21:12:03 GMT",
    "a=b; c=d; e=f; session=0123456789abcdef",
];

/// Names and values that come again, some that are in the static table, and any bytes at all.
fn field() -> impl Strategy<Value = Field> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let name = prop_oneof![
        8 => select(&NAMES[..]).prop_map(bytes),
        1 => vec(any::<u8>(), 0..40).prop_map(|name| name.to_ascii_lowercase()),
        1 => vec(b'a'..=b'z', 0..200),
    ];
    let value = prop_oneof![
        6 => select(&VALUES[..]).prop_map(bytes),
        2 => vec(any::<u8>(), 0..100),
        1 => vec(b' '..=b'~', 0..500),
    ];
    // Some larger than the table, or nearly.
    let large = (any::<u8>(), 2900..4200_usize).prop_map(|(octet, len)| vec![octet; len]);
    let value = prop_oneof![30 => value, 1 => large];
    (name, value)
}

/// A block: how the peer changes its table before it, and its fields.
fn blocks() -> impl Strategy<Value = Vec<(Vec<u32>, Vec<Field>)>> {
    let size = prop_oneof![Just(0), Just(4096), 30..400_u32, 0..10_000_u32];
    let sizes = prop_oneof![4 => Just(Vec::new()), 1 => vec(size, 1..4)];
    vec((sizes, vec(field(), 0..12)), 1..12)
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Vec<Field> {
    let mut out = FieldList::default();
    decoder
        .decode(block, LIST_MAX, &mut out)
        .expect("a sound block");
    out.iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// Blocks as any peer may send them: sound ones, cut, with octets changed.
fn mutated() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (
        blocks(),
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    )
        .prop_map(|(blocks, changes)| {
            let mut encoder = Encoder::new(4096);
            let mut out: Vec<Vec<u8>> = blocks
                .iter()
                .map(|(_, fields)| {
                    let mut out = Vec::new();
                    encoder.begin(&mut out);
                    fields
                        .iter()
                        .for_each(|(name, value)| encoder.field(name, value, &mut out));
                    out
                })
                .collect();
            let count = out.len();
            for (nth, (at, octet)) in changes.into_iter().enumerate() {
                let block = &mut out[nth % count];
                if !block.is_empty() {
                    let at = at.index(block.len());
                    block[at] = octet;
                }
            }
            out
        })
}

/// Decodes blocks until one is wrong, with a list that is over its limit at times.
fn survive(blocks: &[Vec<u8>], table_max: u32, list_max: usize) {
    let mut decoder = Decoder::new(table_max);
    let mut same = Decoder::new(table_max);
    let (mut out, mut all) = (FieldList::default(), FieldList::default());
    for block in blocks {
        out.clear();
        all.clear();
        let result = decoder.decode(block, list_max, &mut out);
        assert_eq!(
            result,
            same.decode(block, LIST_MAX, &mut all),
            "a limit changes no outcome"
        );
        assert_eq!(out.listed_bytes(), all.listed_bytes());
        assert!(all.iter().zip(out.iter()).all(|(all, out)| all == out));
        assert!(out.is_over() == (out.len() < all.len()));
        if result.is_err() {
            return;
        }
    }
}

proptest! {
    #[test]
    fn huffman_is_that_of_another(
        random in vec(any::<u8>(), 0..40),
        ones in vec(select(vec![0xff, 0xff, 0xff, 0xfe, 0xf7, 0x7f, 0]), 0..20),
    ) {
        for coded in [&random[..], &ones, &[&random[..], &ones].concat(), &[&ones[..], &random].concat()] {
            let mut out = vec![0; decoded_len_max(coded.len()) + 1];
            let ours = huffman::decode(coded, &mut out).map(|len| out[..len].to_vec());
            prop_assert_eq!(ours, HuffmanDecoder::new().decode(coded).ok());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(blocks in blocks(), own_max in select(vec![0_u32, 64, 300, 4096, 1 << 20])) {
        let mut encoder = Encoder::new(own_max);
        let mut decoder = Decoder::new(1 << 20);
        for (sizes, fields) in blocks {
            sizes.into_iter().for_each(|size| encoder.set_peer_max(size));
            let mut block = Vec::new();
            encoder.begin(&mut block);
            for (nth, (name, value)) in fields.iter().enumerate() {
                match nth % 2 {
                    0 => encoder.field(name, value, &mut block),
                    _ => encoder.field(&name.to_ascii_uppercase(), value, &mut block),
                }
            }
            prop_assert_eq!(decoded(&mut decoder, &block), fields);
            prop_assert!(encoder.held_bytes() < 4096 * 5 / 4 + 64 + 256 * 16);
        }
    }

    #[test]
    fn another_decoder_reads_what_is_encoded(blocks in blocks()) {
        let mut encoder = Encoder::new(4096);
        let mut other = OtherDecoder::new();
        other.set_max_allowed_table_size(4096);
        for (sizes, fields) in blocks {
            sizes.into_iter().for_each(|size| encoder.set_peer_max(size));
            // The other takes no block that is nothing but changes of the table.
            if fields.is_empty() {
                continue;
            }
            let mut block = Vec::new();
            encoder.begin(&mut block);
            fields.iter().for_each(|(name, value)| encoder.field(name, value, &mut block));
            prop_assert_eq!(other.decode(&block).expect("a sound block"), fields);
        }
    }

    #[test]
    fn what_another_encodes_is_decoded(blocks in blocks()) {
        let mut other = OtherEncoder::new();
        let mut decoder = Decoder::new(10_000);
        for (sizes, fields) in blocks {
            let mut block = Vec::new();
            // The other tells nothing of changes of its table.
            for size in sizes {
                other.set_max_table_size(size as usize);
                let mut update = encode_integer(size as usize, 5);
                update[0] |= 0x20;
                block.extend(update);
            }
            block.extend(other.encode(fields.iter().map(|(name, value)| (&name[..], &value[..]))));
            prop_assert_eq!(decoded(&mut decoder, &block), fields);
        }
    }

    /// The other is laxer in some things, so only what both take must be the same.
    #[test]
    fn what_both_decode_is_the_same(blocks in mutated()) {
        let mut decoder = Decoder::new(4096);
        let mut other = OtherDecoder::new();
        other.set_max_allowed_table_size(4096);
        for block in blocks {
            let mut out = FieldList::default();
            let ours = decoder.decode(&block, LIST_MAX, &mut out);
            let theirs = other.decode(&block);
            let (Ok(()), Ok(theirs)) = (ours, theirs) else {
                break;
            };
            let ours: Vec<Field> = out.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn no_block_does_harm(
        random in vec(vec(any::<u8>(), 0..200), 1..4),
        mutated in mutated(),
        table_max in select(vec![0_u32, 100, 4096, u32::MAX]),
        list_max in select(vec![0, 100, 2000]),
    ) {
        survive(&random, table_max, list_max);
        survive(&mutated, table_max, list_max);
    }
}
