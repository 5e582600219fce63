//! Resident memory of idle TLS connections from clients: `cargo run --release -p keel-tls --example
//! idle_memory [connections] [1.2]`. The clients run in another process (this program again), so that only
//! the server's side is counted. Prints KiB for each connection.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use keel_tls::{
    Acceptor, ClientSettings, SelfSigned, ServerSettings, TicketSettings, Verify, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Resident KiB of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, word, address, count] = &args[..]
        && word == "clients"
    {
        return clients(address.parse().unwrap(), count.parse().unwrap()).await;
    }
    let count: usize = args.get(1).map_or(1000, |count| count.parse().unwrap());
    let old = args.get(2).is_some_and(|version| version == "1.2");
    let version = if old { Version::Tls12 } else { Version::Tls13 };
    serve(count, version, &args[0]).await;
}

async fn serve(count: usize, version: Version, program: &str) {
    let folder = std::env::temp_dir().join(format!("keel-idle-{}", std::process::id()));
    let acceptor = Acceptor::new(ServerSettings {
        self_signed: Some(SelfSigned {
            names: Vec::new(),
            folder: folder.clone(),
        }),
        max_version: version,
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        tickets: Some(TicketSettings {
            key_file: None,
            rotate: std::time::Duration::from_secs(3600),
            lifetime: std::time::Duration::from_secs(3600),
        }),
        ..ServerSettings::default()
    });
    let acceptor = Arc::new(acceptor.unwrap().0);
    acceptor.refresh(SystemTime::now());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = Command::new(program)
        .args(["clients", &address, &(count + 100).to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut streams = Vec::with_capacity(count + 100);
    let mut before = 0;
    for number in 0..count + 100 {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap();
        // A request and an answer, as a connection has them before it idles.
        let mut buf = [0; 512];
        assert!(stream.read(&mut buf).await.unwrap() > 0);
        stream.write_all(&buf).await.unwrap();
        streams.push(stream);
        if number == 99 {
            // The first ones pay for what exists once.
            before = resident();
        }
    }
    let after = resident();
    let each = (after - before) as f64 / count as f64;
    println!("{version:?}: {each:.1} KiB for each of {count} idle connections");
    drop(streams);
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    child.wait().unwrap();
    let _ = std::fs::remove_dir_all(folder);
}

async fn clients(address: SocketAddr, count: usize) {
    let settings = ClientSettings {
        verify: Verify::Off,
        ..ClientSettings::default()
    };
    let connector = keel_tls::Connector::new(settings).unwrap().0;
    let mut streams = Vec::new();
    for _ in 0..count {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
        let mut stream = connector.connect("localhost", tcp).await.unwrap();
        stream.write_all(&[b'x'; 300]).await.unwrap();
        stream.read_exact(&mut [0; 512]).await.unwrap();
        streams.push(stream);
    }
    // Until the server says that it is done.
    let _ = std::io::stdin().read(&mut [0]);
}
