//! From root to the user of the configuration, once the ports are bound and the logs are open.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs,
};

/// Whom the process becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// Whom the configuration asks for; `None` when nobody, or when the process is that user already.
    ///
    /// # Errors
    /// When there is no such user or group, or the process may not become another.
    pub fn wanted(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>> {
        let Some(user) = user else {
            if group.is_some() {
                bail!("group: is set without `user`; write the user too");
            }
            return Ok(None);
        };
        let account = keel_sys::user(user)
            .with_context(|| format!("user: cannot look up `{user}`"))?
            .with_context(|| {
                format!("user: there is no user `{user}`; make it (`useradd --system {user}`) or write another")
            })?;
        let gid = match group {
            None => account.gid,
            Some(group) => keel_sys::group(group)
                .with_context(|| format!("group: cannot look up `{group}`"))?
                .with_context(|| {
                    format!("group: there is no group `{group}`; make it (`groupadd --system {group}`) or write another")
                })?,
        };
        let now = geteuid();
        if now.as_raw() == account.uid {
            return Ok(None);
        }
        if !now.is_root() {
            bail!(
                "user: only root can become `{user}`, and this process is user {}; start it as root or remove the key (systemd's User= does the same)",
                now.as_raw()
            );
        }
        Ok(Some(Identity {
            groups: keel_sys::groups_of(&account.name, gid),
            name: account.name,
            uid: account.uid,
            gid,
        }))
    }

    /// Gives this user a socket: a sibling (`SO_REUSEPORT`) may only be bound by the same user.
    ///
    /// # Errors
    /// What the system said.
    pub fn own_socket(&self, socket: impl std::os::fd::AsFd) -> io::Result<()> {
        let (uid, gid) = self.ids();
        Ok(rustix::fs::fchown(socket, Some(uid), Some(gid))?)
    }

    /// Gives this user what has this name and was made by this process: a socket, or a folder.
    ///
    /// # Errors
    /// What the system said.
    pub fn own_name(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
    }

    /// Gives this user a file of root's, or a folder with what lies in it, two levels deep. Links,
    /// other users' files and what has several names are left alone: who may write there could
    /// otherwise get a file of root's that way.
    ///
    /// # Errors
    /// What the system said. A path that is not there is no error.
    pub fn own_files(&self, path: &Path) -> io::Result<()> {
        self.own_levels(path, 2)
    }

    fn own_levels(&self, path: &Path, levels: u8) -> io::Result<()> {
        let meta = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let is_plain = meta.is_dir() || (is_file(&meta) && meta.nlink() == 1);
        if meta.uid() == 0 && is_plain {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))?;
        }
        if !meta.is_dir() || levels == 0 {
            return Ok(());
        }
        for entry in std::fs::read_dir(path)? {
            self.own_levels(&entry?.path(), levels - 1)?;
        }
        Ok(())
    }

    /// Becomes this user, all threads of the process, for good. Only the privilege to bind low ports
    /// stays, where there is one: on this thread, on those that it starts, and in a new program that
    /// it starts. Nothing that is started can gain privileges.
    ///
    /// # Errors
    /// What the system refused; the process must end then.
    pub fn become_it(&self) -> Result<()> {
        let refused = |what: &str| format!("cannot become user `{}`: {what}", self.name);
        let bind = CapabilitySet::NET_BIND_SERVICE;
        let before = capabilities(None).with_context(|| refused("asking for capabilities"))?;
        let keeps = before.permitted.contains(bind);
        set_keep_capabilities(true).with_context(|| refused("keeping capabilities"))?;
        keel_sys::become_user(self.uid, self.gid, &self.groups)
            .with_context(|| refused("setting its ids"))?;
        set_keep_capabilities(false).with_context(|| refused("keeping capabilities"))?;
        let kept = if keeps { bind } else { CapabilitySet::empty() };
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        };
        set_capabilities(None, sets).with_context(|| refused("dropping capabilities"))?;
        // A kernel without ambient capabilities: reloads bind low ports, a new program does not.
        if keeps && let Err(error) = configure_capability_in_ambient_set(bind, true) {
            tracing::warn!("an upgraded program will not be able to bind new low ports: {error}");
        }
        set_no_new_privs(true).with_context(|| refused("setting no_new_privs"))?;
        tracing::info!(
            user = self.name,
            uid = self.uid,
            gid = self.gid,
            low_ports = keeps,
            "dropped privileges"
        );
        Ok(())
    }

    fn ids(&self) -> (rustix::process::Uid, rustix::process::Gid) {
        let uid = rustix::process::Uid::from_raw(self.uid);
        (uid, rustix::process::Gid::from_raw(self.gid))
    }
}

fn is_file(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;

    meta.is_file() || meta.file_type().is_socket()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Becoming another user is for a process of its own: tests/tests/e2e/privileges.rs.
    #[test]
    fn strangers_are_told_and_nobody_is_asked_for_nothing() {
        assert_eq!(Identity::wanted(None, None).unwrap(), None);
        let said = |user, group| format!("{:#}", Identity::wanted(user, group).unwrap_err());
        let no_user = said(Some("nobody-has-this-name"), None);
        assert!(no_user.contains("there is no user `nobody-has-this-name`"));
        let no_group = said(Some("root"), Some("nobody-has-this-name"));
        assert!(no_group.contains("there is no group `nobody-has-this-name`"));
        assert!(said(None, Some("root")).contains("without `user`"));
        let uid = geteuid().as_raw().to_string();
        assert_eq!(Identity::wanted(Some(&uid), None).unwrap(), None);
        let other = Identity::wanted(Some("3999999999"), Some("7"));
        if geteuid().is_root() {
            let identity = other.unwrap().unwrap();
            assert_eq!((identity.uid, identity.gid), (3_999_999_999, 7));
        } else {
            assert!(other.unwrap_err().to_string().contains("only root"));
        }
    }

    #[test]
    fn files_of_root_are_given_and_others_are_left_alone() {
        if !geteuid().is_root() {
            return; // Only root can give files away.
        }
        let folder = std::env::temp_dir().join(format!("evenkeel-own-{}", std::process::id()));
        let _stale = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("keys/deep/deeper")).unwrap();
        for name in ["log", "named-twice", "keys/one", "another's"] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        std::fs::hard_link(folder.join("named-twice"), folder.join("twin")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
        std::os::unix::fs::lchown(folder.join("another's"), Some(77), None).unwrap();
        let identity = Identity {
            name: "x".to_owned(),
            uid: 3_999_999_999,
            gid: 7,
            groups: vec![7],
        };
        identity.own_files(&folder).unwrap();
        identity.own_files(Path::new("/nonexistent/log")).unwrap();
        let owner = |name: &str| {
            let meta = std::fs::symlink_metadata(folder.join(name)).unwrap();
            (meta.uid(), meta.gid())
        };
        for name in ["", "log", "keys", "keys/one", "keys/deep"] {
            assert_eq!(owner(name), (3_999_999_999, 7), "{name}");
        }
        for name in ["named-twice", "twin", "link", "keys/deep/deeper"] {
            assert_eq!(owner(name), (0, 0), "{name}");
        }
        assert_eq!(owner("another's").0, 77);
        assert_eq!(
            std::fs::metadata("/etc/hostname").map_or(0, |it| it.uid()),
            0
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
