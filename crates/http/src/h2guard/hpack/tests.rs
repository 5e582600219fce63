//! The examples of RFC 7541, appendix C, what is broken, and that the cut of the input makes no difference.

use super::*;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn read(blocks: &mut Blocks, bytes: &[u8]) -> Result<bool, Broken> {
    blocks.begin();
    blocks.feed(bytes)?;
    blocks.end()
}

#[test]
fn the_requests_of_the_examples() {
    // C.3 and C.4: the same three requests, plain and in the Huffman code.
    for list in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut blocks = Blocks::new();
        for (block, size) in list.iter().zip([57, 110, 164]) {
            assert_eq!(read(&mut blocks, &hex(block)), Ok(true));
            assert_eq!(blocks.table.size(), size);
        }
    }
}

#[test]
fn the_answers_of_the_examples_evict() {
    // C.6, with a table of 256 bytes.
    let mut blocks = Blocks::new();
    assert_eq!(read(&mut blocks, &hex("3fe1 01")), Ok(false));
    for (block, size) in [
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
             919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            222,
        ),
        ("4883 640e ffc1 c0bf", 222),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
             821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
             4ee5 b106 3d50 07",
            215,
        ),
    ] {
        assert_eq!(read(&mut blocks, &hex(block)), Ok(true));
        assert_eq!(blocks.table.size(), size);
    }
}

#[test]
fn pseudo_header_fields_in_each_form() {
    let mut blocks = Blocks::new();
    for block in [
        "82",                      // by an index
        "01 00",                   // the name by an index
        "00 05 3a 70 61 74 68 00", // the name as it is
        "00 84 b9 58 d3 3f 01 2f", // in the Huffman code
        "40 02 3a 78 00",          // into the table
        "be",                      // from the table
        "0f 2f 00",                // its name only
    ] {
        assert_eq!(read(&mut blocks, &hex(block)), Ok(true), "{block}");
    }
    for block in [
        "00 01 78 01 3a",
        "00 00 00",
        "3f e1 1f",
        "90",
        "40 01 78 00",
        "be",
    ] {
        assert_eq!(read(&mut blocks, &hex(block)), Ok(false), "{block}");
    }
}

#[test]
fn what_cannot_be_read() {
    for block in [
        "80", // index 0
        "be", // beyond the tables
        "ff 0a",
        "7e 00",
        "40",
        "40 01",
        "00 01 78",
        "00 01 78 05 61",
        "ff",
        "ff 80 80 80 80 00",       // an integer of six bytes
        "82 20",                   // a resize behind a field
        "3f e2 1f",                // to 4,097
        "00 01 78 81 00",          // padding that is not ones
        "00 01 78 82 1f ff",       // eight bits of padding
        "00 01 78 84 ff ff ff ff", // the end of a string
        "00 01 78 81 18",          // a symbol and wrong padding
    ] {
        assert_eq!(
            read(&mut Blocks::new(), &hex(block)),
            Err(Broken),
            "{block}"
        );
    }
    for block in ["3f e1 1f", "20 3f e1 1f 82", "00 01 78 81 1f", "00 80 80"] {
        assert!(read(&mut Blocks::new(), &hex(block)).is_ok(), "{block}");
    }
}

proptest! {
    #[test]
    fn the_cut_makes_no_difference(
        list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6),
        cut in 1usize..20,
    ) {
        let (mut whole, mut pieces) = (Blocks::new(), Blocks::new());
        for bytes in list {
            pieces.begin();
            let fed = bytes.chunks(cut).try_for_each(|piece| pieces.feed(piece));
            let found = read(&mut whole, &bytes);
            prop_assert_eq!(found, fed.and_then(|()| pieces.end()));
            if found.is_err() {
                break;
            }
            prop_assert_eq!(whole.table.size(), pieces.table.size());
            prop_assert!(whole.table.size() <= 4096);
        }
    }
}
