//! `tgmesh.lease.v1.LeaseService`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service_kit::Identity;
use service_kit::clock::SharedClock;
use service_kit::server::detached;
use service_kit::watch::{WatchStream, watch};
use tgmesh_proto::lease::v1::lease_service_server::LeaseService;
use tgmesh_proto::lease::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, GetLeaseRequest, GetLeaseResponse, ListLeasesRequest,
    ListLeasesResponse, ReleaseLeaseRequest, ReleaseLeaseResponse, RenewLeaseRequest, RenewLeaseResponse,
    RevokeLeaseRequest, RevokeLeaseResponse, WatchLeasesRequest, WatchLeasesResponse,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::leases::{Lease, LeaseManager};
use crate::quotas::Scope;

/// How long before the caller's deadline a wait ends, so that the answer with
/// the reasons gets through.
const ANSWER_TIME: Duration = Duration::from_millis(250);

/// The service.
#[derive(Debug, Clone)]
pub struct LeaseGrpc {
    leases: LeaseManager,
    clock: SharedClock,
}

impl LeaseGrpc {
    /// Over the room of leases.
    pub fn new(leases: LeaseManager, clock: SharedClock) -> Self {
        Self { leases, clock }
    }
}

#[tonic::async_trait]
impl LeaseService for LeaseGrpc {
    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let who = Identity::of(&request)?;
        let deadline = deadline(request.metadata()).map(|deadline| deadline.saturating_sub(ANSWER_TIME));
        // Not detached: who goes away waits no longer.
        let lease = self.leases.acquire(&who, request.into_inner(), deadline).await?;
        Ok(Response::new(AcquireLeaseResponse { lease: Some(lease.to_wire()) }))
    }

    async fn renew_lease(&self, request: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        let who = Identity::of(&request)?;
        let (_, extensions, request) = request.into_parts();
        let leases = self.leases.clone();
        let work = async move { Ok(leases.renew(&who, &request).await?) };
        let lease = detached(&extensions, work).await?;
        Ok(Response::new(RenewLeaseResponse { lease: Some(lease.to_wire()) }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let who = Identity::of(&request)?;
        let (_, extensions, request) = request.into_parts();
        let leases = self.leases.clone();
        let work = async move { Ok(leases.release(&who, &request).await?) };
        detached(&extensions, work).await?;
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn revoke_lease(
        &self,
        request: Request<RevokeLeaseRequest>,
    ) -> Result<Response<RevokeLeaseResponse>, Status> {
        let who = Identity::of(&request)?;
        let (_, extensions, request) = request.into_parts();
        let leases = self.leases.clone();
        let work = async move { Ok(leases.revoke(&who, &request).await?) };
        let lease = detached(&extensions, work).await?;
        Ok(Response::new(RevokeLeaseResponse { lease: Some(lease.to_wire()) }))
    }

    async fn get_lease(&self, request: Request<GetLeaseRequest>) -> Result<Response<GetLeaseResponse>, Status> {
        let who = Identity::of(&request)?;
        // The contract's rules have shown that it is a UUID.
        let id = Uuid::parse_str(&request.get_ref().lease_id).unwrap_or_default();
        let lease = self.leases.get(Scope::of(&who), id).await?;
        Ok(Response::new(GetLeaseResponse { lease: Some(lease.to_wire()) }))
    }

    async fn list_leases(&self, request: Request<ListLeasesRequest>) -> Result<Response<ListLeasesResponse>, Status> {
        let who = Identity::of(&request)?;
        let (leases, next_page_token) = self.leases.list(&who, request.get_ref()).await?;
        Ok(Response::new(ListLeasesResponse { leases: leases.iter().map(Lease::to_wire).collect(), next_page_token }))
    }

    type WatchLeasesStream = WatchStream<WatchLeasesResponse>;

    async fn watch_leases(
        &self,
        request: Request<WatchLeasesRequest>,
    ) -> Result<Response<Self::WatchLeasesStream>, Status> {
        let who = Identity::of(&request)?;
        let scope = Scope::of(&who);
        let position = self.leases.position(scope, &request.get_ref().resume_token)?;
        let position = Arc::new(Mutex::new(position));
        let (leases, clock) = (self.leases.clone(), self.clock.clone());
        let look = move || {
            let (leases, clock, position) = (leases.clone(), clock.clone(), position.clone());
            async move {
                let since = *position.lock().unwrap_or_else(PoisonError::into_inner);
                let read_at = clock.now();
                let (changes, resume_token) = leases.changes(scope, since).await?;
                *position.lock().unwrap_or_else(PoisonError::into_inner) = Some(changes.position);
                Ok((changes.snapshot || !changes.leases.is_empty()).then(|| WatchLeasesResponse {
                    leases: changes.leases.iter().map(Lease::to_wire).collect(),
                    snapshot: changes.snapshot,
                    resume_token,
                    read_time: Some(read_at.to_proto()),
                }))
            }
        };
        let stream = watch(self.clock.clone(), self.leases.changed(), look);
        Ok(Response::new(stream))
    }
}

/// How long the caller waits for an answer: up to eight digits and a unit.
fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let header = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (value, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let value: u64 = value.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3_600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_callers_deadline() {
        for (header, expected) in [
            ("30S", Some(Duration::from_secs(30))),
            ("250m", Some(Duration::from_millis(250))),
            ("1H", Some(Duration::from_secs(3_600))),
            ("x", None),
            ("1x", None),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", header.parse().unwrap());
            assert_eq!(deadline(&metadata), expected, "{header}");
        }
        assert_eq!(deadline(&MetadataMap::new()), None);
    }
}
