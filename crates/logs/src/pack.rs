//! Packing a full segment: the many small blocks that puts have left become few large ones, each of
//! one stream, which compress well and take little of the index.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::block::{self, Block};
use crate::group::sync_directory;
use crate::read::StoredEvent;
use crate::state::{PACKING, State, segment_path};
use crate::{Error, Shared};

/// Bytes of events in a packed block: what a read unpacks to get at one of them.
const BLOCK_BYTES: usize = 128 << 10;

/// Rewrites the segment. The old one or the new one is there at any moment; blocks of streams that
/// were deleted are left out.
pub(crate) fn pack(shared: &Shared, directory: &Path, number: u64) -> Result<(), Error> {
    let path = segment_path(directory, number);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let names: BTreeMap<u64, Arc<str>> = {
        let state = shared.read();
        let group = state.groups.values().find(|group| group.directory == directory);
        let streams = group.into_iter().flat_map(|group| &group.streams);
        streams.map(|(name, stream)| (stream.id, name.clone())).collect()
    };
    let damaged = || {
        // It stays as it is: a copy would make the loss final.
        tracing::warn!(file = %path.display(), "a damaged segment of the log store is not packed");
        Ok(())
    };
    let scanned = block::scan(number, &bytes);
    if scanned.damaged > 0 || scanned.whole < bytes.len() as u64 {
        return damaged();
    }
    let mut events: BTreeMap<u64, Vec<StoredEvent>> = BTreeMap::new();
    for found in scanned.found {
        let Some(name) = names.get(&found.stream) else { continue };
        let Some(of_block) = block::events_of(&found.block, &bytes, name) else {
            return damaged();
        };
        events.entry(found.stream).or_default().extend(of_block);
    }
    let mut packed = Vec::new();
    let mut blocks: BTreeMap<u64, Vec<Block>> = BTreeMap::new();
    for (stream, mut events) in events {
        events.sort_by_key(StoredEvent::position);
        for chunk in chunks(&events) {
            let offset = packed.len() as u64;
            let Some((block, bytes)) = block::encode(stream, number, offset, chunk) else {
                continue;
            };
            packed.extend(bytes);
            blocks.entry(stream).or_default().push(block);
        }
    }
    if packed.len() >= bytes.len() {
        return Ok(());
    }
    let new = path.with_extension(PACKING);
    write(&new, &packed).map_err(Error::io("write", &new))?;
    {
        // File and index change together: a reader that finds the one without the other sees that
        // the index has changed, and begins anew.
        let mut state = shared.write();
        fs::rename(&new, &path).map_err(Error::io("replace", &path))?;
        state.replace_blocks(directory, number, packed.len() as u64, blocks);
    }
    sync_directory(directory).map_err(Error::io("sync", directory))
}

impl State {
    /// The blocks of a segment, by stream, in place of those that it had.
    fn replace_blocks(
        &mut self,
        directory: &Path,
        number: u64,
        bytes: u64,
        mut blocks: BTreeMap<u64, Vec<Block>>,
    ) {
        let group = self.groups.values_mut().find(|group| group.directory == directory);
        let Some(group) = group else { return };
        if let Some(segment) = group.segments.get_mut(&number) {
            segment.bytes = bytes;
        }
        for stream in group.streams.values_mut() {
            stream.blocks.retain(|block| block.segment != number);
            stream.blocks.extend(blocks.remove(&stream.id).unwrap_or_default());
        }
    }
}

/// Runs of events that make a block each.
fn chunks(events: &[StoredEvent]) -> Vec<&[StoredEvent]> {
    let mut chunks = Vec::new();
    let (mut begin, mut size) = (0, 0);
    for (index, event) in events.iter().enumerate() {
        if size > 0 && size + block::raw_size(event) > BLOCK_BYTES {
            chunks.push(&events[begin..index]);
            (begin, size) = (index, 0);
        }
        size += block::raw_size(event);
    }
    chunks.push(&events[begin..]);
    chunks
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}
