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
        evenkeel run evenkeel.yaml\n  \
        evenkeel status                        how its servers fare, of the process that runs here\n  \
        evenkeel server drain app app-01       no new requests for a server\n\n\
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
    /// Let the running process read its configuration anew. A bad one is refused, and what runs goes on.
    Reload(Target),
    /// Tell how the running process and its servers fare: state, since when, why, by which check, counts.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Whom to ask.
        #[command(flatten)]
        target: Target,
    },
    /// Change a server of a pool while it runs; `save` writes it into the file.
    Server {
        /// What to change.
        #[command(subcommand)]
        command: ServerCommand,
        /// Whom to ask.
        #[command(flatten)]
        target: Target,
    },
    /// Write the changes of servers that were made at run time into the configuration file.
    Save(Target),
    /// Stop the running process: it takes no new connections, and ends when what runs has ended.
    Drain(Target),
    /// Replace the running process by the program that lies on the disk now, without a lost connection.
    Upgrade(Target),
    /// Three small servers, a balancer in front and steady traffic, to see it work.
    Demo(Demo),
}

/// Whom to ask: the process that listens on a unix socket of this machine, unless a URL is given.
#[derive(Debug, Args)]
pub struct Target {
    /// The admin socket; looked for where processes without a setting have theirs when not given.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    pub socket: Option<PathBuf>,
    /// The admin listener, http://HOST:PORT or https://HOST:PORT.
    #[arg(long, global = true)]
    pub url: Option<String>,
    /// Token for --url; `env:NAME` or `file:PATH` keeps it out of the list of processes.
    #[arg(long, global = true, requires = "url")]
    pub token: Option<String>,
    /// File with the CA of the listener's certificate; the system's CAs when not given.
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    pub ca: Option<PathBuf>,
    /// File with a client certificate, for --url.
    #[arg(long, global = true, value_name = "FILE", requires_all = ["url", "key"])]
    pub cert: Option<PathBuf>,
    /// File with its key.
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Changes of servers.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Add a server to a pool.
    Add(NewServer),
    /// Remove a server; its running requests end in their own time.
    Remove {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
    },
    /// Give a server no new requests; sessions that are bound to it are handed on.
    Drain {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// End what still runs there after this time, such as 30s.
        #[arg(long)]
        limit: Option<String>,
    },
    /// Let a server take requests again, as its health allows.
    Enable {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
    },
    /// Take a server out.
    Down {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
    },
    /// Set a server's share of the traffic, 0 to 65535.
    Weight {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// The weight.
        #[arg(value_parser = clap::value_parser!(u32).range(0..=65535))]
        weight: u32,
    },
}

/// A server to add.
#[derive(Debug, Args)]
pub struct NewServer {
    /// The pool.
    pub pool: String,
    /// Where it listens, HOST:PORT.
    pub address: String,
    /// Its name; the address when not given.
    #[arg(long)]
    pub name: Option<String>,
    /// Its share of the traffic; 1 when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=65535))]
    pub weight: Option<u32>,
    /// Requests that run there at a time; no limit when not given.
    #[arg(long)]
    pub max_connections: Option<u32>,
    /// The lowest tier with healthy servers is used; 0 when not given.
    #[arg(long)]
    pub tier: Option<u8>,
}

impl Command {
    /// Whether it serves: what a supervisor or another process gave is for such a one.
    pub fn serves(&self) -> bool {
        matches!(self, Command::Run { .. } | Command::Proxy(_))
    }
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
