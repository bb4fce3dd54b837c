//! From lines of a log to events: a line each, or as many as a pattern makes one.

use regex::Regex;
use wharf_runtime::logs::{LogLine, Position};
use wharf_wire::logs::types::InputLogEvent;

/// The largest event that is made of several lines.
const MAX_EVENT_BYTES: usize = 262_144 - OVERHEAD;
/// What an event counts beside its message.
pub(super) const OVERHEAD: usize = 26;
/// How long an event may wait for its next line.
const MAX_WAIT_MS: i64 = 5_000;

/// An event, and where the log goes on behind it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub(super) event: InputLogEvent,
    pub(super) end: Position,
}

impl Made {
    pub(super) fn size(&self) -> usize {
        self.event.message.as_ref().map_or(0, String::len) + OVERHEAD
    }

    pub(super) fn at_ms(&self) -> i64 {
        self.event.timestamp.unwrap_or_default()
    }
}

/// Makes events of lines.
pub(super) struct Assembler {
    begins: Option<Regex>,
    open: Option<Made>,
}

/// The time at which a line was read from its container.
fn time_ms(line: &LogLine) -> i64 {
    line.time.parse::<jiff::Timestamp>().map_or(0, |time| time.as_millisecond())
}

impl Assembler {
    pub(super) fn new(begins: Option<Regex>) -> Self {
        Self { begins, open: None }
    }

    /// Takes a line that ends at `end`; the event that is complete by it. Empty lines are no events,
    /// which the API has no place for.
    pub(super) fn push(&mut self, line: &LogLine, end: Position) -> Option<Made> {
        let text = line.log.strip_suffix('\n').unwrap_or(&line.log);
        let make = |message: &str| Made {
            event: InputLogEvent {
                timestamp: Some(time_ms(line)),
                message: Some(message.to_owned()),
            },
            end,
        };
        let Some(begins) = &self.begins else { return (!text.is_empty()).then(|| make(text)) };
        let begins = begins.is_match(text);
        match &mut self.open {
            Some(open) if !begins && open.size() + text.len() < MAX_EVENT_BYTES => {
                if let Some(message) = &mut open.event.message {
                    message.push('\n');
                    message.push_str(text);
                }
                open.end = end;
                None
            }
            open => open.replace(make(text)).and_then(whole),
        }
    }

    /// The event that waits for more lines, if there will be none or it has waited long enough.
    pub(super) fn flush(&mut self, now_ms: i64, is_last: bool) -> Option<Made> {
        let open = self.open.as_ref()?;
        let waited = now_ms.saturating_sub(open.at_ms()) >= MAX_WAIT_MS;
        if is_last || waited { self.open.take().and_then(whole) } else { None }
    }
}

fn whole(made: Made) -> Option<Made> {
    made.event.message.as_ref().is_some_and(|message| !message.is_empty()).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(assembler: &mut Assembler, texts: &[&str]) -> Vec<String> {
        let mut events = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let line = LogLine {
                log: format!("{text}\n"),
                stream: "stdout".to_owned(),
                time: "2026-01-01T00:00:01.500000000Z".to_owned(),
            };
            events.extend(assembler.push(&line, Position { inode: 1, offset: number as u64 }));
        }
        events.extend(assembler.flush(0, true));
        events.into_iter().map(|made| made.event.message.unwrap()).collect()
    }

    #[test]
    fn a_line_is_an_event_unless_a_pattern_says_otherwise() {
        let mut plain = Assembler::new(None);
        assert_eq!(lines(&mut plain, &["a", "", "b"]), ["a", "b"]);
        let mut joined = Assembler::new(Some(Regex::new("^INFO|^ERROR").unwrap()));
        let found = lines(&mut joined, &["first", "ERROR x", "  at y", "", "  at z", "INFO ok"]);
        assert_eq!(found, ["first", "ERROR x\n  at y\n\n  at z", "INFO ok"]);
    }

    #[test]
    fn an_open_event_waits_only_so_long() {
        let mut joined = Assembler::new(Some(Regex::new("^INFO").unwrap()));
        let time = "2026-01-01T00:00:01.500000000Z";
        let line =
            LogLine { log: "INFO a\n".into(), stream: "stdout".into(), time: time.to_owned() };
        let at = Position { inode: 1, offset: 7 };
        assert_eq!(joined.push(&line, at), None);
        let began = time_ms(&line);
        assert_eq!(joined.flush(began + 4_999, false), None);
        let made = joined.flush(began + 5_000, false).unwrap();
        assert_eq!((made.event.message.as_deref(), made.end), (Some("INFO a"), at));
    }
}
