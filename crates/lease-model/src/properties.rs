//! What must hold in every state, by the names of `docs/invariants.md`.

use crate::Model;
use crate::state::{Replica, State, Token};

/// At most one holder per account.
pub const LEASE_1: &str = "LEASE-1";
/// Tokens never decrease on the wire.
pub const LEASE_2: &str = "LEASE-2";
/// At most one live connection per account.
pub const CONN_1: &str = "CONN-1";

impl Model {
    /// At most one holder: (a) of the holders whose guard has not run out and
    /// whose tokens are of one epoch, at most one is confirmed by the store of
    /// that epoch or would have its request accepted by a connection's owner;
    /// (b) whatever the epochs, at most one token would be accepted anywhere.
    pub fn lease_1(&self, state: &State) -> bool {
        let mut accepted = state.replicas.iter().filter_map(Replica::accepts);
        let first = accepted.next();
        if accepted.any(|token| Some(token) != first) {
            return false;
        }
        let mut entitled: Vec<u32> = self.entitled(state).map(|token| token.epoch).collect();
        entitled.sort_unstable();
        entitled.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Tokens of an account never decrease as Telegram sees its requests.
    pub fn lease_2(&self, state: &State) -> bool {
        !state.regressed
    }

    /// At most one connection of an account is live at Telegram.
    pub fn conn_1(&self, state: &State) -> bool {
        state.links().count() <= 1
    }

    /// An invariant that does not hold.
    pub fn broken(&self, state: &State) -> Option<&'static str> {
        [(LEASE_1, self.lease_1(state)), (LEASE_2, self.lease_2(state)), (CONN_1, self.conn_1(state))]
            .into_iter()
            .find_map(|(name, holds)| (!holds).then_some(name))
    }

    /// The holders who have reason to believe in their lease.
    fn entitled<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Token> {
        state.holders.iter().filter_map(|holder| holder.guard).map(|guard| guard.token).filter(|token| {
            let confirms = |store: &crate::Store| store.epoch == token.epoch && store.holds(&self.config, *token);
            state.stores.iter().any(confirms) || state.replicas.iter().any(|replica| replica.accepts() == Some(*token))
        })
    }
}

impl State {
    /// Whether a request is on its way whose lease has a successor that its
    /// owner knows of. It may happen, to one request of a connection: it was
    /// handed over before. LEASE-2 says that nothing of the successor has been
    /// on the wire before it.
    pub fn late_request(&self) -> bool {
        self.replicas.iter().any(|replica| {
            let known = replica.registry.map(|lease| lease.token);
            replica.link.is_some_and(|link| link.handed_over.is_some() && link.handed_over < known)
        })
    }
}
