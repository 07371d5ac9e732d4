//! Leases, fencing tokens and the one connection of an account, as a state
//! machine.
#![doc = include_str!("../../../docs/lease-model.md")]

mod config;
mod event;
mod properties;
mod state;
mod step;
mod store;

pub use config::{Config, Mutant};
pub use event::{Event, Process, Rejected};
pub use properties::{CONN_1, LEASE_1, LEASE_2};
pub use state::{
    Answer, Call, Exchange, Holder, Link, Message, Ownership, Replica, Run, State, Store, Timed, Token, Write,
};

/// The state machine of one account.
#[derive(Clone, Debug)]
pub struct Model {
    /// How long things last, and what is broken.
    pub config: Config,
}

/// Why a history is no history of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event at this place cannot happen.
    Rejected(usize, Rejected),
    /// It can, and breaks this invariant.
    Broken(usize, &'static str),
}

impl Model {
    /// A deployment at its first start: the first Redis recorded and in use,
    /// and nobody has done anything.
    pub fn start(&self, holders: usize, replicas: usize) -> State {
        let store = Store { epoch: 1, ..Store::blank(&self.config, 1) };
        State {
            epochs: vec![store.run],
            last_run: store.run,
            stores: vec![store],
            copy: None,
            holders: vec![Holder::default(); holders],
            replicas: vec![Replica::default(); replicas],
            orphans: Vec::new(),
            strays: Vec::new(),
            seen: Token::default(),
            regressed: false,
        }
    }

    /// Follows a history, and returns the state at its end.
    ///
    /// # Errors
    ///
    /// The first event that cannot happen or breaks an invariant, by its place.
    pub fn replay(&self, start: State, history: impl IntoIterator<Item = Event>) -> Result<State, Verdict> {
        history.into_iter().enumerate().try_fold(start, |state, (at, event)| {
            let state = self.step(&state, event).map_err(|reason| Verdict::Rejected(at, reason))?;
            self.broken(&state).map_or(Ok(state), |name| Err(Verdict::Broken(at, name)))
        })
    }
}
