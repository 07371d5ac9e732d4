//! Builds and reads the errors of the catalogue.

#![warn(clippy::all)]

use std::collections::HashMap;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::ErrorReason;

/// The domain of every `google.rpc.ErrorInfo` that tgmesh sends.
pub const DOMAIN: &str = "tgmesh";

impl ErrorReason {
    /// The reason as it stands in `ErrorInfo.reason`, such as `STALE_LEASE`.
    pub fn as_reason(self) -> &'static str {
        self.as_str_name().trim_start_matches("ERROR_REASON_")
    }

    /// The reason behind an `ErrorInfo.reason`.
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::from_str_name(&format!("ERROR_REASON_{reason}")).filter(|reason| *reason != Self::Unspecified)
    }
}

/// A status of the catalogue under construction.
#[derive(Debug, Clone)]
pub struct Builder {
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
    violations: Vec<(String, String)>,
}

/// Starts a status with this reason; `message` is safe for the caller to read.
pub fn status(reason: ErrorReason, message: impl Into<String>) -> Builder {
    Builder { reason, message: message.into(), metadata: HashMap::new(), retry_after: None, violations: Vec::new() }
}

impl Builder {
    /// Adds a value to `ErrorInfo.metadata`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds a `RetryInfo`.
    #[must_use]
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// Adds a field violation to `BadRequest`.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push((field.into(), description.into()));
        self
    }

    /// The finished status.
    pub fn build(self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason.as_reason(), DOMAIN, self.metadata);
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        for (field, description) in self.violations {
            details.add_bad_request_violation(field, description);
        }
        Status::with_error_details(self.reason.code(), self.message, details)
    }
}

/// What a client can read from a status of the catalogue.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The reason.
    pub reason: ErrorReason,
    /// `ErrorInfo.metadata`.
    pub metadata: HashMap<String, String>,
    /// `RetryInfo.retry_delay`.
    pub retry_after: Option<Duration>,
    /// Path and description of each `BadRequest` violation.
    pub violations: Vec<(String, String)>,
}

/// Reads the details of a status; `None` when it is not of the catalogue, such
/// as a transport failure.
pub fn read(status: &Status) -> Option<Failure> {
    let details = status.get_error_details();
    let info = details.error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    Some(Failure {
        reason: ErrorReason::from_reason(&info.reason)?,
        metadata: info.metadata.clone(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        violations: details
            .bad_request()
            .map(|bad| bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect())
            .unwrap_or_default(),
    })
}

/// The reason of a status, when it is of the catalogue.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    read(status).map(|failure| failure.reason)
}
