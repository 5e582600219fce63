//! Users and groups of the system, and becoming one of them.

use std::ffi::{CStr, CString};
use std::io;

/// A user as the system's database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user's id.
    pub uid: u32,
    /// The id of its first group.
    pub gid: u32,
}

/// Most bytes of an entry of the database.
const ENTRY_MAX: usize = 1 << 20;
/// Most groups of a user that are asked for.
const GROUPS_MAX: usize = 65_536;

/// Looks a user up by name; a number is an id, which needs no entry.
///
/// # Errors
/// What the system said; a user that does not exist is no error but `None`.
pub fn user(name: &str) -> io::Result<Option<Account>> {
    let Ok(key) = CString::new(name) else {
        return Ok(None);
    };
    let found = with_room(|entry, text, len, found| {
        // SAFETY: `key` ends with a zero byte, `entry` has room for one entry, `text` for `len` bytes,
        // and `found` for a pointer; all of them outlive the call.
        unsafe { libc::getpwnam_r(key.as_ptr(), entry, text, len, found) }
    })?;
    if found.is_some() {
        return Ok(found);
    }
    let Ok(uid) = name.parse::<u32>() else {
        return Ok(None);
    };
    let known = with_room(|entry, text, len, found| {
        // SAFETY: as above; an id is a plain number.
        unsafe { libc::getpwuid_r(uid, entry, text, len, found) }
    })?;
    Ok(Some(known.unwrap_or(Account {
        name: name.to_owned(),
        uid,
        gid: uid,
    })))
}

/// Calls one of the `getpw…_r` functions, with more room for as long as it asks for it.
fn with_room(
    call: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<Account>> {
    let mut room = vec![0u8; 1 << 10];
    loop {
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let code = call(
            entry.as_mut_ptr(),
            room.as_mut_ptr().cast(),
            room.len(),
            &raw mut found,
        );
        match code {
            0 if found.is_null() => return Ok(None),
            0 => {}
            libc::ERANGE if room.len() < ENTRY_MAX => {
                room.resize(room.len() * 2, 0);
                continue;
            }
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
        // SAFETY: success with a non-null `found` means that `entry` was filled in; its name points
        // into `room`, which lives and is not changed until the name has been copied.
        let (entry, name) = unsafe {
            let entry = entry.assume_init();
            (entry, CStr::from_ptr(entry.pw_name))
        };
        return Ok(Some(Account {
            name: name.to_string_lossy().into_owned(),
            uid: entry.pw_uid,
            gid: entry.pw_gid,
        }));
    }
}

/// Looks a group's id up by name; a number is an id.
///
/// # Errors
/// What the system said; a group that does not exist is no error but `None`.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let Ok(key) = CString::new(name) else {
        return Ok(None);
    };
    let mut room = vec![0u8; 1 << 10];
    loop {
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: `key` ends with a zero byte, `entry` has room for one entry and `room` for as many
        // bytes as are told; all of them outlive the call.
        let code = unsafe {
            libc::getgrnam_r(
                key.as_ptr(),
                entry.as_mut_ptr(),
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut found,
            )
        };
        match code {
            0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Ok(name.parse().ok()),
            // SAFETY: success with a non-null `found` means that `entry` was filled in.
            0 => return Ok(Some(unsafe { entry.assume_init() }.gr_gid)),
            libc::ERANGE if room.len() < ENTRY_MAX => room.resize(room.len() * 2, 0),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// All groups of a user, `gid` among them.
pub fn groups_of(account: &str, gid: u32) -> Vec<u32> {
    let Ok(key) = CString::new(account) else {
        return vec![gid];
    };
    let mut groups: Vec<libc::gid_t> = vec![gid; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `key` ends with a zero byte and `groups` has room for `count` ids.
        let code =
            unsafe { libc::getgrouplist(key.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        let wanted = usize::try_from(count).unwrap_or(0);
        if code >= 0 {
            groups.truncate(wanted);
            return groups;
        }
        if groups.len() >= GROUPS_MAX {
            return vec![gid];
        }
        groups.resize(wanted.clamp(groups.len() + 1, GROUPS_MAX), gid);
    }
}

/// Makes the whole process, with all its threads, that of a user: real, effective and saved ids.
/// There is no way back.
///
/// # Errors
/// What the system refused. The process may then stand between two users and has to end.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: `groups` is a list of as many ids as are told. The wrappers of the C library change
    // every thread of the process and not only this one, as POSIX asks for.
    checked(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: plain numbers.
    checked(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain numbers.
    checked(unsafe { libc::setresuid(uid, uid, uid) })
}

fn checked(code: libc::c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_by_number() {
        let root = user("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(user("0").unwrap().unwrap(), root);
        assert_eq!(group("root").unwrap(), Some(0));
        assert!(groups_of("root", 0).contains(&0));
    }

    #[test]
    fn strangers_are_none_and_numbers_need_no_entry() {
        assert_eq!(user("nobody-has-this-name").unwrap(), None);
        assert_eq!(user("a\0b").unwrap(), None);
        assert_eq!(user("3999999999").unwrap().unwrap().uid, 3_999_999_999);
        assert_eq!(group("nobody-has-this-name").unwrap(), None);
        assert_eq!(group("3999999999").unwrap(), Some(3_999_999_999));
        assert_eq!(groups_of("nobody-has-this-name", 77), [77]);
    }

    #[test]
    fn who_is_not_root_can_become_nobody_else() {
        if rustix::process::geteuid().is_root() {
            return; // The way of root is walked by the end-to-end tests, in a process of its own.
        }
        let refused = become_user(0, 0, &[]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
