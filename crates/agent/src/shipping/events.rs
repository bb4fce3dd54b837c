//! From lines of a log to events: a line each, or as many as a pattern makes one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::Regex;
use wharf_runtime::logs::{LogLine, Position};

/// The largest event that is made of several lines.
const MAX_EVENT_BYTES: usize = 262_144 - OVERHEAD;
/// What an event counts beside its message.
const OVERHEAD: usize = 26;
/// How long an event may wait for its next line.
const MAX_WAIT_MS: i64 = 5_000;
/// From this length on, a line without an end is a piece of a longer one.
const PIECE_BYTES: usize = 16 << 10;

/// Something that a container said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// When it was read from the container.
    pub(super) at: Timestamp,
    /// Without the end of its last line.
    pub(super) message: String,
    /// Whether on its standard error.
    pub(super) is_error: bool,
    /// Whether the line goes on in the next event.
    pub(super) is_piece: bool,
    /// Labels and variables that go with it.
    pub(super) attributes: BTreeMap<String, String>,
}

/// An event, and where the log goes on behind it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub(super) event: Event,
    pub(super) end: Position,
}

impl Made {
    pub(super) fn size(&self) -> usize {
        self.event.message.len() + OVERHEAD
    }

    pub(super) fn at_ms(&self) -> i64 {
        self.event.at.as_millisecond()
    }
}

/// Makes events of lines.
pub(super) struct Assembler {
    begins: Option<Regex>,
    keeps_empty: bool,
    open: Option<Made>,
}

fn event(line: &LogLine) -> Event {
    let text = line.log.strip_suffix('\n');
    Event {
        at: line.time.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        message: text.unwrap_or(&line.log).to_owned(),
        is_error: line.stream == "stderr",
        is_piece: text.is_none() && line.log.len() >= PIECE_BYTES,
        attributes: line.attrs.clone().unwrap_or_default(),
    }
}

impl Assembler {
    /// With a pattern for the first line of an event; empty events may be none.
    pub(super) fn new(begins: Option<Regex>, keeps_empty: bool) -> Self {
        Self { begins, keeps_empty, open: None }
    }

    /// Takes a line that ends at `end`; the event that is complete by it.
    pub(super) fn push(&mut self, line: &LogLine, end: Position) -> Option<Made> {
        let made = Made { event: event(line), end };
        let text = made.event.message.as_str();
        let Some(begins) = &self.begins else { return self.whole(made) };
        let begins = begins.is_match(text);
        match &mut self.open {
            Some(open) if !begins && open.size() + text.len() < MAX_EVENT_BYTES => {
                open.event.message.push('\n');
                open.event.message.push_str(text);
                open.end = end;
                None
            }
            open => {
                let before = open.replace(made);
                before.and_then(|made| self.whole(made))
            }
        }
    }

    /// The event that waits for more lines, if there will be none or it has waited long enough.
    pub(super) fn flush(&mut self, now_ms: i64, is_last: bool) -> Option<Made> {
        let open = self.open.as_ref()?;
        let waited = now_ms.saturating_sub(open.at_ms()) >= MAX_WAIT_MS;
        if !is_last && !waited {
            return None;
        }
        self.open.take().and_then(|made| self.whole(made))
    }

    fn whole(&self, made: Made) -> Option<Made> {
        (self.keeps_empty || !made.event.message.is_empty()).then_some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            log: text.to_owned(),
            stream: "stdout".to_owned(),
            time: "2026-01-01T00:00:01.500000000Z".to_owned(),
            attrs: None,
        }
    }

    fn lines(assembler: &mut Assembler, texts: &[&str]) -> Vec<String> {
        let mut events = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let at = Position { inode: 1, offset: number as u64 };
            events.extend(assembler.push(&line(&format!("{text}\n")), at));
        }
        events.extend(assembler.flush(0, true));
        events.into_iter().map(|made| made.event.message).collect()
    }

    #[test]
    fn a_line_is_an_event_unless_a_pattern_says_otherwise() {
        let mut plain = Assembler::new(None, false);
        assert_eq!(lines(&mut plain, &["a", "", "b"]), ["a", "b"]);
        let mut all = Assembler::new(None, true);
        assert_eq!(lines(&mut all, &["a", "", "b"]), ["a", "", "b"]);
        let mut joined = Assembler::new(Some(Regex::new("^INFO|^ERROR").unwrap()), false);
        let found = lines(&mut joined, &["first", "ERROR x", "  at y", "", "  at z", "INFO ok"]);
        assert_eq!(found, ["first", "ERROR x\n  at y\n\n  at z", "INFO ok"]);
    }

    #[test]
    fn pieces_of_a_long_line_are_told_from_an_unfinished_one() {
        let is_piece = |text: &str| event(&line(text)).is_piece;
        assert!(is_piece(&"x".repeat(16 << 10)));
        assert!(!is_piece("the end"));
        assert!(!is_piece(&format!("{}\n", "x".repeat(16 << 10))));
    }

    #[test]
    fn an_open_event_waits_only_so_long() {
        let mut joined = Assembler::new(Some(Regex::new("^INFO").unwrap()), false);
        let at = Position { inode: 1, offset: 7 };
        assert_eq!(joined.push(&line("INFO a\n"), at), None);
        let began = event(&line("")).at.as_millisecond();
        assert_eq!(joined.flush(began + 4_999, false), None);
        let made = joined.flush(began + 5_000, false).unwrap();
        assert_eq!((made.event.message.as_str(), made.end), ("INFO a", at));
    }
}
