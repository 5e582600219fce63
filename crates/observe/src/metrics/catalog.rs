//! Every metric of the process: name, type, labels, unit, meaning. The text format and the reference
//! page are both written from here, and a test compares what is exported with it.

use std::fmt::Write as _;

use super::histogram::bucket_bounds_us;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises, until the process ends.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of observations by bucket, with their sum.
    Histogram,
}

impl MetricKind {
    /// The word of the text format.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// The description of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name as exported.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels; their values are names of the configuration or fixed words.
    pub labels: &'static [&'static str],
    /// The unit of its values.
    pub unit: &'static str,
    /// What it counts, in one sentence.
    pub meaning: &'static str,
}

/// Defines a constant per metric and the list of all.
macro_rules! metrics {
    ($($id:ident = $name:literal $kind:ident [$($label:literal),*] $unit:literal $meaning:literal;)*) => {
        $(pub(crate) const $id: Metric = Metric {
            name: $name,
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            unit: $unit,
            meaning: $meaning,
        };)*

        /// All metrics, in the order in which they are exported.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

metrics! {
    BUILD_INFO = "evenkeel_build_info" Gauge ["version"] "1"
        "Always 1; the label tells the version.";
    PROCESS_START = "evenkeel_process_start_time_seconds" Gauge [] "seconds"
        "When the process started, since the Unix epoch.";
    PROCESS_CPU = "evenkeel_process_cpu_seconds_total" Counter [] "seconds"
        "CPU time of the process, user and system.";
    PROCESS_MEMORY = "evenkeel_process_resident_memory_bytes" Gauge [] "bytes"
        "Resident memory of the process.";
    PROCESS_FDS = "evenkeel_process_open_descriptors" Gauge [] "descriptors"
        "Open file descriptors of the process.";
    PROCESS_FDS_MAX = "evenkeel_process_descriptors_max" Gauge [] "descriptors"
        "The most file descriptors that the process may open.";
    PROCESS_WORKERS = "evenkeel_process_workers" Gauge [] "threads"
        "Worker threads.";
    PROCESS_ALLOCATIONS = "evenkeel_process_allocations_total" Counter [] "allocations"
        "Heap allocations of the process; a plain request makes none.";
    REQUESTS = "evenkeel_requests_total" Counter [] "requests"
        "Finished requests of all routes, also of routes that a reload removed.";
    REQUEST_ERRORS = "evenkeel_request_errors_total" Counter [] "requests"
        "Finished requests that were answered with a 5xx.";
    CONFIG_GENERATION = "evenkeel_config_generation" Gauge [] "1"
        "Number of the configuration that is served, from 1; reloads, run-time changes and servers found by name make a new one.";
    CONFIG_LOADED = "evenkeel_config_loaded_timestamp_seconds" Gauge [] "seconds"
        "When that configuration was taken, as Unix time.";
    RELOADS = "evenkeel_reloads_total" Counter ["result"] "reloads"
        "Reloads of the file, done or refused.";
    CHANGES = "evenkeel_changes_total" Counter ["result"] "changes"
        "Run-time changes of servers, done or refused.";
    DISCOVERIES = "evenkeel_discovery_changes_total" Counter [] "changes"
        "Times that the servers found by name changed.";
    UPGRADES = "evenkeel_upgrades_total" Counter ["result"] "upgrades"
        "Upgrades to a new program, done or failed; handed on from process to process.";
    LISTENER_ACCEPTED = "evenkeel_listener_connections_accepted_total" Counter ["listener"] "connections"
        "Client connections accepted.";
    LISTENER_OPEN = "evenkeel_listener_open_connections" Gauge ["listener"] "connections"
        "Client connections open now.";
    LISTENER_REQUESTS = "evenkeel_listener_requests_total" Counter ["listener"] "requests"
        "Requests whose head was read whole and well-formed.";
    LISTENER_BAD_REQUESTS = "evenkeel_listener_bad_requests_total" Counter ["listener"] "requests"
        "Requests refused before routing, because their bytes broke the protocol or a limit.";
    LISTENER_REJECTED = "evenkeel_listener_connections_rejected_total" Counter ["listener", "reason"] "connections"
        "Client connections not taken: limit of connections, drain, or want of descriptors and other resources.";
    LISTENER_HANDSHAKES = "evenkeel_listener_handshakes_total" Counter ["listener", "result"] "handshakes"
        "TLS handshakes, completed or failed.";
    HTTP2_ABUSE = "evenkeel_http2_abuse_total" Counter ["listener", "kind"] "connections"
        "HTTP/2 connections ended for what their client did: a kind of flood, or a breach of the protocol.";
    TLS_EXPIRY = "evenkeel_tls_certificate_expiry_seconds" Gauge ["listener", "name"] "seconds"
        "Time until a certificate expires, negative afterwards; of several with one first name that which ends first.";
    TLS_RELOADS = "evenkeel_tls_certificate_reloads_total" Counter ["listener", "result"] "files"
        "Changed files of TLS (certificates, keys, ticket keys, revocation lists), taken or refused.";
    TLS_OCSP = "evenkeel_tls_ocsp_fetches_total" Counter ["listener", "result"] "fetches"
        "OCSP answers asked for, fetched or failed.";
    NAME_LOOKUPS = "evenkeel_resolver_lookups_total" Counter ["result"] "look-ups"
        "Look-ups of names of servers, answered or failed; after a failed one the last good answer is used.";
    NAME_COUNT = "evenkeel_resolver_names" Gauge [] "names"
        "Names of servers that are kept resolved.";
    NAME_FAILING = "evenkeel_resolver_failing_names" Gauge [] "names"
        "Names whose last look-up failed.";
    ROUTE_REQUESTS = "evenkeel_route_requests_total" Counter ["route", "class"] "requests"
        "Finished requests by class of status, `none` when no answer was given; the route is empty for requests that no route took.";
    ROUTE_IN_FLIGHT = "evenkeel_route_in_flight_requests" Gauge ["route"] "requests"
        "Requests being handled now.";
    ROUTE_REQUEST_BYTES = "evenkeel_route_request_bytes_total" Counter ["route"] "bytes"
        "Bytes read from clients, heads and bodies.";
    ROUTE_RESPONSE_BYTES = "evenkeel_route_response_bytes_total" Counter ["route"] "bytes"
        "Bytes written to clients, heads and bodies.";
    ROUTE_DURATION = "evenkeel_route_request_duration_seconds" Histogram ["route"] "seconds"
        "Time from the first byte of a request to the last byte of its answer.";
    POOL_UNAVAILABLE = "evenkeel_pool_unavailable_requests_total" Counter ["pool"] "requests"
        "Requests for which no server of the pool could be chosen.";
    POOL_REFUSED = "evenkeel_pool_refused_requests_total" Counter ["pool", "reason"] "requests"
        "Requests refused before any server was asked: by a breaker, a limit, the queue or load shed.";
    POOL_BREAKER_CHANGES = "evenkeel_pool_breaker_changes_total" Counter ["pool", "to"] "changes"
        "Changes of the circuit breaker of a pool.";
    SERVER_BREAKER_CHANGES = "evenkeel_server_breaker_changes_total" Counter ["pool", "to"] "changes"
        "Changes of the circuit breakers of a pool's servers.";
    POOL_BUDGET_EXHAUSTED = "evenkeel_pool_retry_budget_exhausted_total" Counter ["pool"] "attempts"
        "Retries and hedges that were not made because the budget was spent.";
    POOL_HEDGES = "evenkeel_pool_hedged_requests_total" Counter ["pool"] "requests"
        "Requests that were sent to one more server because the first was slow.";
    POOL_HEDGES_WON = "evenkeel_pool_hedges_won_total" Counter ["pool"] "requests"
        "Requests that were answered first by a server that was asked later.";
    POOL_WAITING = "evenkeel_pool_waiting_requests" Gauge ["pool"] "requests"
        "Requests that wait because every server is full.";
    POOL_QUEUE_WAIT = "evenkeel_pool_queue_wait_duration_seconds" Histogram ["pool"] "seconds"
        "How long requests waited for a free server, served in the end or not.";
    SERVER_UP = "evenkeel_server_up" Gauge ["pool", "server"] "1"
        "1 when the server may be chosen now, 0 while it rests or is down.";
    SERVER_CHECKS = "evenkeel_server_checks_total" Counter ["pool", "server", "result"] "checks"
        "Active checks of a server, passed or failed.";
    SERVER_REQUESTS = "evenkeel_server_requests_total" Counter ["pool", "server", "class"] "requests"
        "Attempts on a server by class of its answer, `none` when no usable answer came.";
    SERVER_ERRORS = "evenkeel_server_errors_total" Counter ["pool", "server", "kind"] "errors"
        "Attempts that a server failed: connect, timeout, reset or protocol.";
    SERVER_IN_FLIGHT = "evenkeel_server_in_flight_requests" Gauge ["pool", "server"] "requests"
        "Attempts on a server running now.";
    SERVER_REQUEST_BYTES = "evenkeel_server_request_bytes_total" Counter ["pool", "server"] "bytes"
        "Bytes written to a server.";
    SERVER_RESPONSE_BYTES = "evenkeel_server_response_bytes_total" Counter ["pool", "server"] "bytes"
        "Bytes read from a server.";
    SERVER_OPENED = "evenkeel_server_connections_opened_total" Counter ["pool", "server"] "connections"
        "Connections opened to a server.";
    SERVER_REUSED = "evenkeel_server_connections_reused_total" Counter ["pool", "server"] "requests"
        "Attempts that went over a kept connection.";
    SERVER_RETRIES = "evenkeel_server_retries_total" Counter ["pool", "server"] "requests"
        "Attempts on a server that were followed by another one, on it or elsewhere.";
    SERVER_CONNECT = "evenkeel_server_connect_duration_seconds" Histogram ["pool", "server"] "seconds"
        "Time to connect to a server.";
    SERVER_FIRST_BYTE = "evenkeel_server_first_byte_duration_seconds" Histogram ["pool", "server"] "seconds"
        "Time from sending a request to the head of its answer.";
    LOG_WRITTEN = "evenkeel_log_lines_written_total" Counter ["destination"] "lines"
        "Lines of access logs written out.";
    LOG_DROPPED = "evenkeel_log_lines_dropped_total" Counter ["destination"] "lines"
        "Lines of access logs dropped because the destination was too slow or failing.";
    LOG_TRUNCATED = "evenkeel_log_lines_truncated_total" Counter ["destination"] "lines"
        "Lines of access logs cut because they were too long.";
    LOG_ERRORS = "evenkeel_log_errors_total" Counter ["destination"] "errors"
        "Failed writes, openings and connections of access logs.";
}

/// The reference of all metrics as a Markdown page, generated from [`METRICS`].
pub fn metrics_reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Generated from the code; do not edit.\n\n\
         `GET /metrics` on the admin listener gives all of them in Prometheus' text format 0.0.4.\n\
         Counters start at zero with the process and run on over reloads. Label values are names of\n\
         the configuration or fixed words, never data of clients. Of a kind with more than 1,000\n\
         routes, servers or listeners only those are exported that were used.\n\n\
         | metric | type | labels | unit | meaning |\n\
         |---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "none".to_owned()
        } else {
            labels.join(", ")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {labels} | {} | {} |",
            metric.name,
            metric.kind.name(),
            metric.unit,
            metric.meaning
        );
    }
    page.push_str("\nHistograms have the upper bounds (in seconds) ");
    for us in bucket_bounds_us() {
        let _ = write!(page, "{}, ", seconds_of_us(*us));
    }
    page.push_str("and `+Inf`.\n");
    page
}

/// Microseconds as decimal seconds without needless zeros: `0.0005`, `30`.
pub(crate) fn seconds_of_us(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_rules() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("evenkeel_"), "{}", metric.name);
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            let is_total = metric.name.ends_with("_total");
            assert_eq!(
                is_total,
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            if metric.kind == MetricKind::Histogram {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
            for unit in ["seconds", "bytes"] {
                assert!(
                    metric.unit != unit || metric.name.contains(unit),
                    "{}",
                    metric.name
                );
            }
            assert!(metric.meaning.ends_with('.') && !metric.meaning.contains(['\n', '|']));
        }
    }

    #[test]
    fn the_reference_has_a_row_for_each() {
        let page = metrics_reference();
        for metric in METRICS {
            assert_eq!(page.matches(&format!("| `{}` |", metric.name)).count(), 1);
        }
        assert!(page.contains("0.0005, 0.001, 0.0025,") && page.contains("10, 30, and `+Inf`"));
    }
}
