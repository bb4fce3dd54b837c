//! The lines of a head, one by one.

use super::{Examined, Framing};

/// How far a request is from what the standard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// As the standard says.
    Compliant,
    /// Not as the standard says, and harmless.
    Acceptable,
    /// Servers may read it in different ways.
    Ambiguous,
    /// Made to be read in different ways.
    Severe,
}

impl Class {
    /// The word in access logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "-",
            Self::Acceptable => "Acceptable",
            Self::Ambiguous => "Ambiguous",
            Self::Severe => "Severe",
        }
    }
}

/// Something that isn't plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) class: Class,
    pub(super) reason: &'static str,
}

impl Finding {
    pub(super) const fn new(class: Class, reason: &'static str) -> Self {
        Self { class, reason }
    }
}

/// A request line that can be passed on.
pub(super) struct RequestLine<'a> {
    method: &'a [u8],
    old: bool,
    finding: Option<Finding>,
}

/// Which bytes stand in names.
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        token[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut at) = (b"!#$%&'*+-.^_`|~", 0);
    while at < others.len() {
        token[others[at] as usize] = true;
        at += 1;
    }
    token
};

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Reads a request line.
pub(super) fn request_line(line: &[u8]) -> Result<RequestLine<'_>, Examined> {
    let refuse = |reason| Err(Examined::refused(400, reason));
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next())
    else {
        return refuse("BadUri");
    };
    if parts.next().is_some() {
        return refuse("SpaceInUri");
    }
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return refuse("BadMethod");
    }
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return refuse("BadUri");
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', ..] => return Err(Examined::refused(505, "BadVersion")),
        _ => return refuse("BadVersion"),
    };
    let plain = target.iter().all(u8::is_ascii);
    let finding = (!plain).then_some(Finding::new(Class::Ambiguous, "AmbiguousUri"));
    Ok(RequestLine { method, old, finding })
}

/// What the headers say together.
pub(super) struct Facts<'a> {
    method: &'a [u8],
    old: bool,
    worst: Option<Finding>,
    refused: Option<(u16, &'static str)>,
    lengths: Vec<u64>,
    encodings: usize,
    chunked: bool,
    identity: bool,
    hosts: usize,
    pub(super) upgrade: bool,
    dropped: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn new(request: &RequestLine<'a>) -> Self {
        Self {
            method: request.method,
            old: request.old,
            worst: request.finding,
            refused: None,
            lengths: Vec::new(),
            encodings: 0,
            chunked: false,
            identity: false,
            hosts: 0,
            upgrade: false,
            dropped: false,
        }
    }

    pub(super) fn find(&mut self, finding: Finding) {
        if self.worst.is_none_or(|worst| worst.class < finding.class) {
            self.worst = Some(finding);
        }
    }

    fn refuse(&mut self, status: u16, reason: &'static str) {
        self.refused.get_or_insert((status, reason));
    }

    /// Whether some lines aren't passed on.
    pub(super) const fn drops_lines(&self) -> bool {
        self.dropped
    }

    /// Takes a header; whether it is passed on.
    pub(super) fn header(&mut self, line: &[u8]) -> bool {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            self.refuse(400, "BadHeader");
            return false;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A space before the colon, or at the start: a folded line, or another name to another server.
        if name.is_empty() || !name.iter().copied().all(is_token) {
            self.refuse(
                400,
                if name.trim_ascii().is_empty() { "EmptyHeader" } else { "BadHeader" },
            );
            return false;
        }
        if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            let bad = value.iter().any(|byte| matches!(byte, 0 | b'\r'));
            self.refuse(400, if bad { "BadHeader" } else { "NonCompliantHeader" });
            return false;
        }
        if !value.is_ascii() {
            self.find(Finding::new(Class::Acceptable, "NonCompliantHeader"));
        }
        self.named(name, value)
    }

    fn named(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("content-length") {
            self.length(value);
        } else if is("transfer-encoding") {
            return self.encoding(value);
        } else if is("host") {
            self.hosts += 1;
        } else if is("upgrade") {
            self.upgrade = true;
        } else if looks_like_framing(name) {
            self.find(Finding::new(Class::Ambiguous, "SuspiciousHeader"));
            self.dropped = true;
            return false;
        }
        true
    }

    fn length(&mut self, value: &[u8]) {
        // More digits than a length can have, signs, lists: each is read differently somewhere.
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        match parsed {
            Some(length) if digits => self.lengths.push(length),
            _ => self.refuse(400, "BadContentLength"),
        }
    }

    fn encoding(&mut self, value: &[u8]) -> bool {
        self.encodings += 1;
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return true;
        }
        if value.eq_ignore_ascii_case(b"identity") {
            self.identity = true;
            self.dropped = true;
            return false;
        }
        let words = !value.is_empty()
            && value
                .iter()
                .all(|byte| is_token(*byte) || matches!(byte, b',' | b' ' | b';' | b'='));
        let known = |word: &[u8]| {
            [&b"chunked"[..], b"gzip", b"deflate", b"compress", b"br", b"identity", b"trailers"]
                .iter()
                .any(|known| word.trim_ascii().eq_ignore_ascii_case(known))
        };
        let status = if words && value.split(|byte| *byte == b',').all(known) { 501 } else { 400 };
        self.refuse(status, "BadTransferEncoding");
        false
    }

    /// The worst finding and where the body ends; else the status to answer with.
    pub(super) fn conclude(mut self) -> Result<(Option<Finding>, Framing), (u16, &'static str)> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.encodings > 1 {
            return Err((400, "MultipleTransferEncodingChunked"));
        }
        if self.chunked && self.old {
            return Err((400, "UndefinedTransferEncodingSemantics"));
        }
        if self.hosts > 1 || (self.hosts == 0 && !self.old) {
            return Err((400, "BadHeader"));
        }
        let length = self.lengths.first().copied();
        if self.lengths.iter().any(|other| Some(*other) != length) {
            return Err((400, "MultipleContentLength"));
        }
        if self.lengths.len() > 1 {
            self.find(Finding::new(Class::Ambiguous, "DuplicateContentLength"));
        }
        if (self.chunked || self.identity) && length.is_some() {
            self.find(Finding::new(Class::Ambiguous, "BothTeClPresent"));
        }
        let reads = matches!(self.method, b"GET" | b"HEAD");
        match (self.chunked, length) {
            (true, _) if reads => {
                self.find(Finding::new(Class::Ambiguous, "UndefinedTransferEncodingSemantics"));
            }
            (false, Some(0)) if reads => {
                self.find(Finding::new(Class::Acceptable, "GetHeadZeroContentLength"));
            }
            (false, Some(_)) if reads => {
                self.find(Finding::new(Class::Ambiguous, "UndefinedContentLengthSemantics"));
            }
            _ => {}
        }
        let framing = match (self.chunked, length) {
            (true, _) => Framing::Chunked,
            (false, None | Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        Ok((self.worst, framing))
    }
}

/// Whether a careless server could take a name for one that frames the body.
fn looks_like_framing(name: &[u8]) -> bool {
    // Most names can't be any of the two, and that is seen at once.
    let first = name.iter().find(|byte| byte.is_ascii_alphanumeric());
    if name.len() < 13 || !matches!(first, Some(b'c' | b'C' | b't' | b'T')) {
        return false;
    }
    let plain = |wanted: &[u8]| {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
        letters.map(u8::to_ascii_lowercase).eq(wanted.iter().copied())
    };
    plain(b"contentlength") || plain(b"transferencoding")
}
