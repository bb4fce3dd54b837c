//! Runs a check over the committed corpus of a target: every input that was ever interesting.

use std::path::Path;

/// Checks each file of a target's corpus, and each cut off at every `step` bytes.
pub fn replay(target: &str, step: usize, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).expect("the corpus") {
        let data = std::fs::read(entry.expect("an entry").path()).expect("an input");
        for end in (0..data.len()).step_by(step) {
            check(&data[..end]);
        }
        check(&data);
        count += 1;
    }
    assert!(count > 3, "{}: only {count} inputs", corpus.display());
}
