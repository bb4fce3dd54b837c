//! wharf-control.
