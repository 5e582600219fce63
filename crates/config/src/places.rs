//! Places of the process that the configuration need not name.

use std::path::{Path, PathBuf};

use crate::Surroundings;

/// Where a service keeps what it needs while it runs, as packages make it.
const RUN_FOLDER: &str = "/run/evenkeel";
/// Name of the admin socket.
const SOCKET_NAME: &str = "admin.sock";

/// The first folder of a variable. systemd gives a list; a relative path is to be ignored (XDG base directories).
fn folder_of(world: &dyn Surroundings, name: &str) -> Option<PathBuf> {
    let text = world.variable(name)?;
    let path = PathBuf::from(text.split(':').next().unwrap_or_default());
    path.is_absolute().then_some(path)
}

/// The folder for what outlives a restart, as the environment says.
pub(crate) fn state_folder(world: &dyn Surroundings) -> PathBuf {
    let variable = |name| folder_of(world, name);
    variable("STATE_DIRECTORY")
        .or_else(|| variable("XDG_STATE_HOME").map(|path| path.join("evenkeel")))
        .or_else(|| variable("HOME").map(|path| path.join(".local/state/evenkeel")))
        .unwrap_or_else(|| PathBuf::from("evenkeel-state"))
}

/// The admin socket of a process whose configuration names none.
pub(crate) fn admin_socket(world: &dyn Surroundings, state: &Path) -> PathBuf {
    let folder = folder_of(world, "RUNTIME_DIRECTORY")
        .or_else(|| folder_of(world, "XDG_RUNTIME_DIR").map(|path| path.join("evenkeel")));
    folder.unwrap_or_else(|| state.to_owned()).join(SOCKET_NAME)
}

/// Where a client looks for the admin socket of a process whose configuration it does not know: where one that it
/// started itself would have it, then where a service has it.
pub fn admin_sockets(world: &dyn Surroundings) -> Vec<PathBuf> {
    let state = state_folder(world);
    let all = [
        admin_socket(world, &state),
        Path::new(RUN_FOLDER).join(SOCKET_NAME),
        state.join(SOCKET_NAME),
    ];
    let mut paths = Vec::new();
    for path in all {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemory;

    #[test]
    fn the_socket_is_looked_for_where_it_is_made() {
        let systemd = InMemory::new()
            .variable("RUNTIME_DIRECTORY", "/run/evenkeel:/run/other")
            .variable("XDG_RUNTIME_DIR", "/run/user/7");
        let state = Path::new("/state");
        let at = |world: &InMemory| admin_socket(world, state);
        assert_eq!(at(&systemd), Path::new("/run/evenkeel/admin.sock"));
        let user = InMemory::new().variable("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(at(&user), Path::new("/run/user/7/evenkeel/admin.sock"));
        let none = InMemory::new()
            .variable("XDG_RUNTIME_DIR", "relative")
            .variable("HOME", "/home/a");
        assert_eq!(at(&none), Path::new("/state/admin.sock"));
        let paths = admin_sockets(&none);
        let home = Path::new("/home/a/.local/state/evenkeel/admin.sock");
        assert_eq!(paths, [home, Path::new("/run/evenkeel/admin.sock")]);
    }
}
