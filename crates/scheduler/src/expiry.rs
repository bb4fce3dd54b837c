//! Forgetting: what ECS describes for a while after its end and then no more.
