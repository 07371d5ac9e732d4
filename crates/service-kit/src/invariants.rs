//! The invariants that tests, the demo's verdict and the model refer to by name.

/// Something that must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// Its name, such as `LEASE-1`.
    pub name: &'static str,
    /// What must hold.
    pub statement: &'static str,
}

/// At most one holder per account.
pub const LEASE_1: Invariant = Invariant { name: "LEASE-1", statement: "at most one holder per account" };
/// Tokens never decrease on the wire.
pub const LEASE_2: Invariant =
    Invariant { name: "LEASE-2", statement: "fencing tokens never decrease per account on the wire" };
/// One connection per account.
pub const CONN_1: Invariant =
    Invariant { name: "CONN-1", statement: "at most one live connection to Telegram per account" };
/// No limit exceeded.
pub const QUOTA_1: Invariant = Invariant { name: "QUOTA-1", statement: "no limit of an account is exceeded" };
/// Every target once.
pub const WORK_1: Invariant = Invariant { name: "WORK-1", statement: "no target has two effects, none is lost" };
/// Counters equal rows.
pub const COUNT_1: Invariant =
    Invariant { name: "COUNT-1", statement: "the states of a campaign's targets sum to its targets" };
/// The report tells what happened.
pub const REPORT_1: Invariant =
    Invariant { name: "REPORT-1", statement: "the report agrees with what Telegram recorded" };
/// Every result once.
pub const PARSE_1: Invariant = Invariant { name: "PARSE-1", statement: "every person found is one row of its task" };

/// All of them.
pub const ALL: &[Invariant] = &[LEASE_1, LEASE_2, CONN_1, QUOTA_1, WORK_1, COUNT_1, REPORT_1, PARSE_1];
