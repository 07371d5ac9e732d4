//! What a call of this service can fail with, and how the wire says it.

use sea_orm::DbErr;
use service_kit::db::Db;
use service_kit::paging::TokenError;
use service_kit::requests::RequestError;
use service_kit::unserved::Unserved;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::status::status;
use tgmesh_proto::telegram::v1::account_readiness::Problem;
use tonic::Status;

use crate::audience::task::SoFar;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field breaks a rule that its contract states in words.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The same, of an item of a list.
    #[error("{field}: {problem}")]
    Item {
        /// Path of the item.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No such campaign in the workspace.
    #[error("there is no such campaign")]
    CampaignNotFound,
    /// No such account in the workspace.
    #[error("there is no such account")]
    AccountNotFound,
    /// No such target in the workspace.
    #[error("there is no such target")]
    TargetNotFound,
    /// No such upload in the workspace.
    #[error("there is no such uploaded audience")]
    AudienceNotFound,
    /// The campaign's state does not allow it.
    #[error("the campaign is {}", name(.0.as_str_name(), "STATE_"))]
    CampaignState(State),
    /// The parse task has not completed.
    #[error("{so_far}: {}", .so_far.advice())]
    ParseTask {
        /// How far it came.
        so_far: SoFar,
    },
    /// Nobody of the audience can become a target; why, by field.
    #[error("nobody of the audience can become a target: {}", .0.first().map_or("", |(_, problem)| problem))]
    NobodyAccepted(Vec<(String, String)>),
    /// Nobody is left to contact.
    #[error("the campaign has no targets that are left to do")]
    NoTargets,
    /// No account can do the work; how many have which problem.
    #[error("no account of the workspace can do this work")]
    NoAbleAccount(Vec<(Problem, i32)>),
    /// No account sees the chat.
    #[error("no account of the workspace can see the chat")]
    ChatNotVisible,
    /// Attempts are still under way.
    #[error("targets of the campaign are still under way")]
    CampaignBusy,
    /// The campaign was changed since it was read.
    #[error("the campaign has changed since it was read")]
    Etag,
    /// The file is not what it claims to be.
    #[error("the file cannot be used: {0}")]
    File(String),
    /// Part of the contract, and not served yet.
    #[error(transparent)]
    NotImplemented(#[from] Unserved),
    /// A page or resume token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The request_id.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The database.
    #[error("the database failed")]
    Db(#[from] DbErr),
    /// Another service answered with an error; passed on when it is of the catalogue.
    #[error("another service failed: {}", .0.message())]
    Upstream(Box<Status>),
    /// The caller's own stream failed.
    #[error("the caller's stream failed: {}", .0.message())]
    Caller(Box<Status>),
    /// A call was cut off before it had an effect.
    #[error("the call was cut off before it had an effect: make it again with another request_id")]
    Interrupted,
    /// The process is going down.
    #[error("this replica is shutting down: call again")]
    ShuttingDown,
    /// A fault of ours; the log has it.
    #[error("{0}")]
    Internal(&'static str),
}

/// A value of an enum in plain lower case, without the enum's prefix.
pub fn name(value: &str, prefix: &str) -> String {
    value.trim_start_matches(prefix).to_ascii_lowercase()
}

impl Error {
    /// A broken rule.
    pub fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }

    /// As the wire says it. `db` gives a failing database its name.
    pub fn into_status(self, db: &Db) -> Status {
        match self {
            Self::Db(error) | Self::Request(RequestError::Db(error)) => service_kit::server::database(db, &error),
            other => other.into(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let plain = |reason| status(reason, text.clone());
        match error {
            Error::Field { field, problem } => {
                plain(ErrorReason::FieldInvalid).with("field", field).violation(field, problem).build()
            }
            Error::Item { field, problem } => {
                plain(ErrorReason::FieldInvalid).with("field", &field).violation(field, problem).build()
            }
            Error::CampaignNotFound => plain(ErrorReason::CampaignNotFound).build(),
            Error::AccountNotFound => plain(ErrorReason::AccountNotFound).build(),
            Error::TargetNotFound => plain(ErrorReason::TargetNotFound).build(),
            Error::AudienceNotFound => plain(ErrorReason::AudienceNotFound).build(),
            Error::CampaignState(state) => plain(ErrorReason::CampaignStateWrong)
                .with("state", state.as_str_name().trim_start_matches("STATE_"))
                .build(),
            Error::ParseTask { so_far } => {
                let state = so_far.state.as_str_name().trim_start_matches("STATE_");
                let status = plain(ErrorReason::ParseTaskStateWrong).with("state", state);
                let status = status.with("results", so_far.results).with("read", so_far.read);
                match so_far.total {
                    Some(total) => status.with("total", total).build(),
                    None => status.build(),
                }
            }
            Error::NobodyAccepted(problems) => {
                let status = plain(ErrorReason::FieldInvalid).with("field", "audience");
                problems.into_iter().fold(status, |status, (field, problem)| status.violation(field, problem)).build()
            }
            Error::NoTargets => plain(ErrorReason::NoTargets).build(),
            Error::NoAbleAccount(problems) => problems
                .iter()
                .fold(plain(ErrorReason::NoAbleAccount), |status, (problem, count)| {
                    status.with(&name(problem.as_str_name(), "PROBLEM_"), count)
                })
                .build(),
            Error::ChatNotVisible => plain(ErrorReason::ChatNotVisible).build(),
            Error::CampaignBusy => plain(ErrorReason::CampaignBusy).build(),
            Error::Etag => plain(ErrorReason::EtagMismatch).build(),
            Error::File(problem) => plain(ErrorReason::FileInvalid).with("problem", problem).build(),
            Error::NotImplemented(unserved) => unserved.into(),
            Error::Token(error) => error.into(),
            Error::Request(error) => error.to_status().unwrap_or_else(|| {
                tracing::error!(%error, "the request store failed");
                service_kit::server::internal()
            }),
            Error::Upstream(status) => match tgmesh_proto::status::read(&status) {
                Some(failure) => {
                    let copy =
                        tgmesh_proto::status::status(failure.reason, status.message()).retry_after(failure.retry_after);
                    let copy = failure.metadata.iter().fold(copy, |copy, (key, value)| copy.with(key, value));
                    failure.violations.into_iter().fold(copy, |copy, (field, text)| copy.violation(field, text)).build()
                }
                None => {
                    tracing::error!(code = ?status.code(), message = status.message(), "another service failed");
                    service_kit::server::internal()
                }
            },
            Error::Caller(status) => *status,
            Error::Interrupted => plain(ErrorReason::Conflict).build(),
            Error::ShuttingDown => plain(ErrorReason::ShuttingDown).build(),
            Error::Db(error) => {
                tracing::error!(%error, "the database failed");
                service_kit::server::internal()
            }
            Error::Internal(fault) => {
                tracing::error!(fault, "internal error");
                service_kit::server::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::parsing::v1::parse_task::State as TaskState;

    #[test]
    fn every_error_has_its_reason() {
        let upstream = status(ErrorReason::ChatNotFound, "no").with("x", 1).build();
        for (error, reason) in [
            (Error::field("chat", "is no chat"), ErrorReason::FieldInvalid),
            (Error::Item { field: "people[1]".into(), problem: "is empty".into() }, ErrorReason::FieldInvalid),
            (Error::CampaignNotFound, ErrorReason::CampaignNotFound),
            (Error::AccountNotFound, ErrorReason::AccountNotFound),
            (Error::TargetNotFound, ErrorReason::TargetNotFound),
            (Error::AudienceNotFound, ErrorReason::AudienceNotFound),
            (Error::CampaignState(State::Running), ErrorReason::CampaignStateWrong),
            (
                Error::ParseTask { so_far: SoFar { state: TaskState::Running, results: 1, read: 2, total: None } },
                ErrorReason::ParseTaskStateWrong,
            ),
            (Error::NobodyAccepted(vec![("audience".into(), "x".into())]), ErrorReason::FieldInvalid),
            (Error::NoTargets, ErrorReason::NoTargets),
            (Error::NoAbleAccount(vec![(Problem::NoRights, 2)]), ErrorReason::NoAbleAccount),
            (Error::ChatNotVisible, ErrorReason::ChatNotVisible),
            (Error::CampaignBusy, ErrorReason::CampaignBusy),
            (Error::Etag, ErrorReason::EtagMismatch),
            (Error::File("binary".into()), ErrorReason::FileInvalid),
            (Unserved::method("GetDashboard").into(), ErrorReason::NotImplemented),
            (Error::Token(TokenError::Page), ErrorReason::PageTokenInvalid),
            (Error::Token(TokenError::Resume), ErrorReason::ResumeTokenInvalid),
            (Error::Request(RequestError::Reused(uuid::Uuid::nil())), ErrorReason::RequestIdReused),
            (Error::Db(DbErr::Custom("x".into())), ErrorReason::Internal),
            (Error::Upstream(Box::new(upstream)), ErrorReason::ChatNotFound),
            (Error::Upstream(Box::new(Status::from_error("x".into()))), ErrorReason::Internal),
            (Error::Interrupted, ErrorReason::Conflict),
            (Error::ShuttingDown, ErrorReason::ShuttingDown),
            (Error::Internal("x"), ErrorReason::Internal),
        ] {
            let text = error.to_string();
            let status = Status::from(error);
            let failure = tgmesh_proto::status::read(&status).unwrap();
            assert_eq!(failure.reason, reason, "{text}");
            assert_eq!(status.code(), reason.code(), "{text}");
        }
    }

    #[test]
    fn counts_go_out_as_metadata() {
        let status = Status::from(Error::NoAbleAccount(vec![(Problem::NoRights, 2), (Problem::Paused, 1)]));
        let failure = tgmesh_proto::status::read(&status).unwrap();
        assert_eq!(failure.metadata["no_rights"], "2");
        assert_eq!(failure.metadata["paused"], "1");
    }
}
