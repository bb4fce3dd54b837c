//! The ECS agent: carries out on this host what the control plane wants, and tells it what is.
//!
//! It speaks the protocol of Amazon's own agent (ACS, TCS, the ECS API's registration and state
//! change calls), drives `wharf-image` and `wharf-runtime`, and serves the task endpoints. It
//! never decides where a task runs and never talks to the journal. Containers outlive it.
//!
//! - [`task`]: a task as it is carried out, parsed from the wire.
//! - [`engine`]: desired against known, pure.

pub mod engine;
pub mod task;
