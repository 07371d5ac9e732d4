//! What can go wrong in this service, and what the caller learns of it.

use std::time::Duration;

use sea_orm::DbErr;
use service_kit::Time;
use service_kit::db::Db;
use service_kit::paging::TokenError;
use service_kit::requests::RequestError;
use service_kit::server;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::status::status;
use tonic::Status;
use uuid::Uuid;

use crate::entity::restriction;
use crate::leases::Unavailable;
use crate::quotas::Exceeded;

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this service.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A field breaks a rule that the contract cannot state.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A reason of the catalogue that needs nothing but a text.
    #[error("{message}")]
    Plain {
        /// The reason.
        reason: ErrorReason,
        /// For the caller to read.
        message: String,
        /// Metadata of the reason.
        metadata: Vec<(&'static str, String)>,
        /// When trying again may help.
        retry_after: Option<Duration>,
    },
    /// No account can be leased.
    #[error("no account is available")]
    NoAccount(Box<Unavailable>),
    /// A limit forbids the action.
    #[error("the limit {} is used up", .0.limit.as_str_name())]
    Quota(Box<Exceeded>),
    /// A finished status: of the store of requests, or of tokens.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// The database, or something of ours, failed; the log has it.
    #[error("a fault of ours")]
    Internal,
}

impl Error {
    /// A reason with a text.
    pub fn plain(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self::Plain { reason, message: message.into(), metadata: Vec::new(), retry_after: None }
    }

    /// The same with a value of its metadata; only for plain reasons.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        if let Self::Plain { metadata, .. } = &mut self {
            metadata.push((key, value.to_string()));
        }
        self
    }

    /// The same with a time after which trying again may help; only for plain reasons.
    #[must_use]
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        if let Self::Plain { retry_after, .. } = &mut self {
            *retry_after = delay;
        }
        self
    }

    /// A field that breaks a rule.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }

    /// A failure of the database.
    pub fn database(db: &Db, error: &DbErr) -> Self {
        if matches!(error, DbErr::RecordNotUpdated) {
            return Self::plain(ErrorReason::Conflict, "another process has taken the call over");
        }
        Self::Status(Box::new(server::database(db, error)))
    }

    /// A fault of ours: `what` goes to the log.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(%what, "internal error");
        Self::Internal
    }

    /// A failure of the store of requests.
    pub fn request(db: &Db, error: RequestError) -> Self {
        match error {
            RequestError::Db(error) => Self::database(db, &error),
            RequestError::Answer(error) => Self::internal(error),
            RequestError::Reused(_) => {
                error.to_status().map_or(Self::Internal, |status| Self::Status(Box::new(status)))
            }
        }
    }

    /// The account does not exist, or belongs to somebody else.
    pub fn account_not_found(id: impl std::fmt::Display) -> Self {
        Self::plain(ErrorReason::AccountNotFound, format!("there is no account {id}"))
    }

    /// The lease is no longer the holder's. Nothing was sent.
    pub fn stale_lease(id: Uuid) -> Self {
        Self::plain(ErrorReason::StaleLease, "the lease is over: nothing was sent").with("lease_id", id)
    }

    /// Telegram forbids the account something, for so long.
    pub fn restricted(account_id: Uuid, cause: Cause, telegram_error: &str, lasts: Option<Duration>) -> Self {
        let (reason, message) = match cause {
            Cause::PeerFlood => (ErrorReason::PeerFlood, "telegram limits the account's writing to strangers"),
            Cause::Frozen => (ErrorReason::AccountFrozen, "telegram has frozen the account"),
            _ => (ErrorReason::FloodWait, "telegram demands a wait"),
        };
        Self::plain(reason, message)
            .with("account_id", account_id)
            .with("telegram_error", telegram_error)
            .retry_after(lasts)
    }

    /// A restriction that was met earlier holds still. Nothing was sent.
    pub fn restricted_by(held: &restriction::Model, now: Time) -> Self {
        let cause = Cause::try_from(held.cause).unwrap_or_default();
        let left = held.end_at.map(|end| Time::from_millis(end).since(now));
        Self::restricted(held.account_id, cause, &held.telegram_error, left)
    }

    /// The call is part of the contract and not served yet.
    pub fn not_implemented(method: &'static str) -> Self {
        Self::plain(ErrorReason::NotImplemented, format!("{method} is not served yet")).with("method", method)
    }

    /// The reason of the catalogue.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Field { .. } => ErrorReason::FieldInvalid,
            Self::Plain { reason, .. } => *reason,
            Self::NoAccount(_) => ErrorReason::NoAccountAvailable,
            Self::Quota(_) => ErrorReason::QuotaExceeded,
            Self::Status(status) => tgmesh_proto::status::reason(status).unwrap_or(ErrorReason::Internal),
            Self::Internal => ErrorReason::Internal,
        }
    }

    /// Telegram's error behind it, when Telegram answered.
    pub fn telegram_error(&self) -> Option<&str> {
        match self {
            Self::Plain { metadata, .. } => {
                metadata.iter().find(|(key, _)| *key == "telegram_error").map(|(_, value)| value.as_str())
            }
            _ => None,
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        Self::Status(Box::new(error.into()))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Field { field, problem } => status(ErrorReason::FieldInvalid, format!("{field}: {problem}"))
                .with("field", &field)
                .violation(field, problem)
                .build(),
            Error::Plain { reason, message, metadata, retry_after } => metadata
                .into_iter()
                .fold(status(reason, message).retry_after(retry_after), |status, (key, value)| status.with(key, value))
                .build(),
            Error::NoAccount(unavailable) => unavailable.to_status(),
            Error::Quota(exceeded) => exceeded.to_status(),
            Error::Status(status) => *status,
            Error::Internal => server::internal(),
        }
    }
}
