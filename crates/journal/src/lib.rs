//! wharf-journal.
