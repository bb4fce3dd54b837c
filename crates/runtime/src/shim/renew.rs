//! Making a container that has ended startable again, as `docker start` does: what it wrote stays,
//! and so do its network namespace, its addresses, its ports and its log. Only the processes, and
//! with them everything that was mounted for them, are new.

use crate::oci;
use crate::protocol::Failure;
use crate::state::ContainerStatus;

use super::Shim;
use super::requests::{Asked, fork_create};

impl Shim {
    /// From here until its create has succeeded it is like a container that is being made: nobody
    /// sees it, and if it can't be made it is taken away.
    pub(super) fn begin_renew(&mut self, asked: Asked, name: &str) -> Result<(), Failure> {
        if self.shutdown.is_some() {
            return Err(Failure::Other("the sandbox is being removed".to_owned()));
        }
        let index = self.find(name)?;
        let container = &self.containers[index];
        let ended = matches!(container.info.status, ContainerStatus::Exited(_));
        if !ended || container.delete_asked.is_some() {
            let why = format!("container {name} can't be renewed: {:?}", container.info.status);
            return Err(Failure::Other(why));
        }
        let bundle = self.bundle(container);
        let cgroups = self.cgroups.clone();
        // The root file system is still mounted, and the configuration beside it is still true.
        let prepare = move |bundle: &oci::Bundle| {
            oci::forget(bundle).map_err(|error| error.to_string())?;
            // A new one counts its OOM kills from zero.
            cgroups.remove(&bundle.cgroup).map_err(|error| error.to_string())
        };
        let container = &mut self.containers[index];
        let job = fork_create(asked, container, bundle, prepare)
            .map_err(|error| Failure::Other(format!("fork: {error}")))?;
        container.info.status = ContainerStatus::Created { pid: 0 };
        container.created = false;
        self.jobs.push(job);
        Ok(())
    }
}
