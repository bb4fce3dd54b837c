//! The raw head of an HTTP/1 request, before any parser has made sense of it: whether two servers
//! could read it in two ways, and what of it is passed on. Pure.
//!
//! Elastic Load Balancing sorts requests into four classes (desync mitigation). What is passed on is
//! always one unambiguous request that is framed anew; the class decides whether it is passed on, and
//! whether its connection may carry another one.

mod body;
mod line;

pub use body::{BadChunk, BodyReader};
pub use line::Class;

use line::Finding;
use memchr::memchr;

/// Bytes of a request line, at most.
pub const MAX_REQUEST_LINE: usize = 16 << 10;
/// Bytes of a header, at most.
pub const MAX_HEADER: usize = 16 << 10;
/// Bytes of a head, at most.
pub const MAX_HEAD: usize = 64 << 10;
/// Headers of a request, at most.
pub const MAX_HEADERS: usize = 100;

/// What is done with what isn't plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mitigation {
    /// Everything passes that can be framed anew without doubt.
    Monitor,
    /// Ambiguous requests pass, and their connection is closed after them.
    #[default]
    Defensive,
    /// Only what is as the standard says passes.
    Strictest,
}

impl Mitigation {
    /// Reads the attribute's value.
    pub fn parse(word: &str) -> Self {
        match word {
            "monitor" => Self::Monitor,
            "strictest" => Self::Strictest,
            _ => Self::Defensive,
        }
    }

    /// Whether a request of a class is blocked, and whether its connection carries no other one.
    pub fn judge(self, class: Class) -> (bool, bool) {
        let blocked = match self {
            Self::Monitor => false,
            Self::Defensive => class >= Class::Severe,
            Self::Strictest => class > Class::Compliant,
        };
        (blocked, blocked || (class >= Class::Ambiguous && self != Self::Monitor))
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// What a head was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Its class.
    pub class: Class,
    /// Why, by the name that access logs have for it.
    pub reason: Option<&'static str>,
    /// The error to answer with instead of passing it on.
    pub status: Option<u16>,
    /// The connection carries no other request after it.
    pub close: bool,
    /// Where its body ends.
    pub framing: Framing,
    /// It asks for another protocol.
    pub upgrade: bool,
    /// The head to go on with, where it isn't the one that came.
    pub rewritten: Option<Vec<u8>>,
}

impl Examined {
    /// A head that is answered with an error, whatever the mode.
    pub fn refused(status: u16, reason: &'static str) -> Self {
        Self {
            class: Class::Severe,
            reason: Some(reason),
            status: Some(status),
            close: true,
            framing: Framing::None,
            upgrade: false,
            rewritten: None,
        }
    }
}

/// Where the head in a buffer ends, if all of it is there. Nothing before `from` needs to be looked
/// at again.
pub fn end(buffer: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    while let Some(found) = memchr(b'\n', buffer.get(at..)?) {
        at += found + 1;
        match buffer.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Examines a head that is complete.
pub fn examine(head: &[u8], mode: Mitigation) -> Examined {
    let mut lines = Lines(head);
    let Some(first) = lines.next() else { return Examined::refused(400, "BadMethod") };
    if first.text.len() > MAX_REQUEST_LINE {
        return Examined::refused(414, "BadUri");
    }
    if head.len() > MAX_HEAD {
        return Examined::refused(400, "BadHeader");
    }
    let request = match line::request_line(first.text) {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    let mut facts = line::Facts::new(&request);
    if first.bare {
        facts.find(Finding::new(Class::Acceptable, "NonCompliantHeader"));
    }
    // The lines that aren't passed on, by their number.
    let (mut dropped, mut count) = (0_u128, 0);
    for line in lines {
        count += 1;
        if line.text.len() > MAX_HEADER || count > MAX_HEADERS {
            return Examined::refused(400, "BadHeader");
        }
        if line.bare {
            facts.find(Finding::new(Class::Acceptable, "NonCompliantHeader"));
        }
        if !facts.header(line.text) {
            dropped |= 1 << count;
        }
    }
    let kept = Lines(head).enumerate().filter(|(number, _)| dropped >> number & 1 == 0);
    let rewritten = facts.drops_lines().then(|| rebuild(head.len(), kept.map(|(_, line)| line)));
    conclude(facts, mode, rewritten)
}

fn conclude(facts: line::Facts<'_>, mode: Mitigation, rewritten: Option<Vec<u8>>) -> Examined {
    let (upgrade, outcome) = (facts.upgrade, facts.conclude());
    let Ok((worst, framing)) = outcome else {
        // Never passed on, whatever the mode: there is no one way to frame it.
        let (status, reason) = outcome.err().unwrap_or((400, "BadHeader"));
        return Examined::refused(status, reason);
    };
    let (class, reason) =
        worst.map_or((Class::Compliant, None), |worst| (worst.class, Some(worst.reason)));
    let (blocked, close) = mode.judge(class);
    Examined { class, reason, status: blocked.then_some(400), close, framing, upgrade, rewritten }
}

/// A head of these lines, the first of which is the request line.
fn rebuild<'a>(length: usize, lines: impl Iterator<Item = Line<'a>>) -> Vec<u8> {
    let mut head = Vec::with_capacity(length + MAX_HEADERS);
    for line in lines {
        head.extend_from_slice(line.text);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

const _: () = assert!(MAX_HEADERS < 128, "each line has a bit");

/// A line without its end.
struct Line<'a> {
    text: &'a [u8],
    /// It ended in a line feed alone.
    bare: bool,
}

/// The lines of a head up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        let line = match line.strip_suffix(b"\r") {
            Some(text) => Line { text, bare: false },
            None => Line { text: line, bare: true },
        };
        (!line.text.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests;
