//! A container from creation to removal, under every OCI runtime.

mod harness;

use harness::{Host, log_text, oci_runtimes};
use wharf_runtime::{ContainerStatus, NetworkMode};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_tells_its_exit_code() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let mut events = host.runtime.events();
        let spec = host.shell("app", "echo hello; echo oops >&2; exit 3");
        let made = host.runtime.create_container(&task, spec).await.unwrap();
        assert!(matches!(made.status, ContainerStatus::Created { pid } if pid > 1), "{oci:?}");
        host.runtime.start_container(&task, "app").await.unwrap();
        let exit = host.runtime.wait_container(&task, "app").await.unwrap();
        assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, None, false));
        let text = log_text(&host, &task, "app");
        assert!(text.contains("hello\n") && text.contains("oops\n"), "{oci:?}: {text}");
        assert!(events.try_recv().is_ok());
        host.runtime.delete_container(&task, "app").await.unwrap();
        host.runtime.remove_sandbox(&task).await.unwrap();
        host.end().await;
    }
}
