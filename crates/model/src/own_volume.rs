//! Volumes that Amazon ECS doesn't have, in the shape that its clients can send: a docker volume
//! with one of wharf's own drivers. They hold files, in memory, that containers can't change.
//!
//! - `wharf-file`: a file with the given `content`. With `path` the volume is a directory with a file
//!   of that name; without it, the volume is the file, and its mount point a file's.
//! - `wharf-secret`: a directory with a file for each option, named like the option, with the value
//!   that the option names as a container's `secrets` do.
//!
//! Both take `mode`, `uid` and `gid` for their files.

use crate::secret_reference::SecretReference;
use std::collections::BTreeMap;

/// The driver of files with given content.
pub const FILE_DRIVER: &str = "wharf-file";
/// The driver of secrets.
pub const SECRET_DRIVER: &str = "wharf-secret";
/// The longest name of a file.
const MAX_NAME: usize = 255;
/// Who may read a file unless it is said.
const FILE_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o400;

/// Whose the files are, and who may read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A volume of wharf's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnVolume {
    /// A file with given content.
    File {
        /// Its name in the volume's directory; without one the volume is the file.
        path: Option<String>,
        /// What is in it.
        content: String,
        /// Who may read it.
        access: Access,
    },
    /// Secrets as files.
    Secrets {
        /// Where each file's content comes from, as a `valueFrom`.
        files: BTreeMap<String, String>,
        /// Who may read them.
        access: Access,
    },
}

/// Why it isn't a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option that the driver doesn't have.
    #[error("{0}: the driver has no such option")]
    Unknown(String),
    /// An option that it needs.
    #[error("{0} is required")]
    Missing(&'static str),
    /// An option's value that can't be.
    #[error("{option}: {why}")]
    Value {
        /// The option.
        option: String,
        /// What is wrong with it.
        why: String,
    },
}

impl OwnVolume {
    /// The volume that a driver of wharf's own makes of its options; `None` for other drivers.
    ///
    /// # Errors
    /// If the options aren't the driver's.
    pub fn parse(
        driver: Option<&str>,
        options: Option<&BTreeMap<String, String>>,
    ) -> Option<Result<Self, Error>> {
        let none = BTreeMap::new();
        let options = options.unwrap_or(&none);
        match driver? {
            FILE_DRIVER => Some(file(options)),
            SECRET_DRIVER => Some(secrets(options)),
            _ => None,
        }
    }

    /// The `valueFrom`s of its files.
    pub fn references(&self) -> impl Iterator<Item = &String> {
        let files = match self {
            Self::Secrets { files, .. } => Some(files),
            Self::File { .. } => None,
        };
        files.into_iter().flat_map(BTreeMap::values)
    }
}

fn file(options: &BTreeMap<String, String>) -> Result<OwnVolume, Error> {
    let mut rest = options.clone();
    let access = access(&mut rest, FILE_MODE)?;
    let content = rest.remove("content").ok_or(Error::Missing("content"))?;
    let path = rest.remove("path");
    path.as_deref().map(|name| file_name("path", name)).transpose()?;
    match rest.into_keys().next() {
        Some(other) => Err(Error::Unknown(other)),
        None => Ok(OwnVolume::File { path, content, access }),
    }
}

fn secrets(options: &BTreeMap<String, String>) -> Result<OwnVolume, Error> {
    let mut files = options.clone();
    let access = access(&mut files, SECRET_MODE)?;
    if files.is_empty() {
        return Err(Error::Missing(
            "an option with a file's name and where its content comes from",
        ));
    }
    for (name, value_from) in &files {
        file_name(name, name)?;
        SecretReference::parse(value_from).map_err(|error| value(name, error))?;
    }
    Ok(OwnVolume::Secrets { files, access })
}

fn value(option: &str, why: impl ToString) -> Error {
    Error::Value { option: option.to_owned(), why: why.to_string() }
}

fn file_name(option: &str, name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(plain)
        && !name.starts_with('.')
    {
        true => Ok(()),
        false => Err(value(
            option,
            "a file's name has letters, digits, '.', '_' and '-', and doesn't begin with '.'",
        )),
    }
}

fn access(options: &mut BTreeMap<String, String>, mode: u32) -> Result<Access, Error> {
    let mode = match options.remove("mode") {
        None => mode,
        Some(text) => u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| value("mode", "not an octal number up to 0777"))?,
    };
    let mut id = |option: &'static str| match options.remove(option) {
        None => Ok(0),
        // The largest means "leave it" to the kernel.
        Some(text) => text
            .parse()
            .ok()
            .filter(|id| *id < u32::MAX)
            .ok_or_else(|| value(option, "not a number of a user or group")),
    };
    Ok(Access { mode, uid: id("uid")?, gid: id("gid")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(driver: &str, options: &[(&str, &str)]) -> Option<Result<OwnVolume, String>> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        OwnVolume::parse(Some(driver), Some(&options)).map(|r| r.map_err(|e| e.to_string()))
    }

    #[test]
    fn files_and_secrets() {
        assert_eq!(parse("local", &[]), None);
        assert_eq!(
            parse(FILE_DRIVER, &[("content", "a=b\n"), ("path", "app.conf"), ("uid", "5")]),
            Some(Ok(OwnVolume::File {
                path: Some("app.conf".to_owned()),
                content: "a=b\n".to_owned(),
                access: Access { mode: 0o644, uid: 5, gid: 0 },
            }))
        );
        assert_eq!(
            parse(SECRET_DRIVER, &[("password", "/app/db"), ("mode", "0440"), ("gid", "7")]),
            Some(Ok(OwnVolume::Secrets {
                files: BTreeMap::from([("password".to_owned(), "/app/db".to_owned())]),
                access: Access { mode: 0o440, uid: 0, gid: 7 },
            }))
        );
    }

    #[test]
    fn what_is_none() {
        let error = |driver, options: &[_]| parse(driver, options).unwrap().unwrap_err();
        assert_eq!(error(FILE_DRIVER, &[]), "content is required");
        assert_eq!(
            error(FILE_DRIVER, &[("content", ""), ("type", "tmpfs")]),
            "type: the driver has no such option"
        );
        for path in ["", "a/b", "..", ".hidden", "a\0"] {
            let text = error(FILE_DRIVER, &[("content", ""), ("path", path)]);
            assert!(text.starts_with("path: a file's name has"), "{text}");
        }
        for mode in ["", "8", "01777", "rw"] {
            let text = error(FILE_DRIVER, &[("content", ""), ("mode", mode)]);
            assert_eq!(text, "mode: not an octal number up to 0777");
        }
        assert!(error(SECRET_DRIVER, &[("mode", "0400")]).ends_with("is required"));
        assert!(error(SECRET_DRIVER, &[("a", "arn:aws:s3:::b/k")]).starts_with("a: the ARN names"));
        assert!(error(SECRET_DRIVER, &[("a/b", "p")]).starts_with("a/b: a file's name"));
        assert!(error(SECRET_DRIVER, &[("a", "p"), ("uid", "4294967295")]).starts_with("uid: "));
    }

    proptest! {
        #[test]
        fn names_stay_in_their_directory(name in ".{0,12}") {
            let parsed = parse(SECRET_DRIVER, &[(&name, "p")]);
            if let Some(Ok(OwnVolume::Secrets { files, .. })) = parsed {
                for name in files.keys() {
                    prop_assert!(!name.contains('/') && !name.starts_with('.') && !name.is_empty());
                }
            }
        }
    }
}
