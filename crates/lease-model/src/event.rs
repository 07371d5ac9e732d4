//! What can happen, and why it could not have.

use std::fmt;

use crate::state::{Answer, Call, Run, Token, Write};

/// A process, by its place in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// One that works with the account.
    Holder(usize),
    /// One that may connect it.
    Replica(usize),
}

/// A step. Where a step has a result, the event says which was observed: a
/// history is accepted only if the model comes to the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passes: one tick, for everybody.
    Tick,
    /// A process makes a call to a run of Redis that it believes to have this
    /// epoch.
    Ask {
        /// Who asks.
        by: Process,
        /// Whom.
        run: Run,
        /// As recorded in PostgreSQL when the connection to Redis was made, or
        /// just now for claims.
        epoch: u32,
        /// What.
        call: Call,
    },
    /// The script of a call runs.
    Execute {
        /// Whose call.
        by: Process,
        /// With which result.
        answer: Answer,
    },
    /// The connection's owner hears of the lease that a holder is about to get.
    Register {
        /// Which holder.
        holder: usize,
    },
    /// The answer reaches the process that waits for it.
    Receive {
        /// Who.
        by: Process,
    },
    /// A process stops waiting for its call, which may still be executed.
    GiveUp {
        /// Who.
        by: Process,
    },
    /// A call that nobody waits for is executed after all.
    StrayArrives(usize),
    /// It never will be.
    StrayLost(usize),
    /// An operator ends the lease.
    Revoke(Run),
    /// In PostgreSQL a run of Redis other than the recorded one gets the next
    /// epoch.
    Record(Run),
    /// Redis' replica catches up with its primary.
    Replicate,
    /// The primary is another process now.
    Restart {
        /// Whether it has its data still.
        kept: bool,
    },
    /// The replica becomes the primary; the one before it does not know.
    Failover,
    /// The deposed one learns it.
    Demote,
    /// A replica of `integration` checks its claim in order to write.
    Decide {
        /// Who.
        replica: usize,
        /// What.
        write: Write,
    },
    /// It writes what it has checked.
    Written {
        /// Who.
        replica: usize,
    },
    /// It closes its connection.
    Close {
        /// Who.
        replica: usize,
    },
    /// Telegram has seen it closed, and the replica knows.
    Closed {
        /// Who.
        replica: usize,
    },
    /// A connection breaks, and both ends see it.
    Cut {
        /// Whose.
        replica: usize,
    },
    /// Only of a mutant: a request is checked before its turn comes.
    CheckEarly {
        /// Who.
        replica: usize,
        /// Of the request.
        token: Token,
    },
    /// A request is checked and handed to the connection, in one step.
    HandOver {
        /// Who.
        replica: usize,
        /// Of the request.
        token: Token,
    },
    /// It arrives at Telegram.
    Arrive {
        /// Over whose connection.
        replica: usize,
        /// Of the request.
        token: Token,
    },
    /// So does one that was in the buffers of a process that is gone.
    ArriveLate {
        /// Over which connection.
        orphan: usize,
        /// Of the request.
        token: Token,
    },
    /// A process dies, and another takes its place that knows nothing. Its
    /// call and its connection stay on their way.
    Crash {
        /// Who.
        by: Process,
    },
}

/// Why a step cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// There is no such process, store, connection or call.
    Nobody,
    /// The process waits for another call, or has another write to finish.
    Busy,
    /// The process may not ask for that in the state it is in.
    NotEntitled,
    /// The epoch is not the one that PostgreSQL has recorded for the run.
    WrongEpoch,
    /// The model comes to another result.
    OtherResult(Answer),
    /// The owner has not heard of the lease.
    Unregistered,
    /// The token is not that of the newest lease, or that has ended, or the
    /// claim or the connection has.
    Stale,
    /// A write that was checked may not wait any longer: more than
    /// [`Config::slip`](crate::Config::slip) is outside of what is promised.
    Overdue,
    /// The step is one of a mutant.
    OnlyMutants,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no such process, store, connection or call"),
            Self::Busy => f.write_str("the process has something else to finish"),
            Self::NotEntitled => f.write_str("the process may not do that in its state"),
            Self::WrongEpoch => f.write_str("the epoch is not the recorded one"),
            Self::OtherResult(answer) => write!(f, "the result would be {answer:?}"),
            Self::Unregistered => f.write_str("the owner of the connection has not heard of the lease"),
            Self::Stale => f.write_str("the token is stale, or the claim or the connection has ended"),
            Self::Overdue => f.write_str("a checked write may not wait any longer"),
            Self::OnlyMutants => f.write_str("the step is one of a mutant"),
        }
    }
}

impl std::error::Error for Rejected {}
