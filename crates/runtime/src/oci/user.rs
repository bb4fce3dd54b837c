//! Who a container's process runs as.
//!
//! Parsed once: all digits is a number, and a number out of range is refused, never tried again
//! as a name. Names are looked up in the image's own files, read by descriptor.

use std::os::fd::OwnedFd;

use super::Error;
use super::rootfs::read_in_root;

/// passwd and group files are read up to here.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The kernel's largest id; the one above it means "no change".
const MAX_ID: u64 = i32::MAX as u64;

/// A resolved user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) additional_gids: Vec<u32>,
    pub(super) home: String,
}

/// Resolves `user`, `user:group`, with names or numbers; empty is root.
pub(super) fn resolve(root: &OwnedFd, user: &str) -> Result<User, Error> {
    let passwd = read_in_root(root, "/etc/passwd", MAX_FILE_BYTES)?.unwrap_or_default();
    let group = read_in_root(root, "/etc/group", MAX_FILE_BYTES)?.unwrap_or_default();
    resolve_with(user, &passwd, &group)
}

fn resolve_with(text: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let wrong = |why: &str| Error::User { user: text.to_owned(), why: why.to_owned() };
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    if wanted_group.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(wrong("not of the form user[:group]"));
    }
    let number = parse_id(user).map_err(wrong)?;
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6
            && match number {
                Some(uid) => fields[2].parse() == Ok(uid),
                None => fields[0] == user,
            }
    });
    let mut resolved = match (&entry, number) {
        (Some(fields), _) => User {
            uid: id_field(fields[2]).ok_or_else(|| wrong("passwd has no valid uid for it"))?,
            gid: id_field(fields[3]).ok_or_else(|| wrong("passwd has no valid gid for it"))?,
            additional_gids: Vec::new(),
            home: fields[5].to_owned(),
        },
        (None, Some(uid)) => User { uid, ..User::default() },
        (None, None) => return Err(wrong("no such user in /etc/passwd of the image")),
    };
    let groups = || {
        group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.len() >= 4).then(|| Some((fields[0], id_field(fields[2])?, fields[3])))?
        })
    };
    match wanted_group {
        Some(wanted) => {
            resolved.gid = match parse_id(wanted).map_err(wrong)? {
                Some(gid) => gid,
                None => groups()
                    .find(|(name, _, _)| *name == wanted)
                    .map(|(_, gid, _)| gid)
                    .ok_or_else(|| wrong("no such group in /etc/group of the image"))?,
            };
        }
        None => {
            let name = entry.as_ref().map(|fields| fields[0]);
            resolved.additional_gids = groups()
                .filter(|(_, _, members)| members.split(',').any(|member| Some(member) == name))
                .map(|(_, gid, _)| gid)
                .collect();
        }
    }
    if resolved.home.is_empty() {
        resolved.home = "/".to_owned();
    }
    Ok(resolved)
}

fn id_field(field: &str) -> Option<u32> {
    parse_id(field).ok()?
}

/// `Some` for a number, `None` for a name.
fn parse_id(text: &str) -> Result<Option<u32>, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse::<u64>().ok().filter(|id| *id <= MAX_ID);
    id.and_then(|id| u32::try_from(id).ok()).map(Some).ok_or("the number is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n\
                          4294967296:x:0:0::/:/bin/sh\nbad:x:-1:0::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:web,root\naudio:x:29:web\n";

    fn check(text: &str, expected: Option<(u32, u32, &[u32], &str)>) {
        let found = resolve_with(text, PASSWD, GROUP).ok();
        let found = found
            .as_ref()
            .map(|user| (user.uid, user.gid, user.additional_gids.as_slice(), user.home.as_str()));
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn users_are_resolved_once() {
        check("", Some((0, 0, &[50], "/root")));
        check("web", Some((33, 34, &[50, 29], "/srv")));
        check("33", Some((33, 34, &[50, 29], "/srv")));
        check("web:logs", Some((33, 50, &[], "/srv")));
        check("1234", Some((1234, 0, &[], "/")));
        check("1234:5678", Some((1234, 5678, &[], "/")));
        check(":logs", Some((0, 50, &[], "/root")));
        check("nobody", None);
        check("web:nogroup", None);
        check("web:", None);
        check("1:2:3", None);
        // Out of range is an error, though a line of that name exists (CVE-2024-40635).
        check("4294967296", None);
        check("2147483648", None);
        check("0:4294967296", None);
        check("bad", None);
    }
}
