//! wharf-gateway.
