//! PAX extended headers: the records that change how the next member is read.

use super::tar_stream::Error;

/// The records of one extended header that matter here; the last of a key wins.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Parses the body of an `x` member.
pub(super) fn parse(body: &[u8]) -> Result<Pax, Error> {
    let mut pax = Pax::default();
    for record in records(body) {
        let (key, value) = record?;
        match key {
            b"path" => pax.path = name(value)?,
            b"linkpath" => pax.link = name(value)?,
            b"size" => pax.size = number(value)?,
            b"uid" => pax.uid = id(value)?,
            b"gid" => pax.gid = id(value)?,
            b"mtime" => pax.mtime = time(value)?,
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(Error::Ambiguous("a PAX sparse member"));
            }
            _ => {
                if let Some(xattr) = key.strip_prefix(b"SCHILY.xattr.") {
                    pax.xattrs.retain(|(name, _)| name != xattr);
                    pax.xattrs.push((xattr.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(pax)
}

/// Global headers may carry comments (git does) but nothing that changes how members are read.
pub(super) fn check_global(body: &[u8]) -> Result<(), Error> {
    for record in records(body) {
        let (key, _) = record?;
        let harmless = matches!(key, b"comment" | b"charset" | b"hdrcharset" | b"mtime" | b"atime");
        if !harmless {
            return Err(Error::Ambiguous("a PAX global header that changes members"));
        }
    }
    Ok(())
}

type Record<'a> = Result<(&'a [u8], &'a [u8]), Error>;

/// `<length> <key>=<value>\n`, the length counting all of it.
fn records(mut body: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        // Some writers pad the body with NULs.
        if body.iter().all(|b| *b == 0) {
            return None;
        }
        let parsed = split_record(body);
        body = parsed.map_or(&[], |(_, _, rest)| rest);
        Some(parsed.map(|(key, value, _)| (key, value)).ok_or(Error::Pax))
    })
}

fn split_record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(8).position(|b| *b == b' ')?;
    let length: usize = digits(&body[..space])?.try_into().ok()?;
    let record = body.get(space + 1..length)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty()).then_some((key, value, &body[length..]))
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An empty value takes the record back (POSIX pax).
fn name(value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if value.contains(&0) {
        return Err(Error::Pax);
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn number(value: &[u8]) -> Result<Option<u64>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = digits(value).filter(|n| *n <= i64::MAX as u64).ok_or(Error::Pax)?;
    Ok(Some(number))
}

fn id(value: &[u8]) -> Result<Option<u32>, Error> {
    let id = number(value)?.map(u32::try_from).transpose().map_err(|_| Error::Pax)?;
    Ok(id)
}

/// Decimal seconds with an optional fraction, possibly negative.
fn time(value: &[u8]) -> Result<Option<(i64, u32)>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    let (negative, rest) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match rest.iter().position(|b| *b == b'.') {
        Some(dot) => (&rest[..dot], &rest[dot + 1..]),
        None => (rest, &[][..]),
    };
    let seconds = digits(whole).and_then(|s| i64::try_from(s).ok()).ok_or(Error::Pax)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Error::Pax);
    }
    let mut nanos = 0;
    for index in 0..9 {
        nanos = nanos * 10 + fraction.get(index).map_or(0, |d| u32::from(d - b'0'));
    }
    Ok(Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    }))
}
