//! Nanoseconds for what every request costs here: parse, frame, normalise; parse and frame of an answer; chunk framing.
//!
//! Times on a shared machine are rough; the least of several rounds is printed. Instruction counts are the gate.

use std::hint::black_box;
use std::time::Instant;

use keel_http::template::{Escape, Template, Var, Variables};
use keel_http::{
    ChunkItem, ChunkedDecoder, HeadLimits, Method, NormalRequest, RequestHead, ResponseHead,
    frame_request, frame_response,
};

const ROUNDS: usize = 15;
const TIMES: u32 = 50_000;

const SMALL: &[u8] =
    b"GET /api/users/42 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: wrk/4.2\r\n\
Accept: */*\r\nConnection: keep-alive\r\nX-Request-ID: 0123456789abcdef\r\n\r\n";

const BROWSER: &[u8] = b"GET /assets/app/main.js?v=20261120 HTTP/1.1\r\nHost: www.example.com\r\n\
Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
sec-ch-ua-platform: \"Linux\"\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n\
Sec-Fetch-Dest: script\r\nReferer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; lang=en\r\n\
If-None-Match: \"5f3a-1b2c3d\"\r\n\r\n";

const ODD: &[u8] = b"POST http://WWW.Example.com:8080/a/./b/%7Euser/../c?x=1 HTTP/1.1\r\n\
Host: www.example.com\r\nContent-Length: 12\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.31.5\r\nDate: Fri, 20 Nov 2026 21:12:03 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 90\r\nConnection: keep-alive\r\nETag: \"5f3a\"\r\n\r\n";

fn measure(name: &str, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TIMES {
            f();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TIMES));
    }
    println!("{name:<48} {best:>8.1} ns");
}

fn requests() {
    let limits = HeadLimits::default();
    let (mut head, mut normal) = (RequestHead::new(), NormalRequest::new());
    for (name, buf) in [
        ("5 fields", SMALL),
        ("15 fields", BROWSER),
        ("odd target", ODD),
    ] {
        measure(&format!("request, {name}: parse"), || {
            head.parse(black_box(buf), &limits).expect("sound");
        });
        measure(&format!("request, {name}: frame"), || {
            black_box(frame_request(black_box(&head), black_box(buf))).expect("sound");
        });
        measure(&format!("request, {name}: normalise"), || {
            normal
                .read(black_box(&head), black_box(buf))
                .expect("sound");
        });
        measure(&format!("request, {name}: all three"), || {
            head.parse(black_box(buf), &limits).expect("sound");
            black_box(frame_request(&head, buf)).expect("sound");
            normal.read(&head, buf).expect("sound");
        });
    }
}

fn answers() {
    let mut answer = ResponseHead::new();
    measure("answer, 6 fields: parse and frame", || {
        answer
            .parse(black_box(ANSWER), &HeadLimits::default())
            .expect("sound");
        black_box(frame_response(&answer, ANSWER, Method::Get, false)).expect("sound");
    });
}

fn chunks() {
    let body = format!(
        "{}0\r\n\r\n",
        "400\r\n".to_owned() + &"x".repeat(1024) + "\r\n"
    );
    let mut decoder = ChunkedDecoder::new();
    measure("one chunk of 1 KiB and the end", || {
        let mut at = 0;
        decoder.reset();
        loop {
            let step = decoder
                .step(black_box(&body.as_bytes()[at..]))
                .expect("sound");
            at += step.consumed;
            if step.item == ChunkItem::End {
                break;
            }
        }
    });
}

/// Values as long as usual; what fetching them costs is not ours.
struct Values;

impl Variables for Values {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(match var {
            Var::RemoteUser => return false,
            Var::Request => b"GET /assets/app/main.js?v=20261120 HTTP/1.1",
            Var::Http(_) => {
                b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
            }
            _ => b"192.0.2.10",
        });
        true
    }
}

fn templates() {
    let combined = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
\"$http_referer\" \"$http_user_agent\"\n";
    let template = Template::parse(combined).expect("sound");
    let mut out = Vec::new();
    measure("one line of the combined log format", || {
        out.clear();
        template.render(black_box(&Values), &mut out, Escape::Log);
    });
}

fn main() {
    requests();
    templates();
    answers();
    chunks();
}
