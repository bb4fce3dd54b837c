//! The HTTP front of the server: who asks, what for, in which protocol, and the answer.

pub mod identity;
pub mod sigv4;
