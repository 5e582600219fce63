//! The one reading of a request's target and Host that routing, logging and the backend share.
//!
//! Invariant: a [`NormalRequest`] that was read without a fault has a path that begins with `/` (or is `*`), in
//! normal form; a host in lower case; and a target that every server reads as that path. Its fields are private, so
//! nothing else can make one. Nothing is copied unless the target or the host is not in normal form already.

use crate::authority::{Authority, parse_authority};
use crate::fault::HeadFault;
use crate::header::HeaderId;
use crate::method::{Method, Version};
use crate::path::{normalise_path, scan_target};
use crate::request::RequestHead;
use crate::span::Span;

/// Where some bytes are: in the buffer of the request, or in our own.
#[derive(Debug, Clone, Copy)]
enum Place {
    Sent(Span),
    Made(Span),
}

impl Default for Place {
    fn default() -> Place {
        Place::Made(Span::EMPTY)
    }
}

/// A request whose target and Host have been checked and normalised: the only door to routing. Reused from request
/// to request.
#[derive(Debug, Clone, Default)]
pub struct NormalRequest {
    /// What had to be written anew.
    made: Vec<u8>,
    host: Place,
    port: Option<u16>,
    authority: Span,
    path: Place,
    query: Option<Span>,
    target: Place,
    asterisk: bool,
    absolute: bool,
}

impl NormalRequest {
    /// An empty value; the memory comes when a target needs it.
    pub fn new() -> NormalRequest {
        NormalRequest::default()
    }

    /// Forgets the request and keeps the memory.
    #[inline]
    fn clear(&mut self) {
        self.made.clear();
        self.host = Place::default();
        self.port = None;
        self.authority = Span::EMPTY;
        self.path = Place::default();
        self.query = None;
        self.target = Place::default();
        self.asterisk = false;
        self.absolute = false;
    }

    /// Reads target and Host of `head`, whose buffer is `buf`. What was here before is forgotten; after a fault
    /// everything is empty.
    pub fn read(&mut self, head: &RequestHead, buf: &[u8]) -> Result<(), HeadFault> {
        self.clear();
        let done = self.read_parts(head, buf);
        if done.is_err() {
            self.clear();
        }
        done
    }

    fn read_parts(&mut self, head: &RequestHead, buf: &[u8]) -> Result<(), HeadFault> {
        if matches!(head.method, Method::Connect | Method::Trace) {
            return Err(HeadFault::MethodRefused);
        }
        self.read_host(head, buf)?;
        match head.target.of(buf) {
            [b'/', ..] => self.read_origin(head.target, buf),
            b"*" => self.read_asterisk(head.method, head.target),
            target => {
                let path = self.read_absolute(target, head.target, buf)?;
                let at = path.start as usize;
                match path.of(buf) {
                    [b'/', ..] => self.read_origin(path, buf),
                    // RFC 9112, 3.2.4: the last proxy turns `OPTIONS http://host` into `OPTIONS *`.
                    [] if head.method == Method::Options => {
                        let at = self.made.len();
                        self.made.push(b'*');
                        self.path = Place::Made(Span::new(at, at + 1));
                        self.target = self.path;
                        self.asterisk = true;
                        Ok(())
                    }
                    [] => self.make_root(None, buf),
                    [b'?', ..] => self.make_root(Some(Span::new(at + 1, path.end as usize)), buf),
                    _ => Err(HeadFault::TargetByte),
                }
            }
        }
    }

    /// The host of the request, by Host; an absolute target replaces it afterwards.
    #[inline]
    fn read_host(&mut self, head: &RequestHead, buf: &[u8]) -> Result<(), HeadFault> {
        let Some(field) = head.fields.field(HeaderId::Host) else {
            return match head.version {
                Version::Http10 => Ok(()),
                Version::Http11 | Version::Http2 => Err(HeadFault::HostMissing),
            };
        };
        if head.fields.is_repeated(HeaderId::Host) {
            return Err(HeadFault::HostRepeated);
        }
        let authority = parse_authority(field.value.of(buf))?;
        self.set_authority(field.value, authority, buf);
        Ok(())
    }

    #[inline]
    fn set_authority(&mut self, span: Span, authority: Authority, buf: &[u8]) {
        let start = span.start as usize;
        let host = Span::new(start, start + authority.host_len);
        self.authority = span;
        self.port = authority.port;
        self.host = if authority.upper_case {
            let at = self.made.len();
            self.made
                .extend(host.of(buf).iter().map(u8::to_ascii_lowercase));
            Place::Made(Span::new(at, self.made.len()))
        } else {
            Place::Sent(host)
        };
    }

    /// Path and query at `span`; the path begins with a slash.
    #[inline]
    fn read_origin(&mut self, span: Span, buf: &[u8]) -> Result<(), HeadFault> {
        let target = span.of(buf);
        let scan = scan_target(target)?;
        let start = span.start as usize;
        let path = Span::new(start, start + scan.path_len);
        if scan.path_len < target.len() {
            self.query = Some(Span::new(path.end as usize + 1, span.end as usize));
        }
        self.path = Place::Sent(path);
        self.target = Place::Sent(span);
        if scan.clean {
            Ok(())
        } else {
            self.make_path(path, buf)
        }
    }

    /// Writes the normal form of a path, and the target anew when the path had dot segments.
    #[cold]
    fn make_path(&mut self, path: Span, buf: &[u8]) -> Result<(), HeadFault> {
        let at = self.made.len();
        let normalised = normalise_path(path.of(buf), &mut self.made)?;
        self.path = Place::Made(Span::new(at, self.made.len()));
        if normalised.dot_segments {
            self.finish_target(at, buf);
        }
        Ok(())
    }

    /// The target of an absolute-form without a path.
    #[cold]
    fn make_root(&mut self, query: Option<Span>, buf: &[u8]) -> Result<(), HeadFault> {
        let at = self.made.len();
        self.made.push(b'/');
        self.path = Place::Made(Span::new(at, at + 1));
        if let Some(query) = query {
            scan_target(&[b"?", query.of(buf)].concat())?;
            self.query = Some(query);
        }
        self.finish_target(at, buf);
        Ok(())
    }

    /// Completes the target whose path has been written at `at`, the end of what was made.
    fn finish_target(&mut self, at: usize, buf: &[u8]) {
        if let Some(query) = self.query {
            self.made.push(b'?');
            self.made.extend_from_slice(query.of(buf));
        }
        self.target = Place::Made(Span::new(at, self.made.len()));
    }

    fn read_asterisk(&mut self, method: Method, target: Span) -> Result<(), HeadFault> {
        if method != Method::Options {
            return Err(HeadFault::TargetForm);
        }
        self.path = Place::Sent(target);
        self.target = Place::Sent(target);
        self.asterisk = true;
        Ok(())
    }

    /// An absolute target: its authority replaces Host (RFC 9112, 3.2.2). Gives the span after the authority.
    #[cold]
    fn read_absolute(&mut self, target: &[u8], span: Span, buf: &[u8]) -> Result<Span, HeadFault> {
        let scheme_len = match memchr::memmem::find(target, b"://") {
            Some(at) if at > 0 => at,
            _ => return Err(HeadFault::TargetForm),
        };
        let (scheme, rest) = target.split_at(scheme_len);
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            let sound = scheme
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
            return Err(if sound {
                HeadFault::TargetScheme
            } else {
                HeadFault::TargetForm
            });
        }
        let rest = rest.get(3..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|b| b"/?#".contains(b))
            .unwrap_or(rest.len());
        let authority = parse_authority(rest.get(..len).unwrap_or_default())?;
        let start = span.start as usize + scheme_len + 3;
        self.made.clear();
        self.set_authority(Span::new(start, start + len), authority, buf);
        self.absolute = true;
        Ok(Span::new(start + len, span.end as usize))
    }

    #[inline]
    fn at<'a>(&'a self, place: Place, buf: &'a [u8]) -> &'a [u8] {
        match place {
            Place::Sent(span) => span.of(buf),
            Place::Made(span) => span.of(&self.made),
        }
    }

    /// The host: lower case, without port, without a trailing dot; IPv6 in brackets. Empty for HTTP/1.0 without Host.
    #[inline]
    pub fn host<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        self.at(self.host, buf)
    }

    /// The port if one was given.
    #[inline]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host and port as to be written in Host: as the client sent them, from an absolute target if there was one.
    /// Empty for HTTP/1.0 without Host.
    #[inline]
    pub fn authority<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        self.authority.of(buf)
    }

    /// The normalised path: unreserved %XX decoded, other %XX in upper case, dot segments removed, slashes merged.
    /// `*` for the asterisk-form.
    #[inline]
    pub fn path<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        self.at(self.path, buf)
    }

    /// The query without `?`, as sent: visible ASCII without `#`, otherwise unchecked (it may hold a lone `%`).
    #[inline]
    pub fn query<'a>(&'a self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.query.map(|query| query.of(buf))
    }

    /// The target to forward, in origin-form or `*`: as the client sent it, but without scheme and authority, and
    /// with the normalised path when the path had dot segments.
    #[inline]
    pub fn target<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        self.at(self.target, buf)
    }

    /// Whether the target is `*` (OPTIONS only).
    #[inline]
    pub fn is_asterisk(&self) -> bool {
        self.asterisk
    }

    /// Whether the client sent the absolute-form, so that [`NormalRequest::authority`] may differ from Host.
    #[inline]
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }
}

#[cfg(test)]
mod tests;
