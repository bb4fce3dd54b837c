//! wharf-image.
