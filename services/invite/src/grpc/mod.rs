//! The contract: wire types in, wire types out, nothing else.

pub mod convert;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use service_kit::identity::Identity;
use service_kit::server::detached;
use service_kit::unserved::Unserved;
use service_kit::watch::WatchStream;
use tgmesh_proto::invite::v1::invite_service_server::InviteService;
use tgmesh_proto::invite::v1::*;
use tonic::{Request, Response, Status, Streaming};

use crate::app::App;
use crate::error::Error;
use crate::{audience, campaigns, do_not_contact, reports, targets};

/// Serves `InviteService`.
#[derive(Debug, Clone)]
pub struct Api {
    app: Arc<App>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Api {
    /// Over the service's parts.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    fn answer<T>(&self, result: Result<T, Error>) -> Answer<T> {
        result.map(Response::new).map_err(|error| error.into_status(&self.app.db))
    }

    /// Runs work that must not be cut in half when the caller goes away.
    async fn whole<Q, T, F>(&self, request: Request<Q>, work: impl FnOnce(Arc<App>, Identity, Q) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let who = Identity::of(&request)?;
        let (_, extensions, message) = request.into_parts();
        let db = self.app.db.clone();
        let work = work(self.app.clone(), who, message);
        detached(&extensions, async move { work.await.map_err(|error| error.into_status(&db)) })
            .await
            .map(Response::new)
    }
}

fn later<T>(method: &'static str) -> Answer<T> {
    Err(Unserved::method(method).into())
}

#[tonic::async_trait]
impl InviteService for Api {
    type WatchCampaignStream = WatchStream<WatchCampaignResponse>;
    type ExportReportStream = Pin<Box<dyn Stream<Item = Result<ExportReportResponse, Status>> + Send>>;

    async fn create_campaign(&self, request: Request<CreateCampaignRequest>) -> Answer<CreateCampaignResponse> {
        self.whole(request, campaigns::create::create).await
    }

    async fn get_campaign(&self, request: Request<GetCampaignRequest>) -> Answer<GetCampaignResponse> {
        let who = Identity::of(&request)?;
        let campaign = campaigns::get(&self.app, &who, &request.get_ref().campaign_id).await;
        self.answer(campaign.map(|campaign| GetCampaignResponse { campaign: Some(campaign) }))
    }

    async fn list_campaigns(&self, request: Request<ListCampaignsRequest>) -> Answer<ListCampaignsResponse> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::list::list(&self.app, &who, request.get_ref()).await)
    }

    async fn update_campaign(&self, request: Request<UpdateCampaignRequest>) -> Answer<UpdateCampaignResponse> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::update(&self.app, &who, request.get_ref()).await)
    }

    async fn duplicate_campaign(&self, _: Request<DuplicateCampaignRequest>) -> Answer<DuplicateCampaignResponse> {
        later("DuplicateCampaign")
    }

    async fn delete_campaign(&self, request: Request<DeleteCampaignRequest>) -> Answer<DeleteCampaignResponse> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::delete(&self.app, &who, request.get_ref()).await)
    }

    async fn start_campaign(&self, request: Request<StartCampaignRequest>) -> Answer<StartCampaignResponse> {
        self.whole(request, |app, who, request| async move { campaigns::start(&app, who, request).await }).await
    }

    async fn pause_campaign(&self, request: Request<PauseCampaignRequest>) -> Answer<PauseCampaignResponse> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::pause(&self.app, &who, request.get_ref()).await)
    }

    async fn resume_campaign(&self, request: Request<ResumeCampaignRequest>) -> Answer<ResumeCampaignResponse> {
        self.whole(request, |app, who, request| async move { campaigns::resume(&app, who, request).await }).await
    }

    async fn cancel_campaign(&self, request: Request<CancelCampaignRequest>) -> Answer<CancelCampaignResponse> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::cancel(&self.app, &who, request.get_ref()).await)
    }

    async fn batch_change_campaigns(
        &self,
        _: Request<BatchChangeCampaignsRequest>,
    ) -> Answer<BatchChangeCampaignsResponse> {
        later("BatchChangeCampaigns")
    }

    async fn watch_campaign(&self, request: Request<WatchCampaignRequest>) -> Answer<Self::WatchCampaignStream> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::watch::open(self.app.clone(), who, request.into_inner()).await)
    }

    async fn check_readiness(&self, request: Request<CheckReadinessRequest>) -> Answer<CheckReadinessResponse> {
        let who = Identity::of(&request)?;
        self.answer(campaigns::check_readiness(&self.app, &who, request.get_ref()).await)
    }

    async fn upload_audience(
        &self,
        request: Request<Streaming<UploadAudienceRequest>>,
    ) -> Answer<UploadAudienceResponse> {
        let who = Identity::of(&request)?;
        self.answer(audience::upload::upload(self.app.clone(), who, request.into_inner()).await)
    }

    async fn validate_audience(
        &self,
        request: Request<Streaming<ValidateAudienceRequest>>,
    ) -> Answer<ValidateAudienceResponse> {
        let who = Identity::of(&request)?;
        self.answer(audience::upload::validate(self.app.clone(), who, request.into_inner()).await)
    }

    async fn list_targets(&self, request: Request<ListTargetsRequest>) -> Answer<ListTargetsResponse> {
        let who = Identity::of(&request)?;
        self.answer(targets::list(&self.app, &who, request.get_ref()).await)
    }

    async fn add_targets(&self, _: Request<AddTargetsRequest>) -> Answer<AddTargetsResponse> {
        later("AddTargets")
    }

    async fn update_target(&self, _: Request<UpdateTargetRequest>) -> Answer<UpdateTargetResponse> {
        later("UpdateTarget")
    }

    async fn remove_targets(&self, _: Request<RemoveTargetsRequest>) -> Answer<RemoveTargetsResponse> {
        later("RemoveTargets")
    }

    async fn retry_targets(&self, _: Request<RetryTargetsRequest>) -> Answer<RetryTargetsResponse> {
        later("RetryTargets")
    }

    async fn list_executions(&self, request: Request<ListExecutionsRequest>) -> Answer<ListExecutionsResponse> {
        let who = Identity::of(&request)?;
        self.answer(targets::executions(&self.app, &who, request.get_ref()).await)
    }

    async fn get_report(&self, request: Request<GetReportRequest>) -> Answer<GetReportResponse> {
        let who = Identity::of(&request)?;
        self.answer(reports::get(&self.app, &who, &request.get_ref().campaign_id).await)
    }

    async fn export_report(&self, _: Request<ExportReportRequest>) -> Answer<Self::ExportReportStream> {
        later("ExportReport")
    }

    async fn test_invite(&self, request: Request<TestInviteRequest>) -> Answer<TestInviteResponse> {
        self.whole(
            request,
            |app, who, request| async move { campaigns::try_one::test_invite(&app, who, request).await },
        )
        .await
    }

    async fn get_dashboard(&self, _: Request<GetDashboardRequest>) -> Answer<GetDashboardResponse> {
        later("GetDashboard")
    }

    async fn list_do_not_contact(&self, request: Request<ListDoNotContactRequest>) -> Answer<ListDoNotContactResponse> {
        let who = Identity::of(&request)?;
        self.answer(do_not_contact::list(&self.app, &who, request.get_ref()).await)
    }

    async fn add_do_not_contact(&self, request: Request<AddDoNotContactRequest>) -> Answer<AddDoNotContactResponse> {
        let who = Identity::of(&request)?;
        self.answer(do_not_contact::add(&self.app, &who, request.get_ref()).await)
    }

    async fn remove_do_not_contact(
        &self,
        request: Request<RemoveDoNotContactRequest>,
    ) -> Answer<RemoveDoNotContactResponse> {
        let who = Identity::of(&request)?;
        self.answer(do_not_contact::remove(&self.app, &who, request.get_ref()).await)
    }

    async fn erase_contact(&self, _: Request<EraseContactRequest>) -> Answer<EraseContactResponse> {
        later("EraseContact")
    }
}
