//! End-to-end tests: the real binary, a real configuration file, real sockets. One module per behaviour.
//!
//! Ports are given by the system; waits end with an event or a deadline. Every HTTP origin reads what it gets with
//! the kit's strict reader and fails the test on anything that is not well-formed.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod access_log;
mod admin;
mod admin_api;
mod allocations;
mod autobahn;
mod balancing;
mod big_bodies;
mod browser;
mod chaos;
mod chunked;
mod cli;
mod client_certificates;
mod config_errors;
mod conformance;
mod demo;
mod discovery;
mod drain;
mod early_answer;
mod edits;
mod errors;
mod expect;
mod forwarding;
mod grpc;
mod h2;
mod h2_attacks;
mod h2_fair;
mod h2_priorities;
mod h2_rules;
mod h2_servers;
mod h2_shared;
mod h2_strict;
mod half_close;
mod headers;
mod health;
mod health_curves;
mod health_kinds;
mod health_traffic;
mod hedge;
mod hop_by_hop;
mod keep_alive;
mod limits;
mod lineage;
mod listeners;
mod many_connections;
mod metrics;
mod nothing_lost;
mod own_health;
mod peers_grpc;
mod peers_h2;
mod peers_tls;
mod privileges;
mod protect;
mod queue;
mod real_peers;
mod reload;
mod reload_connections;
mod replay;
mod retry;
mod routing;
mod scans;
mod second_request;
mod site;
mod slow_clients;
mod sticky;
mod sticky_live;
mod systemd;
mod targets;
mod tls;
mod tls_check;
mod tls_limits;
mod tls_routes;
mod tls_servers;
mod upgrade;
mod upgrade_binary;
mod upgrade_stop;
mod websocket;

/// The shortest request.
const GET: &str = "GET / HTTP/1.1\r\nHost: test.example\r\n\r\n";

/// A bound on memory per connection, in bytes: as it is for an optimised binary, four times that for one that is not.
fn memory_bound(bytes: u64) -> u64 {
    if keel_testkit::binary::is_optimised() {
        bytes
    } else {
        4 * bytes
    }
}
