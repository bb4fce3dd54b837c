//! x
use crate::{options::AgentOptions, tasks::Tasks};
use tokio_util::sync::CancellationToken;
/// x
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// io
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
pub(crate) struct Endpoints;
impl Endpoints {
    pub(crate) async fn start(
        _: &AgentOptions,
        _: Tasks,
        _: CancellationToken,
    ) -> Result<Self, Error> {
        Ok(Self)
    }
    pub(crate) fn port(&self) -> u16 {
        1
    }
    pub(crate) fn registered(&self, _: &str, _: Option<&str>) {}
}
