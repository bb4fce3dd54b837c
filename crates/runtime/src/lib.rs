//! wharf-runtime.
