//! The front's counters, in Prometheus' text format at `/metrics`.

mod load_balancers;

use crate::context::Counted;
use load_balancers::LoadBalancers;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Labels of a request. Operation names come from the model, never from the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    operation: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// The front's counters. Other components add theirs by [`Metrics::register`].
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    duration: Family<OperationLabels, Histogram, fn() -> Histogram>,
    conflicts: Family<OperationLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    connections: Gauge,
    blob_bytes: Family<DirectionLabels, Counter>,
    repositories: Gauge,
    images: Gauge,
}

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("wharf");
        let requests = Family::default();
        registry.register("requests", "API requests by operation and status", requests.clone());
        let duration =
            Family::<OperationLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 14))
            });
        registry.register_with_unit(
            "request_duration",
            "Time from the request's last byte to the answer",
            Unit::Seconds,
            duration.clone(),
        );
        let conflicts = Family::default();
        registry.register(
            "transaction_conflicts",
            "Decisions made anew because a record had changed",
            conflicts.clone(),
        );
        let refused = Family::default();
        registry.register("requests_refused", "Requests refused at the gate", refused.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let blob_bytes = Family::default();
        registry.register_with_unit(
            "registry_blob",
            "Blobs that clients of the image registry sent (in) and were sent (out)",
            Unit::Bytes,
            blob_bytes.clone(),
        );
        let repositories = Gauge::default();
        registry.register(
            "registry_repositories",
            "Repositories of the image registry",
            repositories.clone(),
        );
        let images = Gauge::default();
        registry.register("registry_images", "Images in its repositories", images.clone());
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The running version", build);
        let registry = Arc::new(Mutex::new(registry));
        Self {
            registry,
            requests,
            duration,
            conflicts,
            refused,
            connections,
            blob_bytes,
            repositories,
            images,
        }
    }

    /// Lets another component register its metrics; the prefix is `wharf_`.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts an answered request.
    pub(crate) fn request(
        &self,
        service: &'static str,
        operation: &'static str,
        status: u16,
        took: Duration,
    ) {
        self.requests.get_or_create(&RequestLabels { service, operation, status }).inc();
        self.duration.get_or_create(&OperationLabels { operation }).observe(took.as_secs_f64());
    }

    /// Counts a decision that had to be made anew.
    pub(crate) fn conflict(&self, operation: &'static str) {
        self.conflicts.get_or_create(&OperationLabels { operation }).inc();
    }

    /// Counts a request refused before its operation.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts bytes of blobs that clients send.
    pub(crate) fn blob_bytes_in(&self) -> Counter {
        self.blob_bytes.get_or_create(&DirectionLabels { direction: "in" }).clone()
    }

    /// Counts bytes of blobs that clients are sent.
    pub(crate) fn blob_bytes_out(&self) -> Counter {
        self.blob_bytes.get_or_create(&DirectionLabels { direction: "out" }).clone()
    }

    /// Notes what the registry holds now.
    pub(crate) fn registry_holds(&self, repositories: usize, images: usize) {
        self.repositories.set(i64::try_from(repositories).unwrap_or(i64::MAX));
        self.images.set(i64::try_from(images).unwrap_or(i64::MAX));
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// All metrics in Prometheus' text format, with what balancers of a zone counted.
    pub fn text(&self, counted: Vec<Counted>, zone: String) -> String {
        let mut text = String::new();
        let mut balancers = Registry::with_prefix("wharf_elb");
        balancers.register_collector(Box::new(LoadBalancers { counted, zone }));
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String doesn't fail.
        let _ = encode_registry(&mut text, &registry)
            .and_then(|()| encode_registry(&mut text, &balancers))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
