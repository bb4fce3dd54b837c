//! How results reach people and scripts: data on stdout, everything else on stderr.

use crate::cli::{Color, Format};
use crate::log::LogWriter;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// A table whose cells also print as TSV; JSON is the raw value beside it.
#[derive(Debug)]
pub struct Listing {
    /// Column titles.
    pub columns: Vec<&'static str>,
    /// One row an object.
    pub rows: Vec<Vec<String>>,
    /// The same in the API's field names.
    pub json: Value,
}

impl Listing {
    /// Prints it to stdout. A closed pipe is no error: the reader has seen enough.
    pub fn print(&self, format: Format) {
        let text = match format {
            Format::Json => format!("{:#}\n", self.json),
            Format::Tsv => self.rows.iter().map(|row| row.join("\t") + "\n").collect(),
            Format::Table => table(&self.columns, self.rows.clone()),
        };
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// Rows as a table for people.
pub fn table(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns);
    table.add_rows(rows);
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Whether stderr gets colour.
pub fn colored(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
            std::io::stderr().is_terminal() && !set("NO_COLOR") && !dumb
        }
    }
}

/// A spinner on stderr while something takes its time; silent without a terminal.
pub fn spinner(message: &str) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new_spinner().with_message(message.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// Writes wharf's own log to stderr until what is returned goes: text on a terminal, JSON otherwise;
/// `WHARF_LOG` filters.
#[must_use]
pub fn init_log(color: Color) -> LogWriter {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WHARF_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let quiet = wharf_agent::QUIET_TARGETS.iter().map(|target| format!("{target}=info"));
    let filter = quiet
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, tracing_subscriber::EnvFilter::add_directive);
    let writer = LogWriter::start();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer.clone());
    let done = if std::io::stderr().is_terminal() {
        builder.with_ansi(colored(color)).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    // A second initialisation in one process (tests) is harmless.
    drop(done);
    writer
}
