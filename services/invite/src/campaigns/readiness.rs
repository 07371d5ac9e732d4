//! Which accounts can do a campaign's work.

use std::collections::BTreeMap;

use service_kit::identity::Acting;
use tgmesh_proto::lease::v1::Purpose;
use tgmesh_proto::telegram::v1::account_readiness::{Problem, Right};
use tgmesh_proto::telegram::v1::{AccountReadiness, Chat, GetChatRightsRequest, GetChatRightsResponse};

use crate::app::App;
use crate::error::Error;

/// What every account says of a chat.
#[derive(Debug)]
pub struct Readiness {
    /// The chat, when an account sees it.
    pub chat: Option<Chat>,
    /// Every account of the workspace.
    pub accounts: Vec<AccountReadiness>,
}

/// Asks the integration service, which asks account by account and keeps each
/// answer for 10 minutes.
///
/// # Errors
/// As `GetChatRights`.
pub async fn ask(app: &App, acting: Acting, chat: &str) -> Result<Readiness, Error> {
    ask_of(app, acting, chat, Vec::new()).await
}

/// The same of some accounts; of all when none is named.
///
/// # Errors
/// As `GetChatRights`.
pub async fn ask_of(app: &App, acting: Acting, chat: &str, account_ids: Vec<String>) -> Result<Readiness, Error> {
    let request = GetChatRightsRequest { chat: chat.to_owned(), purpose: Purpose::Invite as i32, account_ids };
    let answer = app.telegram().get_chat_rights(acting.request(request)).await;
    let GetChatRightsResponse { chat, accounts } = answer.map_err(|status| app.integration_error(status))?.into_inner();
    Ok(Readiness { chat, accounts })
}

impl Readiness {
    /// The chat.
    ///
    /// # Errors
    /// `ChatNotVisible`.
    pub fn visible(&self) -> Result<&Chat, Error> {
        self.chat.as_ref().ok_or(Error::ChatNotVisible)
    }

    /// Accounts that can begin now.
    pub fn ready(&self) -> i32 {
        i32::try_from(self.accounts.iter().filter(|account| account.ready).count()).unwrap_or(i32::MAX)
    }

    /// Fails unless an account can do the work, now or once a limit or a
    /// restriction with a known end is over: those a campaign waits for.
    ///
    /// # Errors
    /// `ChatNotVisible`, `NoAbleAccount` with the number of accounts by problem.
    pub fn able(&self) -> Result<(), Error> {
        if self.accounts.iter().any(has_looked) {
            self.visible()?;
        }
        if self.accounts.iter().any(is_able) {
            return Ok(());
        }
        let mut problems: BTreeMap<i32, i32> = BTreeMap::new();
        for account in &self.accounts {
            *problems.entry(account.problem).or_default() += 1;
        }
        let problems = problems.into_iter();
        Err(Error::NoAbleAccount(
            problems.map(|(problem, count)| (Problem::try_from(problem).unwrap_or_default(), count)).collect(),
        ))
    }

    /// What a full day allows all ready accounts; absent when one of them is not limited.
    pub fn capacity_per_day(&self) -> Option<i32> {
        let mut ready = self.accounts.iter().filter(|account| account.ready);
        ready.try_fold(0_i32, |sum, account| Some(sum.saturating_add(account.capacity_per_day?)))
    }
}

/// Whether the account was asked for the chat: one that must not work is not.
fn has_looked(account: &AccountReadiness) -> bool {
    match account.problem() {
        Problem::Unspecified
        | Problem::Limit
        | Problem::NotAMember
        | Problem::NoRights
        | Problem::ChatNotVisible
        | Problem::Unreachable => true,
        Problem::Paused | Problem::Restricted | Problem::SessionLost | Problem::PurposeNotAllowed | Problem::Bot => {
            false
        }
    }
}

/// Whether the account can do the work, or will be able to without anybody's doing. That it has the right must be
/// known: who waits for nothing would wait for ever.
fn is_able(account: &AccountReadiness) -> bool {
    let waits = match account.problem() {
        Problem::Limit => true,
        Problem::Restricted => account.until_time.is_some(),
        Problem::Unspecified
        | Problem::Paused
        | Problem::SessionLost
        | Problem::PurposeNotAllowed
        | Problem::NotAMember
        | Problem::NoRights
        | Problem::ChatNotVisible
        | Problem::Unreachable
        | Problem::Bot => false,
    };
    account.ready || (waits && account.right() == Right::Held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(problem: Problem) -> AccountReadiness {
        let right = match problem {
            Problem::NotAMember | Problem::NoRights | Problem::ChatNotVisible => Right::Lacking,
            _ => Right::Held,
        };
        let ready = problem == Problem::Unspecified;
        AccountReadiness { ready, problem: problem.into(), right: right.into(), ..Default::default() }
    }

    fn readiness(accounts: Vec<AccountReadiness>) -> Readiness {
        Readiness { chat: Some(Chat::default()), accounts }
    }

    #[test]
    fn one_able_account_is_enough() {
        assert!(readiness(vec![account(Problem::NoRights), account(Problem::Unspecified)]).able().is_ok());
        assert!(readiness(vec![account(Problem::Limit)]).able().is_ok());
        let mut flooded = account(Problem::Restricted);
        assert!(readiness(vec![flooded.clone()]).able().is_err());
        flooded.until_time = Some(prost_types::Timestamp::default());
        assert!(readiness(vec![flooded]).able().is_ok());
    }

    #[test]
    fn whose_right_is_not_known_is_not_able() {
        for problem in [Problem::Restricted, Problem::Limit] {
            let until_time = Some(prost_types::Timestamp::default());
            let unknown = AccountReadiness { until_time, right: Right::Unspecified.into(), ..account(problem) };
            let Err(Error::NoAbleAccount(problems)) = readiness(vec![unknown]).able() else { panic!("{problem:?}") };
            assert_eq!(problems, [(problem, 1)]);
        }
    }

    #[test]
    fn who_is_unable_is_counted() {
        let accounts = vec![account(Problem::NoRights), account(Problem::NoRights), account(Problem::Paused)];
        let Err(Error::NoAbleAccount(problems)) = readiness(accounts).able() else { panic!("somebody is able") };
        assert_eq!(problems, [(Problem::Paused, 1), (Problem::NoRights, 2)]);
        assert!(matches!(readiness(vec![]).able(), Err(Error::NoAbleAccount(problems)) if problems.is_empty()));
        let unseen = Readiness { chat: None, accounts: vec![account(Problem::Unspecified)] };
        assert!(matches!(unseen.able(), Err(Error::ChatNotVisible)));
        let paused = Readiness { chat: None, accounts: vec![account(Problem::Paused)] };
        assert!(matches!(paused.able(), Err(Error::NoAbleAccount(problems)) if problems == [(Problem::Paused, 1)]));
    }

    #[test]
    fn capacity_is_that_of_the_ready() {
        let with = |capacity| AccountReadiness { capacity_per_day: capacity, ..account(Problem::Unspecified) };
        assert_eq!(
            readiness(vec![with(Some(15)), with(Some(15)), account(Problem::Paused)]).capacity_per_day(),
            Some(30)
        );
        assert_eq!(readiness(vec![with(Some(15)), with(None)]).capacity_per_day(), None);
        assert_eq!(readiness(vec![]).capacity_per_day(), Some(0));
    }
}
