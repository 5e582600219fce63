//! How many client connections fit into the limit of open files.

use keel_config::model::Connections;

/// Descriptors for what is not a client's or a server's connection: listeners, logs, the runtime.
const RESERVED: u64 = 64;
/// Descriptors that one worker needs for itself.
const PER_WORKER: u64 = 16;
/// There is always room for so many.
const CONNECTIONS_MIN: u64 = 16;

/// The limit of client connections, and whether a configured one exceeds what the limit of open
/// files carries. A client may need a second descriptor: its server's connection.
pub(crate) fn connections_max(
    configured: Connections,
    descriptors: u64,
    workers: usize,
) -> (usize, bool) {
    let reserved = RESERVED + PER_WORKER * workers as u64;
    let fits = (descriptors.saturating_sub(reserved) / 2).max(CONNECTIONS_MIN);
    let fits_in_usize = usize::try_from(fits).unwrap_or(usize::MAX);
    match configured {
        Connections::Auto => (fits_in_usize, false),
        Connections::Fixed(wanted) => (wanted as usize, u64::from(wanted) > fits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_room_for_a_server() {
        assert_eq!(
            connections_max(Connections::Auto, 1024, 2),
            ((1024 - 64 - 32) / 2, false)
        );
        assert_eq!(connections_max(Connections::Auto, 20, 1), (16, false));
        assert_eq!(
            connections_max(Connections::Fixed(600), 1024, 1),
            (600, true)
        );
    }
}
