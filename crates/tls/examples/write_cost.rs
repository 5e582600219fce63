//! What a TLS stream costs: `cargo run --release -p keel-tls --example write_cost [bytes per write]`.
//! One thread writes through a [`keel_tls::Stream`] over loopback, another one reads and decrypts;
//! prints the MiB in a second that the slower of the two reaches.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use keel_tls::{Acceptor, ClientSettings, SelfSigned, ServerSettings, Verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOTAL: usize = 4 << 30;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let size: usize = std::env::args()
        .nth(1)
        .map_or(64 * 1024, |size| size.parse().unwrap());
    let folder = std::env::temp_dir().join(format!("keel-cost-{}", std::process::id()));
    let acceptor = Acceptor::new(ServerSettings {
        self_signed: Some(SelfSigned {
            names: Vec::new(),
            folder: folder.clone(),
        }),
        ..ServerSettings::default()
    });
    let acceptor = Arc::new(acceptor.unwrap().0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let settings = ClientSettings {
                verify: Verify::Off,
                ..ClientSettings::default()
            };
            let connector = keel_tls::Connector::new(settings).unwrap().0;
            let tcp = TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect("localhost", tcp).await.unwrap();
            let (mut buf, mut total) = (vec![0; 64 * 1024], 0);
            while total < TOTAL {
                total += stream.read(&mut buf).await.unwrap();
            }
        });
    });
    let (tcp, _) = listener.accept().await.unwrap();
    let mut stream = acceptor.accept(tcp).await.unwrap();
    let start = Instant::now();
    let data = vec![7; size];
    for _ in 0..TOTAL / size + 1 {
        if stream.write_all(&data).await.is_err() {
            break; // the reader has all that it wants
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    reader.join().unwrap();
    let rate = (TOTAL >> 20) as f64 / seconds;
    println!("{rate:.0} MiB/s with writes of {size} bytes");
    let _ = std::fs::remove_dir_all(folder);
}
