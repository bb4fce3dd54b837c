//! wharf-agent.
