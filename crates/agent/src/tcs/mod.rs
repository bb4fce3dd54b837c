//! x
use crate::{api::EcsClient, discover::Discovery, tasks::Tasks};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::Notify;
pub(crate) struct Tcs {
    pub(crate) client: EcsClient,
    pub(crate) discovery: Discovery,
    pub(crate) tasks: Tasks,
    pub(crate) cluster: Arc<str>,
    pub(crate) container_instance_arn: Arc<str>,
    pub(crate) data_dir: PathBuf,
    pub(crate) heartbeat: Arc<Notify>,
}
impl Tcs {
    pub(crate) async fn run(&self) {
        std::future::pending::<()>().await
    }
}
