//! Everything that can go wrong in a call, and what the caller learns of it.

use std::time::Duration;

use sea_orm::DbErr;
use service_kit::db::Db;
use service_kit::paging::TokenError;
use service_kit::requests::RequestError;
use service_kit::server;
use service_kit::unserved::Unserved;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::parsing::v1::parse_task::State;
use tonic::{Code, Status};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields break a rule that the contract cannot state: path and rule of each.
    #[error("{}", .0.first().map(|(field, rule)| format!("{field}: {rule}")).unwrap_or_default())]
    FieldsInvalid(Vec<(String, String)>),
    /// No such task in this workspace.
    #[error("no such parse task")]
    TaskNotFound,
    /// No such contact in this workspace.
    #[error("no such contact")]
    ContactNotFound,
    /// The task's state does not allow this.
    #[error("the parse task is {}", state_name(*.0))]
    StateWrong(State),
    /// A page or resume token that is not one of ours.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A cursor of StreamResults that is not one of ours.
    #[error("the cursor is not one of this task's results")]
    Cursor,
    /// The request's id.
    #[error(transparent)]
    Request(RequestError),
    /// Part of the contract, and not served yet.
    #[error(transparent)]
    NotImplemented(#[from] Unserved),
    /// The integration service answered with an error.
    #[error("the integration service refused: {}", .0.message())]
    Integration(Box<Status>),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] DbErr),
    /// A row cannot be read as what it must be.
    #[error("a stored value cannot be read: {0}")]
    Stored(&'static str),
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Db(error) => Self::Db(error),
            other => Self::Request(other),
        }
    }
}

impl Error {
    /// One field that breaks a rule.
    pub fn field(path: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::FieldsInvalid(vec![(path.into(), rule.into())])
    }

    /// The reason of the catalogue, when the error decides it.
    pub fn reason(&self) -> Option<ErrorReason> {
        Some(match self {
            Self::FieldsInvalid(_) => ErrorReason::FieldInvalid,
            Self::TaskNotFound => ErrorReason::ParseTaskNotFound,
            Self::ContactNotFound => ErrorReason::ContactNotFound,
            Self::StateWrong(_) => ErrorReason::ParseTaskStateWrong,
            Self::Token(TokenError::Page) => ErrorReason::PageTokenInvalid,
            Self::Token(TokenError::Resume) | Self::Cursor => ErrorReason::ResumeTokenInvalid,
            Self::Request(RequestError::Reused(_)) => ErrorReason::RequestIdReused,
            Self::NotImplemented(_) => ErrorReason::NotImplemented,
            Self::Integration(status) => tgmesh_proto::status::reason(status)?,
            Self::Request(_) | Self::Stored(_) => ErrorReason::Internal,
            // Whether it is unreachable or refused is decided with its name at hand.
            Self::Db(_) => return None,
        })
    }

    /// The status code that goes with the reason.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Integration(status) => Some(status.code()),
            other => other.reason().map(ErrorReason::code),
        }
    }

    /// When a repeat may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Integration(status) => tgmesh_proto::status::read(status)?.retry_after,
            _ => None,
        }
    }
}

/// An error on its way to the wire; the database is named when it is at fault.
#[derive(Debug)]
pub struct Failure<'a> {
    /// The service's database.
    pub db: &'a Db,
    /// What went wrong.
    pub error: Error,
}

/// The one way from an error to the wire.
impl From<Failure<'_>> for Status {
    fn from(Failure { db, error }: Failure<'_>) -> Self {
        use tgmesh_proto::status::status;
        let text = error.to_string();
        let Some(reason) = error.reason() else {
            return match error {
                Error::Db(error) => server::database(db, &error),
                // What is of the transport has been named; this is a bug of one of us.
                Error::Integration(status) => {
                    tracing::error!(code = ?status.code(), message = status.message(), "the integration service failed");
                    server::internal()
                }
                _ => server::internal(),
            };
        };
        let builder = status(reason, text);
        match error {
            Error::FieldsInvalid(violations) => {
                let field = violations.first().map(|(field, _)| field.clone()).unwrap_or_default();
                violations
                    .into_iter()
                    .fold(builder.with("field", field), |builder, (field, rule)| builder.violation(field, rule))
                    .build()
            }
            Error::StateWrong(state) => builder.with("state", state_name(state)).build(),
            Error::Token(error) => error.into(),
            Error::Cursor => {
                builder.with("field", "cursor").violation("cursor", "is not one of this task's results").build()
            }
            Error::Request(error) => error.to_status().unwrap_or_else(server::internal),
            Error::NotImplemented(unserved) => unserved.into(),
            Error::Integration(status) => *status,
            Error::Stored(what) => {
                tracing::error!(what, "a stored value cannot be read");
                server::internal()
            }
            Error::Db(error) => server::database(db, &error),
            Error::TaskNotFound | Error::ContactNotFound => builder.build(),
        }
    }
}

/// A state as metadata and texts write it.
pub fn state_name(state: State) -> &'static str {
    state.as_str_name().trim_start_matches("STATE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error, its reason and code, and a metadata entry that comes with it.
    type Row = (Error, ErrorReason, Code, Option<(&'static str, &'static str)>);

    async fn db() -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db?mode=rwc", dir.path().display());
        let db = Db::connect(&url.into(), 1).await.unwrap();
        (dir, db)
    }

    #[tokio::test]
    async fn every_error_has_its_reason_code_and_details() {
        let (_dir, db) = db().await;
        let upstream = tgmesh_proto::status::status(ErrorReason::NoAccountAvailable, "none")
            .retry_after(Some(Duration::from_secs(7)))
            .build();
        let id = uuid::Uuid::from_u128(5);
        let table: Vec<Row> = vec![
            (
                Error::field("sources[1]", "is no chat"),
                ErrorReason::FieldInvalid,
                Code::InvalidArgument,
                Some(("field", "sources[1]")),
            ),
            (Error::TaskNotFound, ErrorReason::ParseTaskNotFound, Code::NotFound, None),
            (Error::ContactNotFound, ErrorReason::ContactNotFound, Code::NotFound, None),
            (
                Error::StateWrong(State::Completed),
                ErrorReason::ParseTaskStateWrong,
                Code::FailedPrecondition,
                Some(("state", "COMPLETED")),
            ),
            (
                Error::Token(TokenError::Page),
                ErrorReason::PageTokenInvalid,
                Code::InvalidArgument,
                Some(("field", "page_token")),
            ),
            (
                Error::Token(TokenError::Resume),
                ErrorReason::ResumeTokenInvalid,
                Code::InvalidArgument,
                Some(("field", "resume_token")),
            ),
            (Error::Cursor, ErrorReason::ResumeTokenInvalid, Code::InvalidArgument, Some(("field", "cursor"))),
            (
                Error::Request(RequestError::Reused(id)),
                ErrorReason::RequestIdReused,
                Code::InvalidArgument,
                Some(("request_id", "00000000-0000-0000-0000-000000000005")),
            ),
            (
                Unserved::method("EraseContact").into(),
                ErrorReason::NotImplemented,
                Code::Unimplemented,
                Some(("method", "EraseContact")),
            ),
            (Error::Integration(Box::new(upstream)), ErrorReason::NoAccountAvailable, Code::ResourceExhausted, None),
            (Error::Stored("chat"), ErrorReason::Internal, Code::Internal, None),
            (Error::Db(DbErr::Custom("x".to_owned())), ErrorReason::Internal, Code::Internal, None),
        ];
        for (error, reason, code, metadata) in table {
            let (text, retry_after) = (error.to_string(), error.retry_after());
            let status = Status::from(Failure { db: &db, error });
            let failure = tgmesh_proto::status::read(&status).expect("of the catalogue");
            assert_eq!((failure.reason, status.code()), (reason, code), "{text}");
            assert_eq!(failure.retry_after, retry_after, "{text}");
            if let Some((key, value)) = metadata {
                assert_eq!(failure.metadata.get(key).map(String::as_str), Some(value), "{text}");
            }
            if code == Code::InvalidArgument {
                assert!(!failure.violations.is_empty(), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn an_answer_of_no_catalogue_is_a_fault_of_ours() {
        let (_dir, db) = db().await;
        let error = Error::Integration(Box::new(Status::from_error("no such thing".into())));
        let status = Status::from(Failure { db: &db, error });
        assert_eq!(tgmesh_proto::status::reason(&status), Some(ErrorReason::Internal));
    }
}
