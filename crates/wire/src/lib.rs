//! wharf-wire.
