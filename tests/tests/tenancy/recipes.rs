//! For every method: how to make, as the owner, what its request names.

use anyhow::Context as _;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tgmesh_proto::Caller;
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_proto::telegram::v1::SpeedProfile;

use crate::common::play::{CHAT, key};
use crate::common::wire::{Read, enough};
use crate::common::{PASSWORD, World, phone};

mod invites;
mod secondary;
mod telegram;

pub use secondary::{Secondary, Strangers, secondary};

/// What of the owner's a request is about.
#[derive(Debug, Clone)]
pub enum Object {
    /// What has this id.
    One(String),
    /// All that he has, or something new. `shows`: the owner's answer holds at least one of his ids.
    Everything {
        /// Whether it does.
        shows: bool,
    },
}

/// A call that succeeds for the owner.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Who calls.
    pub caller: Caller,
    /// What is sent.
    pub requests: Vec<Vec<u8>>,
    /// What it is about.
    pub object: Object,
    /// The id of the request, when it has one.
    pub request_id: Option<String>,
    /// How much of the answer is read.
    pub read: Read,
}

/// Bytes of a message.
pub fn encode(message: &DynamicMessage) -> Vec<u8> {
    message.encode_to_vec()
}

/// What the owner has.
pub struct Stage {
    /// Where.
    pub world: World,
    /// Ids that no stranger may see.
    pub owned: Vec<String>,
    /// An account that the engines may use.
    pub account: String,
    /// One to change and, at last, to delete.
    pub spare: String,
    /// One to lease.
    pub leasable: String,
    /// A lease that lasts.
    pub lease: lease::Lease,
    /// A completed parse task.
    pub task: String,
    /// One that is changed.
    pub changing_task: String,
    /// Somebody whom it found.
    pub contact: String,
    /// A draft.
    pub campaign: String,
    /// One that is started, and changed.
    pub changing_campaign: String,
    /// An entry of the list of those who must not be contacted.
    pub entry: String,
    /// A lease that is changed.
    pub changing_lease: Option<lease::Lease>,
    /// The id of the invite that was made.
    pub invited: String,
}

/// People enough that a campaign goes on until the end of the walk: each account waits after each invite.
const MANY: [&str; 12] = [
    "@target_friend",
    "@target_private",
    "@target_premium",
    "@target_refusing",
    "@target_left",
    "@target_kicked",
    "@target_full",
    "@target_blocking",
    "@target_willing",
    "@target_member",
    "@target_blocked",
    "@the_owner",
];

impl Stage {
    /// Starts everything, and makes what most recipes need.
    pub async fn set() -> anyhow::Result<Self> {
        // With the limits of the product, so that a campaign does not end at once.
        let world = World::start_with("", "").await?;
        let owner = world.owner;
        let account = world.connect(owner, 11).await?;
        let leased = world.connect(owner, 61).await?;
        let task = world.parse(owner, CHAT).await.context("nothing was parsed")?;
        let lease = world.lease(Caller::Invite, owner, &leased, lease::Purpose::Invite).await.context("no lease")?;
        let leasable = world.connect(owner, 62).await?;
        let spare = world.connect(owner, 63).await?;
        let request = parsing::ListContactsRequest { page_size: 1, ..Default::default() };
        let contacts = world.parsing(owner).list_contacts(request).await?.into_inner().contacts;
        let contact = contacts.first().context("no contact")?.id.clone();
        let campaign = world.create_campaign(owner, &["@target_willing"]).await.context("no campaign")?;
        let changing_campaign = world.create_campaign(owner, &MANY).await.context("no campaign")?;
        let request = invite::AddDoNotContactRequest {
            request_id: world.id(),
            people: vec!["@nobody_at_all".to_owned()],
            reason: "asked for it".to_owned(),
        };
        let entries = world.invite(owner).add_do_not_contact(request).await?.into_inner().entries;
        let entry = entries.first().context("no entry")?.id.clone();
        let mut owned = vec![owner.user_id.to_string(), owner.workspace_id.to_string(), lease.id.clone()];
        for id in [&account, &leased, &leasable, &spare, &task, &contact, &campaign, &changing_campaign, &entry] {
            owned.push(id.clone());
        }
        Ok(Self {
            world,
            owned,
            account,
            spare,
            leasable,
            lease,
            task,
            changing_task: String::new(),
            contact,
            campaign,
            changing_campaign,
            entry,
            changing_lease: None,
            invited: String::new(),
        })
    }

    /// Whom the owner looks for, and what he does with them: no operator's business.
    pub fn private(&self) -> [&str; 5] {
        [&self.task, &self.contact, &self.campaign, &self.changing_campaign, &self.entry]
    }

    /// A lease of an account that nothing else uses.
    async fn another_lease(&self) -> anyhow::Result<lease::Lease> {
        self.world.lease(Caller::Invite, self.world.owner, &self.leasable, lease::Purpose::Invite).await
    }
}

/// A user's call about one object.
fn about(id: &str, request_id: &str, request: &impl Message) -> Recipe {
    Recipe {
        caller: Caller::User,
        requests: vec![request.encode_to_vec()],
        object: Object::One(id.to_owned()),
        request_id: (!request_id.is_empty()).then(|| request_id.to_owned()),
        read: Read::All,
    }
}

/// A user's call about all he has, or about something new.
fn everything(shows: bool, request: &impl Message) -> Recipe {
    Recipe { object: Object::Everything { shows }, ..about("", "", request) }
}

impl Recipe {
    fn by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    fn read(self, read: Read) -> Self {
        Self { read, ..self }
    }
}

/// The recipe for a method; `None` when there is none yet.
pub async fn recipe(stage: &mut Stage, method: &MethodDescriptor) -> Option<anyhow::Result<Recipe>> {
    let service = method.parent_service();
    let name = method.name();
    let recipe = match service.name() {
        "IntegrationService" => accounts(stage, name).await,
        "LeaseService" => leases(stage, name).await,
        "QuotaService" => telegram::quotas(stage, name),
        "TelegramService" => telegram::calls(stage, name),
        "ParsingService" => parse_tasks(stage, name).await,
        "InviteService" => invites::campaigns(stage, name).await,
        _ => Ok(None),
    };
    match recipe {
        Ok(None) => None,
        Ok(Some(mut recipe)) => {
            if recipe.read == Read::All {
                recipe.read = enough(method);
            }
            Some(Ok(recipe))
        }
        Err(error) => Some(Err(error)),
    }
}

async fn accounts(stage: &Stage, name: &str) -> anyhow::Result<Option<Recipe>> {
    let world = &stage.world;
    let owner = world.owner;
    let (request_id, account_id) = (world.id(), stage.spare.clone());
    let id = account_id.clone();
    Ok(Some(match name {
        "StartPhoneLogin" => everything(false, &integration::StartPhoneLoginRequest { request_id, phone: phone(64) }),
        "SubmitLoginCode" => {
            let login_id = world.start_login(owner, 65).await?.id;
            let code = world.handle().login_code(&phone(65))?;
            let request = integration::SubmitLoginCodeRequest { request_id, login_id, code };
            about(&request.login_id, &request.request_id, &request)
        }
        "SubmitLoginPassword" => {
            let login_id = world.start_login(owner, 69).await?.id;
            world.enter_code(owner, 69, &login_id).await?;
            let password = PASSWORD.to_owned();
            let request = integration::SubmitLoginPasswordRequest { request_id, login_id, password };
            about(&request.login_id, &request.request_id, &request)
        }
        "ResendLoginCode" => {
            let login_id = world.start_login(owner, 66).await?.id;
            let request = integration::ResendLoginCodeRequest { request_id, login_id };
            about(&request.login_id, &request.request_id, &request)
        }
        "CancelLogin" => {
            let login_id = world.start_login(owner, 67).await?.id;
            let request = integration::CancelLoginRequest { request_id, login_id };
            about(&request.login_id, &request.request_id, &request)
        }
        "GetLogin" => {
            let login_id = world.start_login(owner, 68).await?.id;
            about(&login_id.clone(), "", &integration::GetLoginRequest { login_id })
        }
        "StartQrLogin" => everything(false, &integration::StartQrLoginRequest { request_id }),
        "ImportSessions" => {
            let session = crate::common::play::telethon(&[7; 256]);
            world.handle().add_key([7; 256], 2, Some(68));
            everything(false, &integration::ImportSessionsRequest { request_id, sessions: session })
        }
        "ListAccounts" => everything(true, &integration::ListAccountsRequest::default()),
        "GetAccount" => about(&id, "", &integration::GetAccountRequest { account_id }),
        "UpdateAccount" => {
            let update_mask = Some(prost_types::FieldMask { paths: vec!["label".to_owned()] });
            let label = "a label".to_owned();
            let request =
                integration::UpdateAccountRequest { request_id, account_id, label, update_mask, ..Default::default() };
            about(&id, &request.request_id, &request)
        }
        "PauseAccount" => about(&id, &request_id.clone(), &integration::PauseAccountRequest { request_id, account_id }),
        "ResumeAccount" => {
            about(&id, &request_id.clone(), &integration::ResumeAccountRequest { request_id, account_id })
        }
        "CheckAccount" => about(&id, &request_id.clone(), &integration::CheckAccountRequest { request_id, account_id }),
        "DeleteAccount" => {
            about(&id, &request_id.clone(), &integration::DeleteAccountRequest { request_id, account_id })
        }
        "WatchAccounts" => everything(true, &integration::WatchAccountsRequest::default()),
        "ListAccountEvents" => {
            let account_id = stage.account.clone();
            about(&stage.account, "", &integration::ListAccountEventsRequest { account_id, ..Default::default() })
        }
        "GetFleetSummary" => everything(false, &integration::GetFleetSummaryRequest::default()),
        _ => return Ok(None),
    }))
}

async fn leases(stage: &mut Stage, name: &str) -> anyhow::Result<Option<Recipe>> {
    let request_id = stage.world.id();
    Ok(Some(match name {
        "AcquireLease" => {
            let request = lease::AcquireLeaseRequest {
                request_id,
                purpose: lease::Purpose::Parse.into(),
                any_of_account_ids: vec![stage.leasable.clone()],
                ttl: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                holder: "the walker".to_owned(),
                ..Default::default()
            };
            about(&stage.leasable, &request.request_id, &request).by(Caller::Invite)
        }
        "RenewLease" => {
            let held = stage.another_lease().await?;
            stage.owned.push(held.id.clone());
            let request = lease::RenewLeaseRequest { request_id, key: key(&held), ttl: None };
            stage.changing_lease = Some(held.clone());
            about(&held.id, &request.request_id, &request).by(Caller::Invite)
        }
        "ReleaseLease" => {
            let held = stage.changing_lease.take().context("RenewLease comes first")?;
            let request = lease::ReleaseLeaseRequest { request_id, key: key(&held) };
            about(&held.id, &request.request_id, &request).by(Caller::Invite)
        }
        "RevokeLease" => {
            let lease_id = stage.another_lease().await?.id;
            about(&lease_id.clone(), &request_id.clone(), &lease::RevokeLeaseRequest { request_id, lease_id })
        }
        "GetLease" => {
            let lease_id = stage.lease.id.clone();
            about(&lease_id.clone(), "", &lease::GetLeaseRequest { lease_id })
        }
        "ListLeases" => everything(true, &lease::ListLeasesRequest::default()),
        "WatchLeases" => everything(true, &lease::WatchLeasesRequest::default()),
        _ => return Ok(None),
    }))
}

async fn parse_tasks(stage: &mut Stage, name: &str) -> anyhow::Result<Option<Recipe>> {
    if name == "PauseParseTask" {
        // It takes so long that it can be paused.
        let task = stage.world.start_parse(stage.world.owner, "@thousand_members", SpeedProfile::Safe).await?;
        stage.owned.push(task.clone());
        stage.changing_task = task;
    }
    let request_id = stage.world.id();
    let repeat = request_id.clone();
    let (id, changing) = (stage.task.as_str(), stage.changing_task.as_str());
    let (parse_task_id, changing_id) = (stage.task.clone(), stage.changing_task.clone());
    Ok(Some(match name {
        "CreateParseTasks" => {
            let kind = parsing::ParseKind::Members.into();
            let sources = vec![CHAT.to_owned()];
            everything(false, &parsing::CreateParseTasksRequest { request_id, sources, kind, ..Default::default() })
        }
        "GetParseTask" => about(id, "", &parsing::GetParseTaskRequest { parse_task_id }),
        "ListParseTasks" => everything(true, &parsing::ListParseTasksRequest::default()),
        "PauseParseTask" => {
            about(changing, &repeat, &parsing::PauseParseTaskRequest { request_id, parse_task_id: changing_id })
        }
        "ResumeParseTask" => {
            about(changing, &repeat, &parsing::ResumeParseTaskRequest { request_id, parse_task_id: changing_id })
        }
        "CancelParseTask" => {
            about(changing, &repeat, &parsing::CancelParseTaskRequest { request_id, parse_task_id: changing_id })
        }
        "DeleteParseTask" => {
            about(changing, &repeat, &parsing::DeleteParseTaskRequest { request_id, parse_task_id: changing_id })
        }
        "WatchParseTask" => {
            about(id, "", &parsing::WatchParseTaskRequest { parse_task_id, resume_token: String::new() })
        }
        "ListResults" => about(id, "", &parsing::ListResultsRequest { parse_task_id, ..Default::default() }),
        "StreamResults" => {
            about(id, "", &parsing::StreamResultsRequest { parse_task_id, cursor: Vec::new() }).by(Caller::Invite)
        }
        "ExportResults" => {
            let format = parsing::export_results_request::Format::Csv.into();
            about(id, "", &parsing::ExportResultsRequest { parse_task_id, format })
        }
        "GetResultStats" => about(id, "", &parsing::GetResultStatsRequest { parse_task_id }),
        "ListContacts" => about(id, "", &parsing::ListContactsRequest { parse_task_id, ..Default::default() }),
        "GetContact" => {
            let contact_id = stage.contact.clone();
            about(&stage.contact, "", &parsing::GetContactRequest { contact_id })
        }
        _ => return Ok(None),
    }))
}
