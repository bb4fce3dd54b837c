//! wharf-model.
