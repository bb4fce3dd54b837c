//! Reads a segment's groups, and tells what a crash tore from what was damaged later.

use super::format::{GROUP_HEADER, GroupHeader, SECTOR, Writes, decode_group};

/// A walk over the groups of one segment.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    /// Where the next group starts, or would.
    pub(super) position: usize,
    seed: u32,
    /// Checksum of the group before `position`.
    pub(super) chain: u32,
    /// The revision that comes next.
    pub(super) next_revision: u64,
}

/// What stands at the current position.
#[derive(Debug)]
pub(super) enum Step {
    /// A group: its first revision and its transactions.
    Group { first_revision: u64, transactions: Vec<Writes> },
    /// Nothing more was ever written.
    End,
    /// A group that a crash kept from being written wholly; it was never acknowledged.
    Torn { detail: &'static str },
    /// Something that was synced once, and is not what it was.
    Damaged { detail: String },
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], start: usize, seed: u32, chain: u32, next: u64) -> Self {
        Self { bytes, position: start.min(bytes.len()), seed, chain, next_revision: next }
    }

    /// Takes the group at the current position, or says what stands there instead.
    pub(super) fn step(&mut self) -> Step {
        let rest = &self.bytes[self.position..];
        if is_zero(rest) {
            return Step::End;
        }
        let Some(header) = GroupHeader::decode(self.seed, rest) else {
            return self.judge_header(rest);
        };
        if header.chain != self.chain || header.first_revision != self.next_revision {
            let detail = format!(
                "a group of revision {} stands where revision {} was expected",
                header.first_revision, self.next_revision
            );
            return Step::Damaged { detail };
        }
        let end = GROUP_HEADER + header.len as usize;
        let payload = &rest[GROUP_HEADER..end.min(rest.len())];
        if !header.matches(self.seed, payload) {
            return self.judge_payload(&header, payload);
        }
        let Some(transactions) = decode_group(header.count, payload) else {
            return Step::Damaged {
                detail: "a group cannot be read although its sum is right".into(),
            };
        };
        self.position += end;
        self.chain = header.crc;
        self.next_revision += u64::from(header.count);
        Step::Group { first_revision: header.first_revision, transactions }
    }

    /// Moves to the next group behind damage, accepting its chain; false if there is none.
    pub(super) fn resynchronize(&mut self) -> bool {
        let Some((position, header)) = self.find_group(self.position + GROUP_HEADER) else {
            return false;
        };
        self.position = position;
        self.chain = header.chain;
        self.next_revision = header.first_revision;
        true
    }

    /// The next well-formed group header at or after a position.
    fn find_group(&self, from: usize) -> Option<(usize, GroupHeader)> {
        (from..self.bytes.len()).step_by(GROUP_HEADER).find_map(|position| {
            let header = GroupHeader::decode(self.seed, &self.bytes[position..])?;
            (header.first_revision >= self.next_revision).then_some((position, header))
        })
    }

    fn judge_header(&self, rest: &[u8]) -> Step {
        if let Some(step) = self.judge_by_successor() {
            return step;
        }
        let header = &rest[..GROUP_HEADER.min(rest.len())];
        if header.len() < GROUP_HEADER || is_zero(header) {
            return Step::Torn { detail: "a group's header is missing" };
        }
        // Sectors are written wholly or not at all, but a kill may stop a write at any byte.
        if header[GROUP_HEADER - 1] == 0 && is_zero(&rest[GROUP_HEADER..]) {
            return Step::Torn { detail: "a group's header is cut short" };
        }
        Step::Damaged { detail: "a group's header is not what was written".into() }
    }

    fn judge_payload(&self, header: &GroupHeader, payload: &[u8]) -> Step {
        if let Some(step) = self.judge_by_successor() {
            return step;
        }
        if payload.len() < header.len as usize || payload.last() == Some(&0) {
            return Step::Torn { detail: "a group is cut short" };
        }
        let start = self.position + GROUP_HEADER;
        let first_whole = start.next_multiple_of(SECTOR) - start;
        let lost =
            payload.get(first_whole..).is_some_and(|sectors| sectors.chunks(SECTOR).any(is_zero));
        if lost {
            return Step::Torn { detail: "a group lacks some of its sectors" };
        }
        let detail = format!("the checksum of revision {}'s group is wrong", header.first_revision);
        Step::Damaged { detail }
    }

    /// A later group is written only after this one was synced: then nothing here can be torn.
    fn judge_by_successor(&self) -> Option<Step> {
        let (position, header) = self.find_group(self.position + GROUP_HEADER)?;
        let detail = format!(
            "revision {} is unreadable, but revision {} stands behind it at byte {position}",
            self.next_revision, header.first_revision
        );
        Some(Step::Damaged { detail })
    }
}

/// Whether all bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, tail) = bytes.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && tail.iter().all(|b| *b == 0)
}
