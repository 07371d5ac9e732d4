//! A lease as a guard: kept alive while it is held, given back when dropped.

use std::sync::Arc;
use std::time::Duration;

use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, Lease, LeaseKey, ReleaseLeaseRequest, RenewLeaseRequest};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::client::ServiceChannel;
use crate::clock::{SharedClock, Time, duration_from_proto, duration_to_proto, new_id};
use crate::identity::Acting;

/// How long before its deadline a lease is treated as lost: covers the clocks'
/// drift and the way of a request.
const MARGIN: Duration = Duration::from_millis(500);

/// The lease is no longer ours; the work must stop.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

/// Acquires leases for a service.
#[derive(Debug, Clone)]
pub struct Leases {
    client: LeaseServiceClient<ServiceChannel>,
    clock: SharedClock,
}

impl Leases {
    /// Over a channel to the integration service.
    pub fn new(channel: ServiceChannel, clock: SharedClock) -> Self {
        Self { client: LeaseServiceClient::new(channel), clock }
    }

    /// Takes an account. `request_id` is filled in. Without a ttl it is the
    /// integration service's, which the lease tells.
    ///
    /// # Errors
    /// As `AcquireLease`.
    pub async fn acquire(&self, acting: Acting, mut request: AcquireLeaseRequest) -> Result<LeaseGuard, Status> {
        request.request_id = new_id(&*self.clock).to_string();
        let asked = request.ttl.as_ref().map(duration_from_proto);
        let wait = request.wait.as_ref().map_or(Duration::ZERO, duration_from_proto);
        let mut call = acting.request(request);
        call.set_timeout(wait + Duration::from_secs(10));
        let mut client = self.client.clone();
        let mut begin = self.clock.monotonic();
        let mut lease = client.acquire_lease(call).await?.into_inner().lease.unwrap_or_default();
        let ttl = asked.unwrap_or_else(|| lasts(&lease));
        // The deadline runs from before the request that set it. After a wait
        // nobody here knows when the lease began: renew it, to know.
        if self.clock.monotonic().saturating_sub(begin) > ttl / 3 {
            begin = self.clock.monotonic();
            let key = LeaseKey { lease_id: lease.id.clone(), fencing_token: lease.fencing_token };
            let request = RenewLeaseRequest {
                request_id: new_id(&*self.clock).to_string(),
                key: Some(key),
                ttl: Some(duration_to_proto(ttl)),
            };
            lease = client.renew_lease(acting.request(request)).await?.into_inner().lease.unwrap_or(lease);
        }
        let deadline = begin + ttl;
        Ok(LeaseGuard::start(self.clone(), acting, lease, ttl, deadline))
    }
}

/// For how long a lease was given.
fn lasts(lease: &Lease) -> Duration {
    let (Some(begin), Some(end)) = (&lease.acquire_time, &lease.expire_time) else { return Duration::ZERO };
    Time::from_proto(end).since(Time::from_proto(begin))
}

/// An account that is held. Dropping it gives the account back.
#[derive(Debug)]
pub struct LeaseGuard {
    lease: Lease,
    lost: CancellationToken,
    done: CancellationToken,
    released: Option<Arc<Release>>,
}

#[derive(Debug)]
struct Release {
    leases: Leases,
    acting: Acting,
    key: LeaseKey,
}

impl LeaseGuard {
    fn start(leases: Leases, acting: Acting, lease: Lease, ttl: Duration, deadline: Duration) -> Self {
        let key = LeaseKey { lease_id: lease.id.clone(), fencing_token: lease.fencing_token };
        let (lost, done) = (CancellationToken::new(), CancellationToken::new());
        let release = Arc::new(Release { leases: leases.clone(), acting, key: key.clone() });
        tokio::spawn(keep(leases, acting, key, ttl, deadline, lost.clone(), done.clone()));
        Self { lease, lost, done, released: Some(release) }
    }

    /// The lease as it was acquired.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The account held.
    pub fn account_id(&self) -> Uuid {
        Uuid::parse_str(&self.lease.account_id).unwrap_or_default()
    }

    /// What to show with each call.
    pub fn key(&self) -> LeaseKey {
        LeaseKey { lease_id: self.lease.id.clone(), fencing_token: self.lease.fencing_token }
    }

    /// Ends when the lease is lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Runs work that must stop when the lease is lost.
    ///
    /// # Errors
    /// When it was lost first.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, LeaseLost> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(LeaseLost),
            output = work => Ok(output),
        }
    }

    /// Gives the account back now.
    ///
    /// # Errors
    /// As `ReleaseLease`. The lease then ends by itself at its deadline.
    pub async fn release(mut self) -> Result<(), Status> {
        self.done.cancel();
        match self.released.take() {
            Some(release) => release.run().await,
            None => Ok(()),
        }
    }
}

impl Release {
    async fn run(&self) -> Result<(), Status> {
        let request =
            ReleaseLeaseRequest { request_id: new_id(&*self.leases.clock).to_string(), key: Some(self.key.clone()) };
        let mut client = self.leases.client.clone();
        match client.release_lease(self.acting.request(request)).await {
            Ok(_) => Ok(()),
            // It ended before: nothing is held.
            Err(status) if tgmesh_proto::status::reason(&status) == Some(ErrorReason::StaleLease) => Ok(()),
            Err(status) => Err(status),
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.done.cancel();
        if let Some(release) = self.released.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(status) = release.run().await {
                    tracing::warn!(lease_id = release.key.lease_id, code = ?status.code(), "lease could not be released");
                }
            });
        }
    }
}

/// Renews every third of the ttl until `done`; declares the lease lost when a
/// renewal is refused, or the deadline comes near without one.
async fn keep(
    leases: Leases,
    acting: Acting,
    key: LeaseKey,
    ttl: Duration,
    mut deadline: Duration,
    lost: CancellationToken,
    done: CancellationToken,
) {
    let clock = leases.clock.clone();
    loop {
        let left = deadline.saturating_sub(MARGIN).saturating_sub(clock.monotonic());
        if left.is_zero() {
            tracing::warn!(lease_id = key.lease_id, "lease lost: its deadline came without renewal");
            lost.cancel();
            return;
        }
        tokio::select! {
            () = done.cancelled() => return,
            () = clock.sleep((ttl / 3).min(left)) => {}
        }
        let begin = clock.monotonic();
        let request = RenewLeaseRequest {
            request_id: new_id(&*clock).to_string(),
            key: Some(key.clone()),
            ttl: Some(duration_to_proto(ttl)),
        };
        let mut client = leases.client.clone();
        let left = deadline.saturating_sub(MARGIN).saturating_sub(begin);
        let renewal = tokio::select! {
            () = done.cancelled() => return,
            renewal = client.renew_lease(acting.request(request)) => renewal,
            () = clock.sleep(left) => continue,
        };
        match renewal {
            Ok(_) => deadline = begin + ttl,
            Err(status) if matches!(status.code(), Code::Aborted | Code::NotFound | Code::FailedPrecondition) => {
                tracing::warn!(lease_id = key.lease_id, reason = ?tgmesh_proto::status::reason(&status), "lease lost");
                lost.cancel();
                return;
            }
            Err(status) => {
                tracing::warn!(lease_id = key.lease_id, code = ?status.code(), "lease not renewed, trying again");
                clock.sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
