//! From root to the user of the configuration, once the ports are bound and the logs are open.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chownat, fstat, openat};
use rustix::io::Errno;
use rustix::path::Arg;
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
    pub fn own_socket(&self, socket: impl AsFd) -> io::Result<()> {
        let (uid, gid) = self.ids();
        Ok(rustix::fs::fchown(socket, Some(uid), Some(gid))?)
    }

    /// Gives this user a file, socket or folder of root's, not what lies in the folder.
    ///
    /// # Errors
    /// What the system said. A path that is not there is no error.
    pub fn own_name(&self, path: &Path) -> io::Result<()> {
        self.own_levels(CWD, path, 0)
    }

    /// Gives this user a file of root's, or a folder with what lies in it, two levels deep. Links,
    /// other users' files and what has several names are left alone: who may write there could
    /// otherwise get a file of root's that way.
    ///
    /// # Errors
    /// What the system said. A path that is not there is no error.
    pub fn own_files(&self, path: &Path) -> io::Result<()> {
        self.own_levels(CWD, path, 2)
    }

    /// Looks at and gives the same thing, by its descriptor: since the last start the folder is the
    /// user's, who may put something else there between two calls. Of what root owns there, such as a
    /// key that was made a moment ago, the user has no more than the name.
    fn own_levels<P: Arg>(&self, folder: BorrowedFd<'_>, name: P, levels: u8) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match openat(folder, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let stat = fstat(&found)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory && levels > 0 && [0, self.uid].contains(&stat.st_uid) {
            let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let inside = openat(&found, c".", readable, Mode::empty())?;
            for entry in Dir::new(inside)? {
                let entry = entry?;
                let name = entry.file_name();
                if name != c"." && name != c".." {
                    self.own_levels(found.as_fd(), name, levels - 1)?;
                }
            }
        }
        let is_plain = match kind {
            FileType::Directory => true,
            FileType::RegularFile | FileType::Socket => stat.st_nlink == 1,
            _ => false,
        };
        // The folder last: until then nobody else can change what lies in it.
        if stat.st_uid == 0 && is_plain {
            let (uid, gid) = self.ids();
            chownat(&found, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

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
        std::fs::create_dir_all(folder.join("foreign/sub")).unwrap();
        std::fs::write(folder.join("foreign/sub/roots"), "x").unwrap();
        std::os::unix::fs::lchown(folder.join("foreign"), Some(77), None).unwrap();
        let elsewhere = folder.with_extension("elsewhere");
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("roots"), "x").unwrap();
        symlink("/etc/hostname", folder.join("link")).unwrap();
        symlink(&elsewhere, folder.join("folder-link")).unwrap();
        std::os::unix::fs::lchown(folder.join("another's"), Some(77), None).unwrap();
        let identity = Identity {
            name: "x".to_owned(),
            uid: 3_999_999_999,
            gid: 7,
            groups: vec![7],
        };
        identity.own_files(&folder).unwrap();
        identity.own_files(Path::new("/nonexistent/log")).unwrap();
        identity.own_files(&folder.join("folder-link")).unwrap();
        assert_eq!(std::fs::metadata(&elsewhere).unwrap().uid(), 0);
        assert_eq!(std::fs::metadata(elsewhere.join("roots")).unwrap().uid(), 0);
        let owner = |name: &str| {
            let meta = std::fs::symlink_metadata(folder.join(name)).unwrap();
            (meta.uid(), meta.gid())
        };
        for name in ["", "log", "keys", "keys/one", "keys/deep"] {
            assert_eq!(owner(name), (3_999_999_999, 7), "{name}");
        }
        for name in [
            "named-twice",
            "twin",
            "link",
            "folder-link",
            "keys/deep/deeper",
            "foreign/sub",
            "foreign/sub/roots",
        ] {
            assert_eq!(owner(name), (0, 0), "{name}");
        }
        assert_eq!(owner("another's").0, 77);
        assert_eq!(
            std::fs::metadata("/etc/hostname").map_or(0, |it| it.uid()),
            0
        );
        // A later start: the folder is the user's, and a key was made in it as root.
        std::fs::write(folder.join("keys/new"), "x").unwrap();
        identity.own_files(&folder).unwrap();
        assert_eq!(owner("keys/new"), (3_999_999_999, 7));
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::remove_dir_all(&elsewhere).unwrap();
    }
}
