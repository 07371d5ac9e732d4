//! `tgmesh.quota.v1.QuotaService`.

use service_kit::Identity;
use service_kit::Time;
use service_kit::server::detached;
use tgmesh_proto::quota::v1::quota_service_server::QuotaService;
use tgmesh_proto::quota::v1::{
    CheckActionRequest, CheckActionResponse, GetLimitsRequest, GetLimitsResponse, GetUsageRequest, GetUsageResponse,
    ListUsageHistoryRequest, ListUsageHistoryResponse, UpdateLimitsRequest, UpdateLimitsResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::quotas::{LimitUse, Next, Quotas, Scope, history};

/// The service.
#[derive(Debug, Clone)]
pub struct QuotaGrpc {
    quotas: Quotas,
}

impl QuotaGrpc {
    /// Over the room of quotas.
    pub fn new(quotas: Quotas) -> Self {
        Self { quotas }
    }
}

#[tonic::async_trait]
impl QuotaService for QuotaGrpc {
    async fn get_usage(&self, request: Request<GetUsageRequest>) -> Result<Response<GetUsageResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.into_inner();
        let usage = self.quotas.usage(Scope::of(&who), id(&request.account_id), request.chat_id).await?;
        Ok(Response::new(GetUsageResponse { usage: usage.into_iter().map(LimitUse::to_wire).collect() }))
    }

    async fn list_usage_history(
        &self,
        request: Request<ListUsageHistoryRequest>,
    ) -> Result<Response<ListUsageHistoryResponse>, Status> {
        let who = Identity::of(&request)?;
        let (entries, next_page_token) = self.quotas.history(&who, request.get_ref()).await?;
        let entries = entries.into_iter().map(history::to_wire).collect();
        Ok(Response::new(ListUsageHistoryResponse { entries, next_page_token }))
    }

    async fn check_action(
        &self,
        request: Request<CheckActionRequest>,
    ) -> Result<Response<CheckActionResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.into_inner();
        let check = self
            .quotas
            .check_action(Scope::of(&who), id(&request.account_id), request.action(), request.chat_id)
            .await?;
        Ok(Response::new(CheckActionResponse {
            allowed: check.next_possible == Next::Now,
            exceeded: check.exceeded.into_iter().map(LimitUse::to_wire).collect(),
            next_possible_time: check.next_possible.time().map(Time::to_proto),
        }))
    }

    async fn get_limits(&self, request: Request<GetLimitsRequest>) -> Result<Response<GetLimitsResponse>, Status> {
        let who = Identity::of(&request)?;
        let level = request.into_inner().level.unwrap_or_default();
        let found = self.quotas.limits(&who, &level).await?;
        Ok(Response::new(GetLimitsResponse {
            limits: Some(found.set.to_wire(found.etag)),
            effective: Some(found.effective.to_wire(String::new())),
        }))
    }

    async fn update_limits(
        &self,
        request: Request<UpdateLimitsRequest>,
    ) -> Result<Response<UpdateLimitsResponse>, Status> {
        let who = Identity::of(&request)?;
        let (_, extensions, request) = request.into_parts();
        let quotas = self.quotas.clone();
        // Not cut in half: what was committed has to reach the slots.
        let work = async move { Ok(quotas.update_limits(&who, &request).await?) };
        detached(&extensions, work).await.map(Response::new)
    }
}

/// The contract's rules have shown that it is a UUID.
fn id(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_default()
}
