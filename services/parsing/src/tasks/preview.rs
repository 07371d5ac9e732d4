//! What a source looks like, before a task is created for it.

use std::time::Duration;

use futures_util::StreamExt as _;
use service_kit::SharedClock;
use service_kit::client::ServiceChannel;
use service_kit::clock::{duration_from_proto, duration_to_proto};
use service_kit::identity::Acting;
use service_kit::lease::Leases;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, ChatRight, Purpose};
use tgmesh_proto::parsing::v1::{ParseKind, SourcePreview};
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tgmesh_proto::telegram::v1::{Chat, ChatKind, GetChatRequest, GetChatResponse, ReadPace, SpeedProfile};
use tonic::{Code, Status};

use super::Order;
use super::completeness::cap;
use crate::error::Error;

/// Longest wait for an account for one source, and for all: the caller waits too.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_FOR_ALL: Duration = Duration::from_secs(40);
/// Sources looked at side by side; each takes an account.
const AT_ONCE: usize = 4;
/// Members a page of Telegram's holds.
const MEMBERS_PAGE: i64 = 200;
/// Messages a page of Telegram's holds.
const MESSAGES_PAGE: i64 = 100;

/// Looks at sources through leased accounts.
#[derive(Debug, Clone)]
pub struct Previews {
    leases: Leases,
    telegram: TelegramServiceClient<ServiceChannel>,
    channel: ServiceChannel,
    holder: String,
}

impl Previews {
    /// Over a channel to the integration service.
    pub fn new(channel: ServiceChannel, clock: SharedClock, holder: String) -> Self {
        Self {
            leases: Leases::new(channel.clone(), clock),
            telegram: TelegramServiceClient::new(channel.clone()),
            channel,
            holder,
        }
    }

    /// What each source of the order looks like, in their order.
    pub async fn of(&self, acting: Acting, order: &Order) -> Result<Vec<SourcePreview>, Error> {
        order.check()?;
        let rounds = u32::try_from(order.sources.len().div_ceil(AT_ONCE)).unwrap_or(u32::MAX).max(1);
        let wait = WAIT.min(WAIT_FOR_ALL / rounds);
        let looks = order.sources.iter().cloned().map(|source| self.one(acting, source, order, wait));
        let previews: Vec<_> = futures_util::stream::iter(looks).buffered(AT_ONCE).collect().await;
        previews.into_iter().collect()
    }

    async fn one(&self, acting: Acting, source: String, order: &Order, wait: Duration) -> Result<SourcePreview, Error> {
        match self.chat(acting, &source, wait).await {
            Ok(GetChatResponse { chat, read_paces }) => {
                let pace = pace(&read_paces, order.speed);
                Ok(preview(&source, chat.unwrap_or_default(), order, pace))
            }
            Err(status) => {
                let status = self.channel.name_failure(status);
                match tgmesh_proto::status::reason(&status) {
                    // About the source, or about accounts that can see it: part of the answer.
                    Some(reason) if is_answer(reason, status.code()) => Ok(SourcePreview {
                        source,
                        failure_reason: reason.as_reason().to_owned(),
                        ..Default::default()
                    }),
                    _ => Err(Error::Integration(Box::new(status))),
                }
            }
        }
    }

    async fn chat(&self, acting: Acting, source: &str, wait: Duration) -> Result<GetChatResponse, Status> {
        let request = AcquireLeaseRequest {
            purpose: Purpose::Parse as i32,
            chat: source.to_owned(),
            rights: vec![ChatRight::Read as i32],
            wait: Some(duration_to_proto(wait)),
            work: "preview".to_owned(),
            holder: self.holder.clone(),
            ..Default::default()
        };
        let lease = self.leases.acquire(acting, request).await?;
        let request = GetChatRequest { lease: Some(lease.key()), chat: source.to_owned() };
        let mut telegram = self.telegram.clone();
        let answer = telegram.get_chat(acting.request(request)).await;
        if let Err(status) = lease.release().await {
            tracing::warn!(code = ?status.code(), "the lease of a preview was not released and ends by itself");
        }
        Ok(answer?.into_inner())
    }
}

/// Whether an error says something of the source, rather than of the way there.
fn is_answer(reason: ErrorReason, code: Code) -> bool {
    matches!(code, Code::NotFound | Code::FailedPrecondition)
        || matches!(reason, ErrorReason::NoAccountAvailable | ErrorReason::QuotaExceeded | ErrorReason::FloodWait)
}

/// What can be said of a chat before it is read, at a pace that may not be known.
fn preview(source: &str, chat: Chat, order: &Order, pace: Option<Duration>) -> SourcePreview {
    let unsuitable = order.kind == ParseKind::MessageAuthors && chat.kind == ChatKind::Channel as i32;
    let (total, cap, page, to_read) = match order.kind {
        ParseKind::Members => {
            let total = chat.member_count.map(i64::from);
            let cap = cap(chat.kind);
            let to_read = total.map(|total| cap.map_or(total, |cap| total.min(i64::from(cap))));
            (total, cap.unwrap_or(0), MEMBERS_PAGE, to_read)
        }
        // Telegram tells the number of messages with the first page alone.
        _ => {
            let last = i64::from(order.filter.last_messages);
            (None, 0, MESSAGES_PAGE, (last > 0).then_some(last))
        }
    };
    let pages = |count: i64| u32::try_from((count + page - 1) / page).unwrap_or(u32::MAX);
    let estimate = to_read.zip(pace).map(|(count, pace)| pace.saturating_mul(pages(count)));
    SourcePreview {
        source: source.to_owned(),
        chat: Some(chat),
        total,
        cap,
        estimate: estimate.filter(|_| !unsuitable).map(duration_to_proto),
        failure_reason: if unsuitable { ErrorReason::ChatKindUnsuitable.as_reason().to_owned() } else { String::new() },
    }
}

/// Time between two reads at a speed, as the integration service keeps it.
fn pace(paces: &[ReadPace], speed: SpeedProfile) -> Option<Duration> {
    let speed = if speed == SpeedProfile::Unspecified { SpeedProfile::Medium } else { speed };
    let pace = paces.iter().find(|pace| pace.speed() == speed)?;
    pace.interval.as_ref().map(duration_from_proto)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::lease::v1::Priority;
    use tgmesh_proto::parsing::v1::ParseFilter;

    fn order(kind: ParseKind, speed: SpeedProfile) -> Order {
        Order { sources: Vec::new(), kind, filter: ParseFilter::default(), speed, priority: Priority::Normal }
    }

    fn chat(kind: ChatKind, members: i32) -> Chat {
        Chat { kind: kind as i32, member_count: Some(members), ..Default::default() }
    }

    /// As a deployment may have configured it.
    fn paced(speed: SpeedProfile) -> Option<Duration> {
        let paces = [(SpeedProfile::Safe, 3_000), (SpeedProfile::Medium, 1_500), (SpeedProfile::Fast, 70)];
        let paces = paces.map(|(speed, millis)| ReadPace {
            speed: speed.into(),
            interval: Some(duration_to_proto(Duration::from_millis(millis))),
        });
        pace(&paces, speed)
    }

    #[test]
    fn the_pace_is_what_is_configured() {
        assert_eq!(paced(SpeedProfile::Fast), Some(Duration::from_millis(70)));
        assert_eq!(paced(SpeedProfile::Unspecified), paced(SpeedProfile::Medium));
        assert_eq!(pace(&[], SpeedProfile::Fast), None, "nobody can tell");
        let order = order(ParseKind::Members, SpeedProfile::Fast);
        let seen = |pace| preview("@a", chat(ChatKind::BasicGroup, 200), &order, pace).estimate;
        assert_eq!(seen(paced(SpeedProfile::Fast)), Some(duration_to_proto(Duration::from_millis(70))));
        assert_eq!(seen(None), None);
    }

    #[test]
    fn a_capped_group_is_estimated_by_what_telegram_shows() {
        let seen = preview(
            "@a",
            chat(ChatKind::Supergroup, 50_000),
            &order(ParseKind::Members, SpeedProfile::Medium),
            paced(SpeedProfile::Medium),
        );
        assert_eq!((seen.total, seen.cap), (Some(50_000), 10_000));
        // 50 pages, one each 1.5 s.
        assert_eq!(seen.estimate, Some(duration_to_proto(Duration::from_secs(75))));
    }

    #[test]
    fn a_basic_group_has_no_cap() {
        let seen = preview(
            "@a",
            chat(ChatKind::BasicGroup, 150),
            &order(ParseKind::Members, SpeedProfile::Safe),
            paced(SpeedProfile::Safe),
        );
        assert_eq!((seen.total, seen.cap), (Some(150), 0));
        assert_eq!(seen.estimate, Some(duration_to_proto(Duration::from_secs(3))));
    }

    #[test]
    fn what_nobody_can_tell_is_absent() {
        let order = order(ParseKind::MessageAuthors, SpeedProfile::Fast);
        let seen = preview("@a", chat(ChatKind::Supergroup, 100), &order, paced(SpeedProfile::Fast));
        assert_eq!((seen.total, seen.estimate), (None, None));
    }

    #[test]
    fn a_channel_has_no_authors() {
        let order = order(ParseKind::MessageAuthors, SpeedProfile::Fast);
        let seen = preview("@a", chat(ChatKind::Channel, 100), &order, None);
        assert_eq!(seen.failure_reason, "CHAT_KIND_UNSUITABLE");
    }

    #[test]
    fn only_errors_about_the_source_are_answers() {
        assert!(is_answer(ErrorReason::ChatNotFound, Code::NotFound));
        assert!(is_answer(ErrorReason::NoAccountAvailable, Code::ResourceExhausted));
        assert!(!is_answer(ErrorReason::DependencyUnavailable, Code::Unavailable));
        assert!(!is_answer(ErrorReason::Overloaded, Code::ResourceExhausted));
    }
}
