//! What the driver asks of a load process, and what it gets back. One line of JSON each way.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::protocol::Protocol;

/// Load to put on one proxy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadJob {
    /// The proxy.
    pub target: SocketAddr,
    /// What connections speak.
    pub protocol: Protocol,
    /// Requests under way on each active connection; 1 unless the protocol is HTTP/2.
    pub streams: usize,
    /// Connections that send a request as soon as the last answer is complete.
    pub active: usize,
    /// Connections that send one request before the warm-up and then only stay open.
    pub idle: usize,
    /// Paths; connection `i` begins with number `i` modulo their count and goes on to the next one each time.
    pub paths: Vec<String>,
    /// Host to ask for.
    pub host: String,
    /// Bytes that every body must have.
    pub body_bytes: u64,
    /// A new connection for every request.
    pub reconnect: bool,
    /// Client addresses 127.0.1.1 and up to spread connections over; 0 = the system's choice, 127.0.0.1.
    pub client_addresses: u8,
    /// Time before measuring, milliseconds.
    pub warm_up_ms: u64,
    /// Time of measuring, milliseconds.
    pub measure_ms: u64,
    /// Root of the tree of processes whose CPU time is taken at the start and the end of measuring.
    pub proxy_pid: u32,
    /// The origins' process, to tell what runs besides the bench.
    pub origin_pid: u32,
}

/// What was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LoadResult {
    /// Good answers while measuring.
    pub requests: u64,
    /// Seconds of measuring.
    pub seconds: f64,
    /// CPU time of the proxy while measuring, seconds.
    pub cpu_seconds: f64,
    /// CPU time of load and origins while measuring, seconds.
    pub load_cpu_seconds: f64,
    /// CPU time that all other processes of the machine used while measuring, seconds.
    pub foreign_cpu_seconds: f64,
    /// Connections that the origins accepted during the whole job; filled in by the driver.
    #[serde(default)]
    pub origin_connections: u64,
    /// Median latency, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// 99.9th percentile, microseconds.
    pub p999_us: f64,
    /// Longest latency, microseconds.
    pub max_us: f64,
    /// Answers other than 2xx, warm-up included.
    pub not_2xx: u64,
    /// Failed connections, cut off answers, wrong bodies, warm-up included.
    pub errors: u64,
    /// The first of them in words.
    pub first_error: Option<String>,
}

impl LoadResult {
    /// CPU time of the proxy per request, microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.requests as f64
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Share of the time that the proxy was on a CPU; above 1 with several workers.
    pub fn busy(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }

    /// Share of one core that processes outside the bench used.
    pub fn foreign(&self) -> f64 {
        self.foreign_cpu_seconds / self.seconds
    }

    /// Why the run counts for nothing, when it does.
    pub fn void(&self) -> Option<String> {
        let first = self.first_error.as_deref().unwrap_or("no detail");
        if self.errors > 0 || self.not_2xx > 0 {
            let (errors, not_2xx) = (self.errors, self.not_2xx);
            return Some(format!(
                "{errors} errors, {not_2xx} answers other than 2xx; first: {first}"
            ));
        }
        (self.requests == 0).then(|| "not one request was answered".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_knows_its_rates() {
        let result = LoadResult {
            requests: 100_000,
            seconds: 2.0,
            cpu_seconds: 1.5,
            ..LoadResult::default()
        };
        assert!((result.cpu_us() - 15.0).abs() < 1e-9);
        assert!((result.rate() - 50_000.0).abs() < 1e-9);
        assert!((result.busy() - 0.75).abs() < 1e-9);
        assert_eq!(result.void(), None);
    }

    #[test]
    fn one_bad_answer_voids_a_run() {
        let bad = LoadResult {
            requests: 9,
            not_2xx: 1,
            ..LoadResult::default()
        };
        assert!(bad.void().unwrap().contains("1 answers other than 2xx"));
        let failed = LoadResult {
            requests: 9,
            errors: 2,
            ..LoadResult::default()
        };
        assert!(failed.void().is_some());
        assert!(LoadResult::default().void().is_some());
    }
}
