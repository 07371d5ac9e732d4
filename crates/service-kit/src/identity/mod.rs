//! Who makes a call, and for whom.
//!
//! Every call carries a signed token (a JWT with EdDSA). A user's token is made
//! by the issuer of users: the gateway, or in the embedded profile a local key.
//! A service's token is made by that service with its own key, names the service
//! it is for, the user and workspace acted for, and lives at most 60 seconds.
//! The user is who the verified token says, never a field of a request.

mod keys;
mod token;

use std::fmt;

use tgmesh_proto::{Caller, ErrorReason, MethodInfo};
use tonic::{Extensions, Request, Status};
use uuid::Uuid;

pub use keys::{KeyError, SigningKey, TrustedKeys, random_seed, secret_file};
pub use token::{Issuer, TokenError, Verifier};

use crate::clock::Time;

/// Name of the issuer of users' tokens.
pub const USERS: &str = "gateway";

/// A service that calls others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The integration service.
    Integration,
    /// The invite service.
    Invite,
    /// The parsing service.
    Parsing,
}

impl Service {
    /// Its name, as tokens and configuration write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Integration => "integration",
            Self::Invite => "invite",
            Self::Parsing => "parsing",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Integration, Self::Invite, Self::Parsing].into_iter().find(|service| service.name() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who makes a call: a user, or a service that acts for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: Uuid,
    /// The workspace: the owner of everything the call sees.
    pub workspace_id: Uuid,
    /// The service that calls; `None` when the user calls himself.
    pub service: Option<Service>,
    /// Whether the user is an operator of the deployment.
    pub operator: bool,
    /// When the token ends.
    pub expires_at: Time,
}

impl Identity {
    /// The service's name, or `user`.
    pub fn service_name(&self) -> &'static str {
        self.service.map_or("user", Service::name)
    }

    /// Who acts, for journals: the user, or the service for the user.
    pub fn actor(&self) -> String {
        match self.service {
            Some(service) => format!("{service} for {}", self.user_id),
            None => self.user_id.to_string(),
        }
    }

    /// For whom a service acts when it goes on with this caller's work.
    pub fn acting(&self) -> Acting {
        Acting { user_id: self.user_id, workspace_id: self.workspace_id }
    }

    /// Whether the contract admits this caller to the method.
    pub fn may_call(&self, method: &MethodInfo) -> bool {
        method.callers.iter().any(|caller| match caller {
            Caller::User => self.service.is_none(),
            Caller::Operator => self.service.is_none() && self.operator,
            Caller::Invite => self.service == Some(Service::Invite),
            Caller::Parsing => self.service == Some(Service::Parsing),
        })
    }

    /// The verified caller of a request.
    ///
    /// # Errors
    /// `TOKEN_INVALID` when the identity layer did not run, which no mounted
    /// service can bring about.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        Self::from_extensions(request.extensions())
    }

    /// The verified caller, from a request's extensions.
    ///
    /// # Errors
    /// As [`Identity::of`].
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Status> {
        extensions.get::<Self>().cloned().ok_or_else(|| {
            tgmesh_proto::status::status(ErrorReason::TokenInvalid, "the call carries no verified identity").build()
        })
    }
}

/// The user and workspace that a service acts for. Travels in a request's
/// extensions to the client's signing layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Acting {
    /// The user.
    pub user_id: Uuid,
    /// The workspace.
    pub workspace_id: Uuid,
}

impl Acting {
    /// A request made for this user.
    pub fn request<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(self);
        request
    }
}
