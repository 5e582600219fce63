//! nginx's configuration.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::Result;

use super::{CERTIFICATE, KEY, Prepare, Purpose, REQUESTS_MAX, Setup};
use crate::protocol::Protocol;

/// Writes the files; returns the command.
pub(super) fn prepare(prepare: &Prepare<'_>) -> Result<Vec<OsString>> {
    let is_root = rustix::process::geteuid().is_root();
    let text = config(
        prepare.setup,
        &prepare.listen.to_string(),
        &prepare.dir.to_string_lossy(),
        is_root,
    );
    let file = prepare.file("nginx.conf", &text)?;
    // `-e`: the log until the configuration is read is otherwise a system file.
    let mut command = vec![prepare.program.clone().into_os_string()];
    for arg in ["-e", "stderr", "-p"] {
        command.push(arg.into());
    }
    command.push(prepare.dir.into());
    command.push("-c".into());
    command.push(file.into());
    Ok(command)
}

fn config(setup: &Setup, listen: &str, dir: &str, is_root: bool) -> String {
    let mut text = String::new();
    let user = if is_root { "user root;\n" } else { "" };
    let workers = setup.workers;
    // Client and origin side each count.
    let connections = setup.connections_max * 2 + 64;
    let _ = write!(
        text,
        "{user}daemon off;\nworker_processes {workers};\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         worker_rlimit_nofile {};\nevents {{ worker_connections {connections}; use epoll; }}\nhttp {{\n",
        crate::process::raise_file_limit(),
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "  {kind}_temp_path {dir}/{kind};");
    }
    if setup.features.access_log {
        let _ = writeln!(
            text,
            "  access_log {dir}/access.log combined buffer=64k flush=1s;"
        );
    } else {
        text.push_str("  access_log off;\n");
    }
    if setup.purpose == Purpose::Speed {
        text.push_str("  proxy_max_temp_file_size 0;\n");
    }
    text.push_str("  tcp_nodelay on;\n  keepalive_timeout 65s;\n");
    let _ = writeln!(text, "  keepalive_requests {REQUESTS_MAX};");
    upstream(&mut text, setup);
    server(&mut text, setup, listen, dir);
    text.push_str("}\n");
    text
}

fn upstream(text: &mut String, setup: &Setup) {
    text.push_str("  upstream app {\n");
    for (index, origin) in setup.origins.iter().enumerate() {
        let weight = if setup.weighted { index % 5 + 1 } else { 1 };
        let _ = writeln!(text, "    server {origin} weight={weight};");
    }
    let kept = setup.pool_idle_max;
    let _ = writeln!(
        text,
        "    keepalive {kept};\n    keepalive_requests {REQUESTS_MAX};\n  }}"
    );
}

fn server(text: &mut String, setup: &Setup, listen: &str, dir: &str) {
    let spoken = match setup.protocol {
        Protocol::Http1 => "",
        Protocol::Tls => " ssl",
        Protocol::Http2 => " ssl http2",
    };
    let _ = writeln!(
        text,
        "  server {{\n    listen {listen}{spoken} backlog=4096;"
    );
    if setup.protocol.is_tls() {
        let _ = writeln!(
            text,
            "    ssl_certificate {dir}/{CERTIFICATE};\n    ssl_certificate_key {dir}/{KEY};\n    ssl_protocols TLSv1.2 TLSv1.3;"
        );
    }
    text.push_str(
        "    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n    proxy_set_header Host $http_host;\n\
         \x20   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n",
    );
    if setup.features.header_edits {
        text.push_str(
            "    proxy_set_header X-Tenant bench;\n    proxy_set_header X-Debug \"\";\n\
             \x20   proxy_hide_header X-Powered-By;\n    add_header X-Frame-Options DENY;\n\
             \x20   add_header X-Content-Type-Options nosniff;\n",
        );
    }
    if setup.features.metrics {
        text.push_str("    location = /nginx-status { stub_status; }\n");
    }
    if setup.features.routes == 0 {
        text.push_str("    location / { proxy_pass http://app; }\n");
    }
    for route in 0..setup.features.routes {
        let prefix = Setup::route_prefix(route);
        let _ = writeln!(text, "    location {prefix} {{ proxy_pass http://app; }}");
    }
    text.push_str("  }\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Features;

    fn setup() -> Setup {
        Setup::plain(&[
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        ])
    }

    #[test]
    fn plain_has_one_location_and_no_log() {
        let text = config(&setup(), "127.0.0.1:80", "/tmp/x", false);
        assert!(text.contains("access_log off;"));
        assert_eq!(text.matches("location ").count(), 1);
        assert_eq!(text.matches("server 127.0.0.1:").count(), 2);
        assert!(!text.contains("user root"));
    }

    #[test]
    fn tls_has_a_certificate_and_its_protocols() {
        let mut setup = setup();
        setup.protocol = Protocol::Tls;
        let text = config(&setup, "127.0.0.1:443", "/tmp/x", true);
        assert!(text.contains("listen 127.0.0.1:443 ssl backlog"), "{text}");
        assert!(
            text.contains("ssl_certificate_key /tmp/x/site.key;"),
            "{text}"
        );
        setup.protocol = Protocol::Http2;
        let text = config(&setup, "127.0.0.1:443", "/tmp/x", true);
        assert!(
            text.contains("listen 127.0.0.1:443 ssl http2 backlog"),
            "{text}"
        );
    }

    #[test]
    fn full_has_all_locations_and_edits() {
        let mut setup = setup();
        setup.features = Features {
            routes: 1000,
            header_edits: true,
            access_log: true,
            metrics: true,
        };
        let text = config(&setup, "127.0.0.1:80", "/tmp/x", true);
        assert_eq!(text.matches("{ proxy_pass").count(), 1000);
        assert!(text.contains("location /svc-00999/ {"));
        assert!(text.contains("combined buffer=64k") && text.contains("X-Tenant"));
        assert!(text.contains("stub_status") && text.contains("user root;"));
    }
}
