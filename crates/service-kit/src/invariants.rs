//! The invariants that tests, the demo's verdict and the model refer to by name.
//!
//! Where the code itself can notice that one is broken it says so with
//! [`Invariant::broken`]: the log gets a line, and the admin port's
//! `/invariants` counts it. `docs/invariants.md` tells people of them.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// How often each was found broken in this process, in the order of [`ALL`].
static BROKEN: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

impl Invariant {
    /// Says that it was found broken.
    pub fn broken(self, what: impl fmt::Display) {
        tracing::error!(invariant = self.name, %what, "invariant broken");
        if let Some(counter) = self.counter() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says so unless it holds, and answers whether it does.
    pub fn check<T: fmt::Display>(self, holds: bool, what: impl FnOnce() -> T) -> bool {
        if !holds {
            self.broken(what());
        }
        holds
    }

    /// How often it was found broken in this process.
    pub fn count(self) -> u64 {
        self.counter().map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn counter(self) -> Option<&'static AtomicU64> {
        ALL.iter().position(|known| *known == self).map(|at| &BROKEN[at])
    }
}

/// A line each: the name, how often it was found broken in this process, and
/// what must hold.
pub fn counts() -> String {
    ALL.iter().fold(String::new(), |mut lines, invariant| {
        let _ = writeln!(lines, "{} {} {}", invariant.name, invariant.count(), invariant.statement);
        lines
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_counted_under_its_name() {
        // Nothing else in this binary breaks it.
        assert!(QUOTA_1.check(true, || "nothing"));
        assert_eq!(QUOTA_1.count(), 0);
        assert!(!QUOTA_1.check(false, || "31 of 30"));
        QUOTA_1.broken("32 of 30");
        assert!(counts().contains("QUOTA-1 2 no limit of an account is exceeded\n"), "{}", counts());
    }

    #[test]
    fn the_document_tells_of_each_and_of_no_other() {
        let document = include_str!("../../../docs/invariants.md");
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<String> = rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | ")).collect();
        let expected: Vec<String> =
            ALL.iter().map(|invariant| format!("| `{}` | {}", invariant.name, invariant.statement)).collect();
        assert_eq!(rows, expected);
    }
}
