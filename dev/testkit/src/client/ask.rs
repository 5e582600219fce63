//! One request on a connection of its own.

use std::net::SocketAddr;

use crate::client::{Answer, Wire};

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    address: SocketAddr,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    host: Option<String>,
}

/// `GET target`, with Host and nothing else.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Answer {
    Ask::get(address, target).send()
}

impl Ask {
    /// A GET.
    pub fn get(address: SocketAddr, target: &str) -> Ask {
        Ask::new(address, "GET", target)
    }

    /// A POST with a body.
    pub fn post(address: SocketAddr, target: &str, body: impl Into<Vec<u8>>) -> Ask {
        Ask {
            body: Some(body.into()),
            ..Ask::new(address, "POST", target)
        }
    }

    /// A PUT with a body.
    pub fn put(address: SocketAddr, target: &str, body: impl Into<Vec<u8>>) -> Ask {
        Ask {
            method: "PUT".to_owned(),
            ..Ask::post(address, target, body)
        }
    }

    /// Any method.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Ask {
        let (method, target) = (method.to_owned(), target.to_owned());
        Ask {
            address,
            method,
            target,
            fields: Vec::new(),
            body: None,
            host: None,
        }
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: &str) -> Ask {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another Host than `test.example`.
    pub fn host(mut self, host: &str) -> Ask {
        self.host = Some(host.to_owned());
        self
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or("test.example");
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\n",
            self.method, self.target
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it on a connection of its own.
    #[track_caller]
    pub fn send(&self) -> Answer {
        self.send_on(&mut Wire::connect(self.address))
    }

    /// Sends it on a connection that is there.
    #[track_caller]
    pub fn send_on(&self, wire: &mut Wire) -> Answer {
        wire.send(self.to_bytes());
        wire.answer_to(&self.method)
    }
}
