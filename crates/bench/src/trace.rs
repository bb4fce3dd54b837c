//! Checks by tracing that a sync precedes each acknowledgement.
//!
//! strace follows the server while one client writes; then each response must have, between its
//! request and itself, a write to a file and a sync of that file that began after the write had
//! ended and that came back without an error before the response was sent. A reading operation is the
//! control: it must be found unsynced, or the check would find anything good.

use crate::Result;
use crate::processes::Process;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The calls that are followed: requests and responses, file writes, syncs.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,\
                     pwritev,pwritev2,fdatasync,fsync,sync_file_range";

/// A running strace on one process.
#[derive(Debug)]
pub struct Trace {
    strace: Process,
    output: std::path::PathBuf,
}

/// What a trace showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Responses.
    pub acknowledged: usize,
    /// Of these, those with a write and then a sync between request and response.
    pub synced: usize,
    /// Bytes written to synced files.
    pub written: usize,
}

impl Trace {
    /// Attaches to `pid`, with all its threads.
    ///
    /// # Errors
    /// If strace isn't installed or doesn't attach.
    pub fn attach(pid: u32, directory: &Path) -> Result<Self> {
        let output = directory.join("strace.out");
        let log = directory.join("strace.log");
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "24", "-e", CALLS, "-o"]).arg(&output);
        command.args(["-p", &pid.to_string()]);
        let strace = Process::start(&mut command, &log)?;
        for _ in 0..200 {
            if std::fs::read_to_string(&log).unwrap_or_default().contains("attached") {
                return Ok(Self { strace, output });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        Err(format!("strace didn't attach: {text}").into())
    }

    /// Detaches and judges.
    ///
    /// # Errors
    /// If the trace can't be read.
    pub fn judge(self) -> Result<Verdict> {
        drop(self.strace);
        Ok(judge(&std::fs::read_to_string(&self.output)?))
    }
}

/// A call of the trace, once begun and once ended, in the order in which that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    begins: bool,
    ends: bool,
    name: String,
    fd: i32,
    text: String,
    result: i64,
}

/// Parses `PID name(fd, … = result`, `… <unfinished ...>` and `<... name resumed> … = result`.
fn step(line: &str, open: &mut BTreeMap<String, (String, i32)>) -> Option<Step> {
    let (thread, rest) = line.trim().split_once(' ')?;
    let rest = rest.trim_start();
    let result = |text: &str| {
        let (_, value) = text.rsplit_once(" = ")?;
        value.split(' ').next()?.parse::<i64>().ok()
    };
    if let Some(resumed) = rest.strip_prefix("<... ") {
        let (name, fd) = open.remove(thread)?;
        let text = resumed.to_owned();
        let result = result(resumed).unwrap_or(-1);
        return Some(Step { begins: false, ends: true, name, fd, text, result });
    }
    let (name, arguments) = rest.split_once('(')?;
    let digits: String = arguments.chars().take_while(char::is_ascii_digit).collect();
    let fd = digits.parse().ok()?;
    let (name, text) = (name.to_owned(), arguments.to_owned());
    if rest.contains("<unfinished ...>") {
        open.insert(thread.to_owned(), (name.clone(), fd));
        return Some(Step { begins: true, ends: false, name, fd, text, result: 0 });
    }
    let result = result(rest).unwrap_or(-1);
    Some(Step { begins: true, ends: true, name, fd, text, result })
}

/// Judges a trace of a server that had one request at a time.
fn judge(trace: &str) -> Verdict {
    let (mut verdict, mut open) = (Verdict::default(), BTreeMap::new());
    // Since the request: files written, syncs of them begun, whether one ended.
    let (mut written, mut syncing) = (BTreeMap::<i32, usize>::new(), BTreeMap::<i32, bool>::new());
    let (mut asked, mut synced) = (false, false);
    for line in trace.lines() {
        let Some(step) = step(line, &mut open) else { continue };
        match step.name.as_str() {
            "read" | "readv" | "recvfrom" | "recvmsg" if step.text.contains("\"POST / HTTP") => {
                written.clear();
                syncing.clear();
                (asked, synced) = (true, false);
            }
            "fdatasync" | "fsync" => {
                if step.begins && written.contains_key(&step.fd) {
                    syncing.insert(step.fd, true);
                }
                if step.ends && step.result == 0 && syncing.remove(&step.fd).is_some() {
                    verdict.written += written.remove(&step.fd).unwrap_or_default();
                    synced = true;
                }
            }
            "write" | "writev" | "sendto" | "sendmsg"
                if asked && step.begins && step.text.contains("\"HTTP/1.1 200") =>
            {
                asked = false;
                verdict.acknowledged += 1;
                verdict.synced += usize::from(synced);
            }
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" if step.ends => {
                let bytes = usize::try_from(step.result).unwrap_or_default();
                *written.entry(step.fd).or_default() += bytes;
            }
            _ => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(middle: &str) -> (usize, usize) {
        let text = format!(
            "7  recvfrom(9, \"POST / HTTP/1.1\\r\\nhost: 1\"..., 8192, 0, NULL, NULL) = 400\n\
             {middle}7  sendto(9, \"HTTP/1.1 200 OK\\r\\ncontent\"..., 90, 0, NULL, 0) = 90\n"
        );
        let verdict = judge(&text);
        (verdict.acknowledged, verdict.synced)
    }

    #[test]
    fn only_a_write_and_then_a_whole_sync_count() {
        let write = "8  pwrite64(5, \"xx\"..., 100, 4096) = 100\n";
        let begun = "8  fdatasync(5 <unfinished ...>\n";
        let ended = "8  <... fdatasync resumed>) = 0\n";
        assert_eq!(check(""), (1, 0));
        assert_eq!(check(write), (1, 0));
        assert_eq!(check(&format!("{write}{begun}")), (1, 0));
        assert_eq!(check(&format!("{write}{begun}{ended}")), (1, 1));
        assert_eq!(check(&format!("{begun}{write}{ended}")), (1, 0));
        assert_eq!(check(&format!("{write}8  fdatasync(6) = 0\n")), (1, 0));
        assert_eq!(check(&format!("{write}8  fdatasync(5) = -1 EIO (error)\n")), (1, 0));
        assert_eq!(check(&format!("{write}8  fdatasync(5)                       = 0\n")), (1, 1));
    }
}
