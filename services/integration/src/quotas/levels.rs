//! Setting limits, at three levels: the deployment, a workspace, an account.
//!
//! What the deployment's configuration says holds until an operator sets the
//! level; from then on the stored level replaces it as a whole. The levels below
//! only tighten: a looser value there has no effect while the level above is
//! tighter, and takes effect when that one is loosened.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, QuerySelect as _};
use service_kit::Identity;
use service_kit::db::{Tx, is_unique_violation};
use service_kit::requests::Claim;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::limits_level::Level as WireLevel;
use tgmesh_proto::quota::v1::{LimitsLevel, UpdateLimitsRequest, UpdateLimitsResponse};
use uuid::Uuid;

use super::ledger::{ACCOUNT, GLOBAL, WORKSPACE, decode};
use super::limits::Limits;
use super::{Quotas, Scope};
use crate::availability;
use crate::entity::limit;
use crate::error::{Error, Result};

/// A level at which limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The deployment.
    Global,
    /// A workspace.
    Workspace(Uuid),
    /// An account, and its workspace.
    Account(Uuid, Uuid),
}

impl Level {
    fn key(self) -> (i32, Uuid) {
        match self {
            Self::Global => (GLOBAL, Uuid::nil()),
            Self::Workspace(id) => (WORKSPACE, id),
            Self::Account(id, _) => (ACCOUNT, id),
        }
    }
}

/// The limits of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelLimits {
    /// What is set at this level.
    pub set: Limits,
    /// Changes with each update of this level.
    pub etag: String,
    /// What results from this level and those above it.
    pub effective: Limits,
}

impl Quotas {
    /// The limits set at a level, and those that result.
    ///
    /// # Errors
    /// `CALLER_NOT_ALLOWED` for the deployment's level unless an operator asks;
    /// `ACCOUNT_NOT_FOUND`.
    pub async fn limits(&self, who: &Identity, level: &LimitsLevel) -> Result<LevelLimits> {
        let level = self.level(who, level, Scope::of(who), "GetLimits").await?;
        self.read_level(self.db.conn(), level).await.map_err(|error| self.failed(&error))
    }

    /// Sets the fields that the mask names. They hold from the next action on.
    ///
    /// # Errors
    /// As [`Quotas::limits`]; `ETAG_MISMATCH`; `FIELD_INVALID`.
    pub async fn update_limits(&self, who: &Identity, request: &UpdateLimitsRequest) -> Result<UpdateLimitsResponse> {
        let level = request.level.clone().unwrap_or_default();
        // An operator sees the limits of all, and changes the deployment's and his own.
        let level = self.level(who, &level, Scope::Workspace(who.workspace_id), "UpdateLimits").await?;
        let tx = self.db.begin().await.map_err(|error| self.failed(&error))?;
        let (answer, is_new) = match self.update_in(&tx, who, request, level).await {
            Ok(done) => {
                tx.commit().await.map_err(|error| self.failed(&error))?;
                done
            }
            Err(error) => {
                tx.rollback().await.map_err(|error| self.failed(&error))?;
                return Err(error);
            }
        };
        if is_new {
            // The slots of many accounts, some at a time. Whoever is leased or acts
            // meanwhile is held to the new limits all the same: they are read afresh.
            match level {
                Level::Global => {
                    self.refresh_all(Scope::All).await?;
                    self.wake.poke_all();
                }
                Level::Workspace(id) => {
                    self.refresh_all(Scope::Workspace(id)).await?;
                    self.wake.poke(id);
                }
                Level::Account(_, workspace_id) => self.wake.poke(workspace_id),
            }
        }
        Ok(answer)
    }

    async fn update_in(
        &self,
        tx: &Tx,
        who: &Identity,
        request: &UpdateLimitsRequest,
        level: Level,
    ) -> Result<(UpdateLimitsResponse, bool)> {
        let claim = self.requests.claim(&**tx, who, "UpdateLimits", request).await;
        let answer = match claim.map_err(|error| Error::request(&self.db, error))? {
            Claim::Repeat(answer) => return Ok((answer, false)),
            Claim::New(answer) => answer,
        };
        if let Level::Account(id, _) = level {
            availability::lock(&**tx, id).await.map_err(|error| self.failed(&error))?;
        }
        let (kind, id) = level.key();
        let row = limit::Entity::find_by_id((kind, id)).lock_exclusive().one(&**tx).await;
        let row = row.map_err(|error| self.failed(&error))?;
        let revision = row.as_ref().map_or(0, |row| row.revision);
        let mut limits = match &row {
            Some(row) => decode(&row.limits).map_err(|error| self.failed(&error))?,
            None => self.unset(level),
        };
        let wanted = request.limits.clone().unwrap_or_default();
        if !wanted.etag.is_empty() && wanted.etag != revision.to_string() {
            return Err(Error::plain(ErrorReason::EtagMismatch, "these limits were changed: read them again"));
        }
        apply(&mut limits, request, &Limits::from_wire(&wanted))?;

        let work = async {
            self.write_level(tx, level, &limits, revision + 1, row.is_none()).await?;
            if let Level::Account(id, _) = level {
                availability::refresh(&**tx, self.clock.now(), id, &self.defaults).await?;
            }
            let found = self.read_level(&**tx, level).await?;
            let response = UpdateLimitsResponse {
                limits: Some(found.set.to_wire(found.etag)),
                effective: Some(found.effective.to_wire(String::new())),
            };
            answer.answer(&**tx, &response).await?;
            Ok((response, true))
        };
        work.await.map_err(|error: DbErr| {
            if is_unique_violation(&error) {
                return Error::plain(ErrorReason::Conflict, "somebody else set these limits at the same moment");
            }
            self.failed(&error)
        })
    }

    async fn write_level(&self, tx: &Tx, level: Level, limits: &Limits, revision: i64, new: bool) -> Result<(), DbErr> {
        use limit::Column;
        let (kind, id) = level.key();
        let row = limit::ActiveModel {
            level: Set(kind),
            level_id: Set(id),
            limits: Set(limits.to_bytes()),
            revision: Set(revision),
            updated_at: Set(self.clock.now().millis()),
        };
        let mut insert = limit::Entity::insert(row);
        if !new {
            insert = insert.on_conflict(
                OnConflict::columns([Column::Level, Column::LevelId])
                    .update_columns([Column::Limits, Column::Revision, Column::UpdatedAt])
                    .to_owned(),
            );
        }
        insert.exec_without_returning(&**tx).await.map(|_| ())
    }

    async fn read_level(&self, conn: &impl ConnectionTrait, level: Level) -> Result<LevelLimits, DbErr> {
        let (set, revision) = self.stored(conn, level).await?;
        let above: &[Level] = match level {
            Level::Global => &[],
            Level::Workspace(_) => &[Level::Global],
            Level::Account(_, workspace_id) => &[Level::Global, Level::Workspace(workspace_id)],
        };
        let mut effective = set.clone();
        for level in above {
            effective = self.stored(conn, *level).await?.0.tightened(&effective);
        }
        Ok(LevelLimits { set, etag: revision.to_string(), effective })
    }

    async fn stored(&self, conn: &impl ConnectionTrait, level: Level) -> Result<(Limits, i64), DbErr> {
        let row = limit::Entity::find_by_id(level.key()).one(conn).await?;
        row.map_or_else(|| Ok((self.unset(level), 0)), |row| Ok((decode(&row.limits)?, row.revision)))
    }

    /// What a level says that nobody has set.
    fn unset(&self, level: Level) -> Limits {
        if level == Level::Global { (*self.defaults).clone() } else { Limits::NONE }
    }

    async fn level(&self, who: &Identity, level: &LimitsLevel, scope: Scope, method: &'static str) -> Result<Level> {
        match &level.level {
            Some(WireLevel::Global(_)) if who.operator && who.service.is_none() => Ok(Level::Global),
            Some(WireLevel::Global(_)) => {
                let message = "only an operator may see or set the limits of the deployment";
                Err(Error::plain(ErrorReason::CallerNotAllowed, message).with("method", method))
            }
            Some(WireLevel::Workspace(_)) => Ok(Level::Workspace(who.workspace_id)),
            Some(WireLevel::AccountId(id)) => {
                let account = self.account(scope, Uuid::parse_str(id).unwrap_or_default()).await?;
                Ok(Level::Account(account.id, account.workspace_id))
            }
            None => Err(Error::field("level", "is required")),
        }
    }

    pub(super) fn failed(&self, error: &DbErr) -> Error {
        Error::database(&self.db, error)
    }
}

/// Sets the fields that the mask names.
fn apply(limits: &mut Limits, request: &UpdateLimitsRequest, wanted: &Limits) -> Result<()> {
    let mask = request.update_mask.clone().unwrap_or_default();
    if mask.paths.is_empty() {
        return Err(Error::field("update_mask", "names no field"));
    }
    for path in &mask.paths {
        if !limits.set(path, wanted) {
            return Err(Error::field("update_mask", format!("names \"{path}\", which cannot be set")));
        }
    }
    match limits.problem() {
        Some((path, problem)) => Err(Error::field(format!("limits.{path}"), problem)),
        None => Ok(()),
    }
}
