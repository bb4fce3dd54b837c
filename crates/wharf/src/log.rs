//! Where the log's lines gather on their way to stderr.
//!
//! A line a request and a system call a line would cost more than many a request: lines wait up to
//! [`DELAY`] for each other. What warns goes out at once, with all that was before it.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait.
const DELAY: Duration = Duration::from_millis(50);
/// Bytes that may wait; whoever adds more writes them out.
const MAX_WAITING: usize = 64 * 1024;

/// Gathers lines and writes them to stderr. The last clone writes out what is left.
#[derive(Clone)]
pub struct LogWriter(Arc<Lines>);

#[derive(Default)]
struct Lines {
    waiting: Mutex<Vec<u8>>,
    /// The first line after a pause has come.
    filled: Condvar,
}

impl Lines {
    fn waiting(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody could be told of a log that can't be written.
fn write_out(lines: &mut Vec<u8>) {
    let _ = std::io::stderr().lock().write_all(lines);
    lines.clear();
}

impl LogWriter {
    /// A writer with its thread, which ends with the process. Without a thread every line goes out
    /// at once.
    pub fn start() -> Self {
        let lines = Arc::new(Lines::default());
        let weak = Arc::downgrade(&lines);
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            while let Some(lines) = weak.upgrade() {
                let waiting = lines.waiting();
                let is_empty = |waiting: &mut Vec<u8>| waiting.is_empty();
                let waited = lines.filled.wait_while(waiting, is_empty);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                std::thread::sleep(DELAY);
                write_out(&mut lines.waiting());
            }
        });
        if let Err(error) = thread {
            eprintln!("wharf: no thread for the log ({error}): lines go out in blocks");
        }
        Self(lines)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        write_out(&mut self.0.waiting());
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: &self.0, is_urgent: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { lines: &self.0, is_urgent: *meta.level() <= Level::WARN }
    }
}

/// One line on its way.
pub struct Line<'a> {
    lines: &'a Lines,
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut waiting = self.lines.waiting();
        let was_empty = waiting.is_empty();
        waiting.extend_from_slice(bytes);
        if self.is_urgent || waiting.len() > MAX_WAITING {
            write_out(&mut waiting);
        } else if was_empty {
            self.lines.filled.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
