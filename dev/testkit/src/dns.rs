//! A name server on loopback, authoritative for everything: answers come from a table that tests change.
//!
//! UDP and TCP on the same port (RFC 1035, SRV of RFC 2782). Names are compared without regard to case; a name that
//! the table does not have gives NXDOMAIN, one without records of the type that is asked for an empty answer, both
//! with an SOA record as RFC 2308 wants it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the threads look whether they are to end.
const LOOK: Duration = Duration::from_millis(20);

/// A record without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(String),
    /// A place of a service.
    Srv {
        /// Lower is used first.
        priority: u16,
        /// Share within a priority.
        weight: u16,
        /// Port.
        port: u16,
        /// Name of the host.
        target: String,
    },
}

/// What the server does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// Answers from the table.
    #[default]
    Answers,
    /// Says SERVFAIL.
    Fails,
    /// Says nothing.
    Silent,
    /// Over UDP nothing but that the answer is too long; over TCP it answers.
    Truncates,
    /// As [`Mood::Answers`], but IPv6 addresses give SERVFAIL.
    FailsIpv6,
}

/// A running name server; stopped on drop.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<String, (u32, Vec<Record>)>,
    mood: Mood,
    additional: bool,
    /// Name, type and whether it came over TCP.
    questions: Vec<(String, u16, bool)>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DnsServer {
    /// A server with an empty table.
    pub fn start() -> DnsServer {
        let (udp, tcp) = bind_both();
        let address = udp.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let (for_udp, for_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        DnsServer {
            address,
            shared,
            threads: vec![
                std::thread::spawn(move || serve_udp(&udp, &for_udp)),
                std::thread::spawn(move || serve_tcp(&tcp, &for_tcp)),
            ],
        }
    }

    /// Where it listens, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// These are the records of a name from now on, with this TTL in seconds.
    pub fn set(&self, name: &str, ttl: u32, records: impl IntoIterator<Item = Record>) {
        let records = (ttl, records.into_iter().collect());
        self.shared.table().names.insert(lower(name), records);
    }

    /// IPv4 addresses of a name, with a TTL of one second.
    pub fn set_a(&self, name: &str, addresses: &[&str]) {
        let records = addresses
            .iter()
            .map(|ip| Record::A(ip.parse().expect("an IPv4 address")));
        self.set(name, 1, records);
    }

    /// There is no such name any more.
    pub fn remove(&self, name: &str) {
        self.shared.table().names.remove(&lower(name));
    }

    /// What it does with questions from now on.
    pub fn mood(&self, mood: Mood) {
        self.shared.table().mood = mood;
    }

    /// Whether answers with SRV records bring the addresses of their targets along; off at first.
    pub fn additional(&self, on: bool) {
        self.shared.table().additional = on;
    }

    /// How often a name was asked for, whatever the type.
    pub fn asked(&self, name: &str) -> usize {
        let name = lower(name);
        self.count(|question| question.0 == name)
    }

    /// How many questions came over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        self.count(|question| question.2)
    }

    fn count(&self, test: impl Fn(&(String, u16, bool)) -> bool) -> usize {
        let table = self.shared.table();
        table.questions.iter().filter(|it| test(it)).count()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn bind_both() -> (UdpSocket, TcpListener) {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("the system gives us a port");
        let address = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp, tcp);
        }
    }
    panic!("no port is free over UDP and TCP");
}

fn lower(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    socket.set_read_timeout(Some(LOOK)).expect("a time");
    let mut buffer = [0; 1500];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if let Some(answer) = answer(&buffer[..len], shared, false) {
            let _gone = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    listener.set_nonblocking(true).expect("a socket");
    let mut threads = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                threads.push(std::thread::spawn(move || serve_stream(stream, &shared)));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
    for thread in threads {
        let _panicked = thread.join();
    }
}

fn serve_stream(mut stream: TcpStream, shared: &Shared) {
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(LOOK)).expect("a time");
    let mut read = Vec::new();
    let mut buffer = [0; 1500];
    while !shared.stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => read.extend_from_slice(&buffer[..len]),
            Err(_) => continue,
        }
        while let Some(len) = read.get(..2).map(|it| usize::from(be16(it))) {
            let Some(question) = read.get(2..2 + len) else {
                break;
            };
            if let Some(answer) = answer(question, shared, true) {
                let len = u16::try_from(answer.len()).expect("a short answer");
                let mut framed = len.to_be_bytes().to_vec();
                framed.extend_from_slice(&answer);
                if stream.write_all(&framed).is_err() {
                    return;
                }
            }
            read.drain(..2 + len);
        }
    }
}

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;

const NO_ERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

fn answer(packet: &[u8], shared: &Shared, tcp: bool) -> Option<Vec<u8>> {
    let (name, after) = read_name(packet, 12)?;
    let kind = be16(packet.get(after..after + 2)?);
    let question = packet.get(12..after + 4)?;
    let mut table = shared.table();
    table.questions.push((name.clone(), kind, tcp));
    let (mut answers, mut more) = (Vec::new(), Vec::new());
    let mut code = NO_ERROR;
    let mut truncated = false;
    match table.mood {
        Mood::Silent => return None,
        Mood::Fails => code = SERVFAIL,
        Mood::FailsIpv6 if kind == TYPE_AAAA => code = SERVFAIL,
        Mood::Truncates if !tcp => truncated = true,
        _ if !table.names.contains_key(&name) => code = NXDOMAIN,
        _ => table.look_up(&name, kind, &mut answers, &mut more),
    }
    let mut out = packet.get(..2)?.to_vec();
    // An answer, authoritative, recursion as it was asked for and given.
    let flags = 0x84 | (packet[2] & 0x01) | if truncated { 0x02 } else { 0 };
    out.extend_from_slice(&[flags, 0x80 | code]);
    let soa = answers.is_empty() && code != SERVFAIL && !truncated;
    for count in [1, answers.len(), usize::from(soa), more.len()] {
        out.extend_from_slice(&u16::try_from(count).expect("few records").to_be_bytes());
    }
    out.extend_from_slice(question);
    for record in &answers {
        out.extend_from_slice(record);
    }
    if soa {
        out.extend_from_slice(&soa_record());
    }
    for record in &more {
        out.extend_from_slice(record);
    }
    Some(out)
}

impl Table {
    fn look_up(&self, name: &str, kind: u16, answers: &mut Vec<Vec<u8>>, more: &mut Vec<Vec<u8>>) {
        let Some((ttl, records)) = self.names.get(name) else {
            return;
        };
        for record in records {
            if record.kind() == kind || record.kind() == TYPE_CNAME {
                answers.push(record.written(name, *ttl));
            }
            match record {
                Record::Cname(other) if kind != TYPE_CNAME => {
                    self.look_up(&lower(other), kind, answers, more);
                }
                Record::Srv { target, .. } if kind == TYPE_SRV && self.additional => {
                    self.look_up(&lower(target), TYPE_A, more, &mut Vec::new());
                    self.look_up(&lower(target), TYPE_AAAA, more, &mut Vec::new());
                }
                _ => {}
            }
        }
    }
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Record::A(_) => TYPE_A,
            Record::Aaaa(_) => TYPE_AAAA,
            Record::Cname(_) => TYPE_CNAME,
            Record::Srv { .. } => TYPE_SRV,
        }
    }

    fn written(&self, name: &str, ttl: u32) -> Vec<u8> {
        let data = match self {
            Record::A(ip) => ip.octets().to_vec(),
            Record::Aaaa(ip) => ip.octets().to_vec(),
            Record::Cname(other) => written_name(other),
            Record::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
                let mut data = numbers.concat();
                data.extend_from_slice(&written_name(target));
                data
            }
        };
        written_record(name, self.kind(), ttl, &data)
    }
}

fn soa_record() -> Vec<u8> {
    let mut data = written_name("ns.test");
    data.extend_from_slice(&written_name("admin.test"));
    for number in [1_u32, 3600, 600, 86_400, 1] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    written_record("", TYPE_SOA, 1, &data)
}

fn written_record(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = written_name(name);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    let len = u16::try_from(data.len()).expect("a short record");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(data);
    out
}

fn written_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).expect("a label of up to 63 bytes"));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// A name without compression, in lower case, and where it ends. Questions have no other.
fn read_name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        if len == 0 {
            return Some((labels.join("."), at));
        }
        let label = packet.get(at..at + len).filter(|_| len < 64)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += len;
    }
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}
