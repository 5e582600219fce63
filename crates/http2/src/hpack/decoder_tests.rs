//! Blocks in and lists out: the examples of RFC 7541, what is refused, what it may cost.

use super::*;

type Fields = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

fn fields(list: &FieldList) -> Fields {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    list.iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn owned(pairs: &[(&str, &str)]) -> Fields {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, DecodeError> {
    let mut out = FieldList::default();
    decoder.decode(block, 1 << 20, &mut out)?;
    assert!(!out.is_over());
    Ok(fields(&out))
}

fn table(decoder: &Decoder) -> Fields {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (0..decoder.table.len())
        .map(|at| {
            let (joined, name_len) = decoder.table.get(at).unwrap();
            (text(&joined[..name_len]), text(&joined[name_len..]))
        })
        .collect()
}

/// A block, the fields it brings, and the table afterwards.
type Example<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

fn examples(decoder: &mut Decoder, examples: &[Example<'_>]) {
    for (block, list, after) in examples {
        assert_eq!(decode(decoder, &hex(block)), Ok(owned(list)), "{block}");
        assert_eq!(table(decoder), owned(after), "{block}");
    }
}

/// RFC 7541, C.1.
#[test]
fn integers_of_the_rfc() {
    let integer = |first: u8, mask, rest: &[u8]| Block(rest).integer(first, mask);
    assert_eq!(integer(0b1110_1010, 0x1f, &[]), Ok(10));
    assert_eq!(
        integer(0b0001_1111, 0x1f, &[0b1001_1010, 0b0000_1010]),
        Ok(1337)
    );
    assert_eq!(integer(42, 0xff, &[]), Ok(42));
}

/// RFC 7541, C.2.
#[test]
fn fields_of_the_rfc() {
    let new = || Decoder::new(4096);
    let custom = [("custom-key", "custom-header")];
    let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    examples(&mut new(), &[(block, &custom, &custom)]);
    let block = "040c 2f73 616d 706c 652f 7061 7468";
    examples(&mut new(), &[(block, &[(":path", "/sample/path")], &[])]);
    let block = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    examples(&mut new(), &[(block, &[("password", "secret")], &[])]);
    examples(&mut new(), &[("82", &[(":method", "GET")], &[])]);
}

/// RFC 7541, C.3 and C.4.
#[test]
fn requests_of_the_rfc() {
    let authority = (":authority", "www.example.com");
    let (cache, custom) = (
        ("cache-control", "no-cache"),
        ("custom-key", "custom-value"),
    );
    let (get, http, https) = (
        (":method", "GET"),
        (":scheme", "http"),
        (":scheme", "https"),
    );
    let lists = [
        vec![get, http, (":path", "/"), authority],
        vec![get, http, (":path", "/"), authority, cache],
        vec![get, https, (":path", "/index.html"), authority, custom],
    ];
    let tables = [
        vec![authority],
        vec![cache, authority],
        vec![custom, cache, authority],
    ];
    for blocks in [
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
        let mut decoder = Decoder::new(4096);
        for (at, block) in blocks.iter().enumerate() {
            examples(&mut decoder, &[(block, &lists[at], &tables[at])]);
        }
        assert_eq!(decoder.table.size(), 164);
    }
}

/// RFC 7541, C.5 and C.6: a table of 256 bytes.
#[test]
fn answers_of_the_rfc() {
    let (s302, s307) = ((":status", "302"), (":status", "307"));
    let private = ("cache-control", "private");
    let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let later = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    let location = ("location", "https://www.example.com");
    let gzip = ("content-encoding", "gzip");
    let cookie = (
        "set-cookie",
        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    );
    let lists = [
        vec![s302, private, date, location],
        vec![s307, private, date, location],
        vec![(":status", "200"), private, later, location, gzip, cookie],
    ];
    let tables = [
        vec![location, date, private, s302],
        vec![s307, location, date, private],
        vec![cookie, gzip, later],
    ];
    let sizes = [222, 222, 215];
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, &hex("3fe101")), Ok(vec![]));
        for (at, block) in blocks.iter().enumerate() {
            examples(&mut decoder, &[(block, &lists[at], &tables[at])]);
            assert_eq!(decoder.table.size(), sizes[at]);
        }
    }
}

#[test]
fn integers_are_bounded() {
    let integer = |rest: &[u8]| Block(rest).integer(0x7f, 0x7f);
    assert_eq!(integer(&[0]), Ok(127));
    assert_eq!(integer(&[0x80, 0]), Ok(127), "zeroes may follow");
    assert_eq!(integer(&[0x80, 0x80, 0x80, 0x80, 0]), Ok(127));
    assert_eq!(
        integer(&[0x80, 0xff, 0xff, 0xff, 0x0f]),
        Ok(u32::MAX as usize)
    );
    for wrong in [
        &[][..],
        &[0x80],
        &[0x80, 0x80, 0x80, 0x80],
        &[0x81, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0],
        &[0xff; 40],
    ] {
        assert_eq!(integer(wrong), Err(DecodeError), "{wrong:x?}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for wrong in [
        "80",         // index 0
        "be",         // an empty table's first
        "ffffffff7f", // an index beyond all tables
        "7e00",       // a name that is not there
        "3f",         // half an integer
        "40",         // no name
        "4001",       // half a name
        "400161",     // no value
        "40016102",   // half a value
        "40016101",
        "0001618100", // padding of zeroes
        "00016181ff", // nothing but padding
        "82 20",      // a change of the table after a field
        "3fe21f",     // 4097
        "3fffffffff0f",
    ] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(
            decode(&mut decoder, &hex(wrong)),
            Err(DecodeError),
            "{wrong}"
        );
    }
}

#[test]
fn the_table_changes_at_the_beginning_of_a_block() {
    let mut decoder = Decoder::new(4096);
    assert!(decode(&mut decoder, &hex("4001 6101 62")).is_ok());
    assert_eq!(decode(&mut decoder, &hex("be")), Ok(owned(&[("a", "b")])));
    // Down to what is there, then to less, which drops it for good.
    assert_eq!(
        decode(&mut decoder, &hex("3f03 be")),
        Ok(owned(&[("a", "b")]))
    );
    assert_eq!(decode(&mut decoder, &hex("3f02 3fe11f")), Ok(vec![]));
    assert_eq!(decode(&mut decoder, &hex("be")), Err(DecodeError));
    assert_eq!(decoder.held_bytes(), 0);
    let mut small = Decoder::new(100);
    assert_eq!(decode(&mut small, &hex("3f45")), Ok(vec![]));
    assert_eq!(decode(&mut small, &hex("3f46")), Err(DecodeError));
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    for coded in [false, true] {
        let mut decoder = Decoder::new(4096);
        assert!(decode(&mut decoder, &hex("3f45 4001 6101 62 4001 6301 64")).is_ok());
        assert_eq!(decoder.table.len(), 2);
        // A name and a value of 69 bytes: one too many.
        let mut block = hex("40 01 65");
        match coded {
            false => {
                block.push(68);
                block.extend([b'0'; 68]);
            }
            true => {
                let mut value = Vec::new();
                huffman::encode(&[b'0'; 68], &mut value);
                block.push(0x80 | value.len() as u8);
                block.extend(value);
            }
        }
        let list = decode(&mut decoder, &block).unwrap();
        assert_eq!(list, owned(&[("e", &"0".repeat(68))]));
        assert_eq!(decoder.table.len(), 0);
    }
}

#[test]
fn a_name_may_be_of_the_entry_that_goes() {
    // A table for one entry of 34 bytes, and a new one with the name of the old (RFC 7541, 4.4).
    for limit in [0, 1 << 10] {
        let mut decoder = Decoder::new(4096);
        assert!(decode(&mut decoder, &hex("3f03 4001 6101 62")).is_ok());
        let mut out = FieldList::default();
        assert_eq!(decoder.decode(&hex("7e01 63"), limit, &mut out), Ok(()));
        assert_eq!(out.is_over(), limit == 0);
        assert_eq!(table(&decoder), owned(&[("a", "c")]));
    }
}

#[test]
fn a_list_over_its_limit_is_not_kept_but_its_table_is() {
    let mut decoder = Decoder::new(4096);
    let mut out = FieldList::default();
    // Three fields of 36, 34 and 35 bytes, a limit that takes the first alone.
    let block = hex("4002 6161 0262 62 4001 6301 64 7e02 6565");
    assert_eq!(decoder.decode(&block, 60, &mut out), Ok(()));
    assert!(out.is_over());
    assert_eq!(out.listed_bytes(), 36 + 34 + 35);
    assert_eq!(fields(&out), owned(&[("aa", "bb")]));
    assert_eq!(
        table(&decoder),
        owned(&[("c", "ee"), ("c", "d"), ("aa", "bb")])
    );
    out.clear();
    assert_eq!(decoder.decode(&hex("be bf"), 69, &mut out), Ok(()));
    assert!(!out.is_over());
    assert_eq!(out.len(), 2);
}

/// A block of 15 KB that stands for 60 MB, in three forms.
#[test]
fn a_bomb_costs_nothing() {
    let value = "x".repeat(3900);
    let fill = |decoder: &mut Decoder, name: &str| {
        let mut block = vec![0x40, name.len() as u8];
        block.extend(name.as_bytes());
        block.extend([0x7f, 0xbd, 0x1d]);
        block.extend(value.as_bytes());
        assert!(decode(decoder, &block).is_ok());
        assert_eq!(decoder.table.len(), 1);
    };
    let mut decoder = Decoder::new(4096);
    let mut out = FieldList::default();
    fill(&mut decoder, "a");
    assert_eq!(decoder.decode(&[0xbe; 15_400], 16 << 10, &mut out), Ok(()));
    assert!(out.is_over() && out.listed_bytes() > 60_000_000);
    assert!(out.held_bytes() < 40 << 10, "{}", out.held_bytes());
    assert!(decoder.held_bytes() < 6 << 10, "{}", decoder.held_bytes());
    // A name of 4000 bytes that is copied for every three: by the table alone.
    assert!(
        decode(
            &mut decoder,
            &[&[0x40, 0x7f, 0xa1, 0x1e][..], &[b'n'; 4000], b"\x01x"].concat()
        )
        .is_ok()
    );
    assert_eq!(decoder.table.len(), 1);
    let mut out = FieldList::default();
    let block = [0x7e, 1, b'x'].repeat(5_000);
    assert_eq!(decoder.decode(&block, 1_000, &mut out), Ok(()));
    assert!(
        out.is_over() && out.held_bytes() < 9_000,
        "{}",
        out.held_bytes()
    );
    assert!(decoder.held_bytes() < 9 << 10, "{}", decoder.held_bytes());
    // A string that neither the list nor the table takes: 49,005 bytes that stand for 78,408.
    let mut coded = vec![0x00, 0x01, b'b', 0xff, 0xee, 0xfd, 0x02];
    coded.resize(7 + 49_005, 0);
    let mut out = FieldList::default();
    assert_eq!(decoder.decode(&coded, 1_000, &mut out), Ok(()));
    assert!(out.is_over() && out.listed_bytes() == 78_408 + 1 + 32);
    assert!(out.held_bytes() < 2_100, "{}", out.held_bytes());
}

#[test]
fn a_small_table_holds_little() {
    let mut decoder = Decoder::new(4096);
    let mut block = Vec::new();
    for (name, value) in [
        ("user-agent", "curl/8.11.0"),
        ("accept", "*/*"),
        (":authority", "www.example.com"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-US,en;q=0.9"),
        ("referer", "https://www.example.com/a/page/of/mine"),
        ("x-some-token", "0123456789abcdef"),
    ] {
        block.extend([0x40, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    assert!(block.len() > 200);
    assert!(decode(&mut decoder, &block).is_ok());
    assert!(decoder.held_bytes() < 600, "{}", decoder.held_bytes());
    assert_eq!(Decoder::new(4096).held_bytes(), 0);
}
