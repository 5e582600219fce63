//! Tickets in virtual time, with real files.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A folder that goes away with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = env::temp_dir().join(format!("keel-tickets-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.join("shared.key");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(hours: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + HOUR * hours
}

fn settings(key_file: Option<PathBuf>) -> TicketSettings {
    TicketSettings {
        key_file,
        rotate: 12 * HOUR,
        lifetime: 24 * HOUR,
    }
}

fn own(folder: &Path, hours: u32) -> Tickets {
    let (tickets, notices) = Tickets::new(&settings(None), folder, b"", at(hours)).unwrap();
    assert_eq!(notices, []);
    tickets
}

fn shared(path: &Path, scope: &[u8]) -> Tickets {
    Tickets::new(&settings(Some(path.into())), Path::new(""), scope, at(0))
        .unwrap()
        .0
}

/// Different bytes for each seed, no two alike nearby.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(37).wrapping_add(seed) | 0x80)
        .collect()
}

#[test]
fn a_ticket_comes_back_and_no_two_are_alike() {
    let tickets = own(Path::new(""), 0);
    assert!(tickets.enabled());
    assert_eq!(tickets.lifetime(), 24 * 3600);
    for len in [0, 1, 200, 10_000] {
        let state = bytes(1, len);
        let (a, b) = (
            tickets.encrypt(&state).unwrap(),
            tickets.encrypt(&state).unwrap(),
        );
        assert_eq!(a.len(), HEADER + len + ISSUED + TAG);
        assert_ne!(a[NAME..], b[NAME..]);
        assert!(len < 20 || !a.windows(20).any(|part| part == &state[..20]));
        assert_eq!(tickets.decrypt(&a), Some(state.clone()));
        assert_eq!(tickets.decrypt(&b), Some(state));
    }
    assert_eq!(tickets.encrypt(&vec![0; TICKET_BYTES_MAX]), None);
    assert_eq!(tickets.decrypt(&vec![0; TICKET_BYTES_MAX + 1]), None);
}

#[test]
fn a_changed_or_cut_ticket_is_refused() {
    let tickets = own(Path::new(""), 0);
    let ticket = tickets.encrypt(b"state of a session").unwrap();
    for at in 0..ticket.len() {
        for bit in 0..8 {
            let mut changed = ticket.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
        }
        assert_eq!(tickets.decrypt(&ticket[..at]), None, "cut at {at}");
    }
    assert_eq!(tickets.decrypt(&[&ticket[..], &[0]].concat()), None);
    assert_eq!(
        own(Path::new(""), 0).decrypt(&ticket),
        None,
        "another instance"
    );
}

#[test]
fn keys_rotate_and_two_old_ones_still_decrypt() {
    let tickets = own(Path::new(""), 0);
    let first = tickets.encrypt(b"first").unwrap();
    assert_eq!(tickets.refresh(at(11)), []);
    assert_eq!(tickets.encrypt(b"x").unwrap()[..NAME], first[..NAME]);
    assert_eq!(tickets.refresh(at(12)), [TicketEvent::Rotated]);
    assert_eq!(tickets.refresh(at(12)), []);
    let second = tickets.encrypt(b"second").unwrap();
    assert_ne!(second[..NAME], first[..NAME]);
    assert_eq!(tickets.refresh(at(24)), [TicketEvent::Rotated]);
    assert_eq!(tickets.decrypt(&first).as_deref(), Some(&b"first"[..]));
    assert_eq!(tickets.keys.load().len(), 3);
    assert_eq!(tickets.refresh(at(36)), [TicketEvent::Rotated]);
    assert_eq!(tickets.keys.load().len(), 3);
    assert_eq!(tickets.decrypt(&first), None);
    assert_eq!(tickets.decrypt(&second).as_deref(), Some(&b"second"[..]));
    // Nobody looked for days: no key of then may live on.
    assert_eq!(tickets.refresh(at(500)), [TicketEvent::Rotated]);
    assert_eq!(tickets.keys.load().len(), 1);
    // The clock was set back: the key is not kept for longer because of it.
    assert_eq!(tickets.refresh(at(100)), []);
    assert_eq!(tickets.refresh(at(112)), [TicketEvent::Rotated]);
}

#[test]
fn a_ticket_ends_though_its_key_stays() {
    let folder = Folder::new("lifetime");
    let tickets = shared(&folder.write(&bytes(1, 80)), b"");
    let ticket = tickets.encrypt(b"state").unwrap();
    tickets.refresh(at(24));
    assert!(tickets.decrypt(&ticket).is_some());
    tickets.refresh(at(24) + Duration::from_secs(1));
    assert_eq!(tickets.decrypt(&ticket), None);
    // Issued by a node whose clock is ahead: a little is allowed.
    tickets.refresh(at(0) - Duration::from_secs(SKEW_S));
    assert!(tickets.decrypt(&ticket).is_some());
    tickets.refresh(at(0) - Duration::from_secs(SKEW_S + 1));
    assert_eq!(tickets.decrypt(&ticket), None);
}

#[test]
fn lifetimes_are_cut_to_what_can_be_kept() {
    let lifetime = |key_file, rotate, lifetime| {
        let settings = TicketSettings {
            key_file,
            rotate,
            lifetime,
        };
        Tickets::new(&settings, Path::new(""), b"", at(0))
            .unwrap()
            .0
            .lifetime()
    };
    assert_eq!(lifetime(None, HOUR, 24 * HOUR), 2 * 3600);
    assert_eq!(lifetime(None, Duration::ZERO, 24 * HOUR), 120);
    let folder = Folder::new("cut");
    assert_eq!(
        lifetime(Some(folder.write(&bytes(1, 80))), HOUR, 9999 * HOUR),
        7 * 24 * 3600
    );
}

#[test]
fn our_own_keys_outlive_a_restart() {
    let folder = Folder::new("restart");
    let state = folder.0.join("a/b");
    let before = own(&state, 0);
    before.refresh(at(12));
    let ticket = before.encrypt(b"state").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&keys::state_path(&state)), 0o600);
    assert_eq!(mode(&state), 0o700);
    assert_eq!(
        fs::read_dir(&state).unwrap().count(),
        1,
        "nothing but the file stays"
    );
    let after = own(&state, 13);
    assert_eq!(after.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
    assert_eq!(
        after.encrypt(b"x").unwrap()[..NAME],
        ticket[..NAME],
        "no new key before its time"
    );
    // Two that run at once follow each other.
    assert_eq!(before.refresh(at(24)), [TicketEvent::Rotated]);
    assert_eq!(after.refresh(at(24)), [TicketEvent::Rotated]);
    let ticket = before.encrypt(b"state").unwrap();
    assert!(after.decrypt(&ticket).is_some());
    // Keys of long ago are not used again.
    assert_eq!(own(&state, 500).decrypt(&ticket), None);
}

#[test]
fn a_broken_or_forbidden_state_is_said_and_survived() {
    let folder = Folder::new("broken");
    fs::write(keys::state_path(&folder.0), b"garbage").unwrap();
    let (tickets, notices) = Tickets::new(&settings(None), &folder.0, b"", at(0)).unwrap();
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].what.contains("is not as it was written"),
        "{notices:?}"
    );
    let ticket = tickets.encrypt(b"state").unwrap();
    assert!(own(&folder.0, 1).decrypt(&ticket).is_some());
    // A file where the folder should be.
    let blocked = folder.write(b"");
    let (tickets, notices) = Tickets::new(&settings(None), &blocked, b"", at(0)).unwrap();
    assert!(
        notices[0]
            .what
            .contains("after a restart clients cannot resume"),
        "{notices:?}"
    );
    assert!(
        tickets
            .decrypt(&tickets.encrypt(b"state").unwrap())
            .is_some()
    );
    assert_eq!(tickets.refresh(at(1)), [], "said once for each key");
}

#[test]
fn nodes_share_a_file() {
    let folder = Folder::new("shared");
    let (old, new) = (bytes(1, 80), bytes(2, 80));
    let path = folder.write(&old);
    let (a, b) = (shared(&path, b""), shared(&path, b""));
    let ticket = a.encrypt(b"state").unwrap();
    assert!(b.decrypt(&ticket).is_some());
    assert_eq!(
        shared(&path, b"clients of another CA").decrypt(&ticket),
        None
    );
    let (one, other) = (shared(&path, b"CA 1"), shared(&path, b"CA 2"));
    assert_eq!(other.decrypt(&one.encrypt(b"state").unwrap()), None);
    // A new key in front: it encrypts, the old one still decrypts.
    folder.write(&[&new[..], &old].concat());
    assert_eq!(a.refresh(at(0)), [TicketEvent::Taken { keys: 2 }]);
    assert_eq!(a.refresh(at(0)), []);
    assert!(a.decrypt(&ticket).is_some());
    assert_eq!(a.encrypt(b"x").unwrap()[..NAME], new[..NAME]);
    // The old one gone.
    folder.write(&new);
    assert_eq!(a.refresh(at(0)), [TicketEvent::Taken { keys: 1 }]);
    assert_eq!(a.decrypt(&ticket), None);
    assert_eq!(
        a.refresh(at(1000)),
        [],
        "keys of a file do not rotate by themselves"
    );
}

#[test]
fn a_file_that_went_bad_leaves_the_keys_of_before() {
    let folder = Folder::new("bad");
    let path = folder.write(&bytes(1, 80));
    let tickets = shared(&path, b"");
    let ticket = tickets.encrypt(b"state").unwrap();
    folder.write(&bytes(2, 79));
    let events = tickets.refresh(at(0));
    let [TicketEvent::Refused(fault)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        fault.what.contains("79 bytes") && fault.mend.contains("openssl rand 80"),
        "{fault}"
    );
    assert_eq!(tickets.refresh(at(0)), []);
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        &tickets.refresh(at(0))[..],
        [TicketEvent::Refused(_)]
    ));
    assert_eq!(tickets.refresh(at(0)), []);
    assert!(tickets.decrypt(&ticket).is_some());
    folder.write(&bytes(1, 80));
    assert_eq!(tickets.refresh(at(0)), [TicketEvent::Taken { keys: 1 }]);
}

#[test]
fn forms_of_key_files() {
    let names = |file: &[u8]| {
        let keys = keys::parse(file)?;
        Ok::<_, String>(
            keys.iter()
                .map(|key| (key.len(), key[0]))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(names(&bytes(1, 80)), Ok(vec![(80, 0x81)]));
    assert_eq!(names(&bytes(1, 48)), Ok(vec![(48, 0x81)]));
    let two = [bytes(1, 48), bytes(2, 48)].concat();
    assert_eq!(names(&two), Ok(vec![(48, 0x81), (48, 0x82)]));
    let three = [bytes(1, 80), bytes(2, 80), bytes(3, 80)].concat();
    assert_eq!(names(&three).unwrap().len(), 3);
    let (long, short) = (STANDARD.encode(bytes(1, 80)), STANDARD.encode(bytes(2, 48)));
    let text = format!("# made by hand\n{long}\r\n\n  {short}  ");
    assert_eq!(names(text.as_bytes()), Ok(vec![(80, 0x81), (48, 0x82)]));

    let wrong = |file: &[u8]| keys::parse(file).unwrap_err();
    assert!(wrong(b"").contains("empty"));
    assert!(wrong(b"# nothing\n").contains("no key"));
    assert!(wrong(b"not base64!\n").contains("line 1 is not base64"));
    assert!(wrong(&bytes(1, 81)).contains("81 bytes"));
    assert!(wrong(&[0; 80]).contains("one byte over and over"));
    assert!(wrong(&[bytes(1, 80), bytes(1, 80)].concat()).contains("keys 1 and 2"));
    let many: Vec<u8> = (0..17).flat_map(|seed| bytes(seed, 80)).collect();
    assert!(wrong(&many).contains("17 keys"));
    // What `openssl rand -base64 80` prints: one key over two lines.
    let wrapped = format!("{}\n{}\n", &long[..64], &long[64..]);
    assert!(wrong(wrapped.as_bytes()).contains("line 2 is 32 bytes"));
}

#[test]
fn a_missing_file_and_one_that_all_can_read() {
    let folder = Folder::new("open");
    let missing = Tickets::new(
        &settings(Some(folder.0.join("no"))),
        Path::new(""),
        b"",
        at(0),
    );
    let fault = missing.unwrap_err();
    assert_eq!(fault.setting, Setting::TicketKeys);
    assert!(fault.what.contains("cannot read"), "{fault}");
    let path = folder.write(&vec![b'a'; 9000]);
    let fault = Tickets::new(&settings(Some(path)), Path::new(""), b"", at(0)).unwrap_err();
    assert!(fault.what.contains("over 8192 bytes"), "{fault}");
    let path = folder.write(&bytes(1, 80));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (_, notices) = Tickets::new(&settings(Some(path)), Path::new(""), b"", at(0)).unwrap();
    assert!(
        notices[0].warning && notices[0].what.contains("chmod o="),
        "{notices:?}"
    );
}

#[test]
fn workers_and_rotation_at_once() {
    let tickets = own(Path::new(""), 0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let ticket = tickets.encrypt(b"state").unwrap();
                    tickets.decrypt(&ticket);
                }
            });
        }
        for turn in 0..50 {
            tickets.refresh(at(12 * turn));
        }
    });
    assert!(
        tickets
            .decrypt(&tickets.encrypt(b"state").unwrap())
            .is_some()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let tickets = own(Path::new(""), 0);
        let name = tickets.keys.load()[0].name;
        prop_assert_eq!(tickets.decrypt(&tail), None);
        prop_assert_eq!(tickets.decrypt(&[&name[..], &tail].concat()), None);
        let _ = keys::parse(&tail);
        let _ = keys::parse_state(&tail);
    }
}
