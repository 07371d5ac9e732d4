//! Each reason of the error catalogue is provoked over a real channel, by a request that a client could send; code,
//! domain and metadata are as the catalogue says.

mod accounts;
#[path = "../common/mod.rs"]
mod common;
mod outages;
mod telegram;
mod work;

use std::collections::BTreeSet;

use common::World;
use common::wire::Refusal;
use telegram_emulator::{Fault, FaultFilter, FaultKind, RpcError};
use tgmesh_proto::ErrorReason;
use tgmesh_tests::contract;
use tonic::Status;

/// What was provoked.
#[derive(Debug, Default)]
pub struct Rows {
    provoked: BTreeSet<&'static str>,
    faults: Vec<String>,
}

impl Rows {
    /// An answer that must be refused for this reason.
    pub fn row<T>(&mut self, reason: ErrorReason, answer: Result<T, Status>) {
        let name = reason.as_reason();
        let Err(status) = answer else {
            self.faults.push(format!("{name}: the call is served"));
            return;
        };
        let refusal = Refusal::of(&status);
        if refusal.reason == Some(reason) {
            self.provoked.insert(name);
            self.faults.extend(refusal.faults());
        } else {
            self.faults.push(format!("{name}: {refusal:?}"));
        }
    }

    /// A reason that stands in an answer, where one call is answered for several things.
    pub fn named(&mut self, reason: ErrorReason, found: &str) {
        let name = reason.as_reason();
        if found == name {
            self.provoked.insert(name);
        } else {
            self.faults.push(format!("{name}: the answer names {found:?}"));
        }
    }

    /// What could not be arranged is a fault as well.
    fn arranged(&mut self, what: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.faults.push(format!("{what}: {error:#}"));
        }
    }
}

/// Lets the next such request of an account meet an error of Telegram.
pub fn spoil(world: &World, account: Option<i64>, method: &str, error: &str) {
    let filter = FaultFilter { account, method: Some(method.to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::once(filter, FaultKind::Error(RpcError::by_name(error))));
}

/// People whose logins Telegram makes hard.
const DEMANDING: &str = "
[[user]]
id = 72
phone = '+49 30 8000 0072'
login_demand = 'email'

[[user]]
id = 73
phone = '+49 30 8000 0073'
login_demand = 'payment'

[[user]]
id = 74
phone = '+49 30 8000 0074'

[[user]]
id = 75
phone = '+49 30 8000 0075'
";

#[tokio::test(flavor = "multi_thread")]
async fn long_every_reason_can_be_provoked() -> anyhow::Result<()> {
    let world = World::start_with(common::UNLIMITED, DEMANDING).await?;
    let mut rows = Rows::default();
    let result = accounts::provoke(&world, &mut rows).await;
    rows.arranged("accounts", result);
    let result = telegram::provoke(&world, &mut rows).await;
    rows.arranged("telegram", result);
    let result = work::provoke(&world, &mut rows).await;
    rows.arranged("work", result);
    // Logins end after a second here.
    let short = World::start_with("[integration.rules]\nlogin_life_s = 1\n", "").await?;
    let result = accounts::expire(&short, &mut rows).await;
    rows.arranged("an expired login", result);
    short.stop().await?;
    let result = outages::provoke(&mut rows).await;
    rows.arranged("outages", result);
    assert!(rows.faults.is_empty(), "{} faults:\n  {}", rows.faults.len(), rows.faults.join("\n  "));

    let catalogue = contract::pool().get_enum_by_name("tgmesh.error.v1.ErrorReason").expect("there is one");
    let all = catalogue.values().filter(|value| value.number() != 0);
    let missing: Vec<String> = all
        .map(|value| value.name().trim_start_matches("ERROR_REASON_").to_owned())
        .filter(|name| !rows.provoked.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "nothing here provokes {missing:?}");
    world.stop().await?;
    Ok(())
}

#[test]
fn the_judge_convicts() {
    use tgmesh_proto::status::status;
    let mut rows = Rows::default();
    rows.row(
        ErrorReason::StaleLease,
        Err::<(), _>(status(ErrorReason::StaleLease, "over").with("lease_id", 1).build()),
    );
    assert_eq!(rows.faults, Vec::<String>::new());
    rows.row(ErrorReason::StaleLease, Ok(()));
    rows.row(ErrorReason::StaleLease, Err::<(), _>(status(ErrorReason::StaleLease, "no metadata").build()));
    rows.row(ErrorReason::StaleLease, Err::<(), _>(status(ErrorReason::Conflict, "another").build()));
    rows.row(ErrorReason::StaleLease, Err::<(), _>(Status::from_error("no catalogue".into())));
    rows.named(ErrorReason::ChatNotFound, "");
    assert_eq!(rows.faults.len(), 5, "{:?}", rows.faults);
    assert_eq!(rows.provoked, BTreeSet::from([ErrorReason::StaleLease.as_reason()]));
}
