//! The ClientHello: no panic, the cut of the input changes nothing, what rustls takes is taken and read alike.
#![no_main]

use keel_tls::hello::{ClientHello, HELLO_BYTES_MAX, HelloFault, Parsed};
use keel_tls::ja4::ja4;
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

/// The input as the body of one message in one record, which the fuzzer seldom finds by itself.
fn wrapped(data: &[u8]) -> Vec<u8> {
    let body = &data[..data.len().min(8000)];
    let message = (body.len() as u32).to_be_bytes();
    let record = (body.len() as u16 + 4).to_be_bytes();
    [&[22, 3, 1][..], &record, &[1], &message[1..], body].concat()
}

fn check(data: &[u8]) {
    let parsed = ClientHello::parse(data, HELLO_BYTES_MAX);
    match &parsed {
        Ok(Parsed::Complete(hello, len)) => {
            assert!(*len <= data.len());
            assert_eq!(ClientHello::parse(&data[..*len], *len), parsed);
            assert_eq!(
                ClientHello::parse(&data[..len - 1], HELLO_BYTES_MAX),
                Ok(Parsed::Partial)
            );
            let fingerprint = ja4(hello);
            assert!(fingerprint.len() == 36 && fingerprint.is_ascii());
        }
        Ok(Parsed::Partial) => assert!(data.len() < HELLO_BYTES_MAX),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }

    let mut acceptor = Acceptor::default();
    if acceptor.read_tls(&mut &data[..]).is_err() {
        return;
    }
    let Ok(Some(accepted)) = acceptor.accept() else {
        return;
    };
    let theirs = accepted.client_hello();
    let ours = match parsed {
        Ok(Parsed::Complete(hello, _)) => hello,
        // Stricter than rustls on purpose, or about an extension that it does not read.
        Err(HelloFault::DataAfter | HelloFault::Extension(_) | HelloFault::Field(_)) => return,
        other => panic!("rustls takes it: {other:?}"),
    };
    assert_eq!(theirs.server_name(), ours.server_name.as_deref());
    assert!(theirs.alpn().into_iter().flatten().eq(ours.alpn()));
    let suites = theirs.cipher_suites().iter().map(|&suite| u16::from(suite));
    assert!(suites.eq(ours.cipher_suites.iter().copied()));
}

fuzz_target!(|data: &[u8]| {
    check(data);
    check(&wrapped(data));
});
