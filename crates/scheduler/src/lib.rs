//! wharf-scheduler.
