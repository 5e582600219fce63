//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A load balancer and reverse proxy: one binary, one configuration file.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    about,
    after_help = "Examples:\n  \
        evenkeel demo                          see it work, with servers and traffic of its own\n  \
        evenkeel proxy --listen :8080 --to 127.0.0.1:3001,127.0.0.1:3002\n  \
        evenkeel check evenkeel.yaml           every error at once, nothing is started\n  \
        evenkeel run evenkeel.yaml\n\n\
        Exit codes: 0 fine, 1 failure while running, 2 bad command line or configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve as a configuration file says.
    Run {
        /// The configuration file.
        #[arg(default_value = "evenkeel.yaml")]
        file: PathBuf,
    },
    /// Check a configuration file; binds nothing. Exits with 0 or 2.
    Check {
        /// The configuration file.
        #[arg(default_value = "evenkeel.yaml")]
        file: PathBuf,
    },
    /// Balance over servers without a configuration file.
    Proxy(Proxy),
    /// Tell what would happen to a request: each route that is tried and why, the pool, the servers.
    #[command(
        after_help = "Example:\n  evenkeel explain evenkeel.yaml GET http://api.example.com/users -H 'X-Tenant: acme'"
    )]
    Explain(Explain),
    /// Print the JSON Schema of the configuration, for completion in editors.
    Schema,
    /// Three small servers, a balancer in front and steady traffic, to see it work.
    Demo(Demo),
}

/// Options of `proxy`.
#[derive(Debug, Args)]
pub struct Proxy {
    /// Address to listen on; several with commas. `:8080` is port 8080 on all IPv4 addresses.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:8080")]
    pub listen: Vec<String>,
    /// Servers, as HOST:PORT with commas.
    #[arg(long, value_delimiter = ',', required = true)]
    pub to: Vec<String>,
    /// How a server is chosen: round_robin, least_conn, random, least_time, power_of_two, ip_hash, …
    #[arg(long, default_value = "round_robin")]
    pub balance: String,
    /// Number of worker threads; one for each core when not given.
    #[arg(long)]
    pub workers: Option<u16>,
    /// Write an access log to standard output, in nginx's combined format.
    #[arg(long)]
    pub access_log: bool,
    /// Address of the admin listener (/health, /stats, /metrics), or `off`.
    #[arg(long)]
    pub admin: Option<String>,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The configuration file.
    pub file: PathBuf,
    /// The method.
    pub method: String,
    /// The URL, http://host/path?query.
    pub url: String,
    /// A header, `Name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The client's address.
    #[arg(long, default_value = "127.0.0.1")]
    pub client: IpAddr,
    /// The listener that the request comes in on; when not given the first that speaks the URL's scheme.
    #[arg(long)]
    pub listener: Option<String>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Port of the balancer; a free one is taken when it is busy.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// End by itself after so many seconds.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Requests per second of the built-in traffic.
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
}
