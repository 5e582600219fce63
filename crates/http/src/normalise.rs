//! The one reading of a request's target and host that routing, logging and the backend share. (In progress.)

use crate::fault::HeadFault;
use crate::request::RequestHead;

/// A request whose target and host have been checked and normalised: the only door to routing.
#[derive(Debug, Clone, Default)]
pub struct NormalRequest {
    _private: (),
}

impl NormalRequest {
    /// An empty value; the memory comes when a target needs it.
    pub fn new() -> NormalRequest {
        NormalRequest::default()
    }

    /// Reads target and Host of `head`. What was here before is forgotten.
    pub fn read(&mut self, _head: &RequestHead, _buf: &[u8]) -> Result<(), HeadFault> {
        Ok(())
    }

    /// The host: lower case, without port, without a trailing dot. Empty for HTTP/1.0 without Host.
    pub fn host<'a>(&'a self, _buf: &'a [u8]) -> &'a [u8] {
        b""
    }

    /// The port if one was given.
    pub fn port(&self) -> Option<u16> {
        None
    }

    /// Host and port as to be written in Host: as the client sent it.
    pub fn authority<'a>(&'a self, _buf: &'a [u8]) -> &'a [u8] {
        b""
    }

    /// The normalised path: unreserved %XX decoded, other %XX in upper case, dot segments removed, slashes merged.
    pub fn path<'a>(&'a self, _buf: &'a [u8]) -> &'a [u8] {
        b"/"
    }

    /// The query without `?`, as sent.
    pub fn query<'a>(&'a self, _buf: &'a [u8]) -> Option<&'a [u8]> {
        None
    }

    /// The target to forward, in origin-form (or `*`).
    pub fn target<'a>(&'a self, _buf: &'a [u8]) -> &'a [u8] {
        b"/"
    }

    /// Whether the target is `*` (OPTIONS only).
    pub fn is_asterisk(&self) -> bool {
        false
    }
}
