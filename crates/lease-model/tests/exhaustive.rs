//! What must hold, holds in every state that a small deployment can come to;
//! and every rule that is left out is noticed.

mod checker;

use std::io::Write as _;

use checker::{Counts, LATE, OWNED_AGAIN, Scope};
use lease_model::{CONN_1, Config, LEASE_1, LEASE_2, Mutant};
use stateright::{Checker, Model as _};

/// The least times with which everything can happen.
const SMALL: Config = Config { lease_ttl: 2, claim_ttl: 2, disconnect_delay: 2, grace: 1, slip: 0, mutant: None };
const NOTHING: Counts = Counts { crashes: 0, given_up: 0, revokes: 0, store_changes: 0, replications: 0, cuts: 0 };

/// Searches all of it, and says how much that was.
#[track_caller]
fn holds(name: &str, scope: Scope, least_states: usize, possible: &[&'static str]) {
    let checker = scope.checker().threads(2).spawn_bfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    let _ = writeln!(std::io::stderr(), "{name}: {states} states, {steps} steps, depth {depth}");
    for invariant in [LEASE_1, LEASE_2, CONN_1] {
        if let Some(path) = checker.discovery(invariant) {
            panic!("{invariant} is broken by {:#?}", path.into_actions());
        }
    }
    for name in possible {
        assert!(checker.discovery(name).is_some(), "the search never came to: {name}");
    }
    assert!(states >= least_states, "{states} states are fewer than {least_states}: what is not tried any more?");
}

/// Searches until the invariant is broken.
#[track_caller]
fn breaks(invariant: &'static str, scope: Scope) {
    let checker = Scope { judged: Some(invariant), ..scope }.checker().spawn_bfs().join();
    let (states, path) = (checker.unique_state_count(), checker.discovery(invariant));
    let path = path.unwrap_or_else(|| panic!("{invariant} was found broken in none of {states} states")).into_actions();
    let _ = writeln!(std::io::stderr(), "{invariant} broken in {} actions, {states} states", path.len());
    for action in path {
        let _ = writeln!(std::io::stderr(), "  {action:?}");
    }
}

fn mutant(mutant: Mutant) -> Config {
    Config { mutant: Some(mutant), ..SMALL }
}

/// One owner, and holders whose calls take any time, with an operator who revokes.
fn leases(config: Config) -> Scope {
    Scope { prompt_replicas: true, most: Counts { revokes: 1, ..NOTHING }, ..Scope::new(config, 2, 1) }
}

/// Replicas that hand an account's connection to and fro, and die.
fn connections(config: Config) -> Scope {
    Scope { most: Counts { crashes: 1, given_up: 1, cuts: 1, ..NOTHING }, ..Scope::new(config, 0, 2) }
}

/// Replicas that do so while Redis loses its data or is another one.
fn stores(config: Config) -> Scope {
    Scope { most: Counts { store_changes: 1, replications: 1, ..NOTHING }, numbers: 2, ..Scope::new(config, 0, 2) }
}

/// Everybody, with calls that take no time.
fn everybody(config: Config, most: Counts) -> Scope {
    Scope { most, prompt_holders: true, prompt_replicas: true, ..Scope::new(config, 2, 2) }
}

#[test]
fn one_holder_while_calls_are_slow_and_leases_are_revoked() {
    holds("leases", leases(SMALL), 1_000_000, &[LATE, OWNED_AGAIN]);
}

#[test]
fn one_connection_while_replicas_die_and_hand_over() {
    holds("connections", connections(SMALL), 300_000, &[OWNED_AGAIN]);
}

#[test]
fn one_connection_while_redis_loses_its_data() {
    holds("stores", stores(SMALL), 1_500_000, &[OWNED_AGAIN]);
}

#[test]
fn everybody_while_processes_die_and_leases_are_revoked() {
    let most = Counts { crashes: 1, revokes: 1, ..NOTHING };
    holds("everybody, crashes", Scope { numbers: 4, ..everybody(SMALL, most) }, 100_000, &[LATE, OWNED_AGAIN]);
}

#[test]
fn everybody_while_redis_loses_its_data() {
    let most = Counts { store_changes: 1, ..NOTHING };
    holds("everybody, loss", everybody(SMALL, most), 100_000, &[LATE, OWNED_AGAIN]);
}

#[test]
fn the_grace_has_to_outlast_the_servers_delay_and_the_slip() {
    for (slip, disconnect_delay) in [(0, 2), (1, 2), (0, 3)] {
        let config = Config { slip, disconnect_delay, ..SMALL };
        let enough = Config { grace: config.least_grace(), ..config };
        holds(&format!("slip {slip}, delay {disconnect_delay}"), connections(enough), 100_000, &[OWNED_AGAIN]);
        breaks(CONN_1, connections(Config { grace: enough.grace - 1, ..config }));
    }
}

#[test]
fn the_grace_has_to_outlast_a_claim_in_a_deposed_store() {
    let config = Config { claim_ttl: 3, disconnect_delay: 1, ..SMALL };
    breaks(CONN_1, stores(Config { grace: config.least_grace() - 1, ..config }));
}

#[test]
fn long_the_grace_outlasts_a_claim_in_a_deposed_store() {
    let config = Config { claim_ttl: 3, disconnect_delay: 1, ..SMALL };
    let config = Config { grace: config.least_grace(), ..config };
    holds("claims in a deposed store", stores(config), 3_000_000, &[OWNED_AGAIN]);
}

#[test]
fn long_everybody_while_redis_fails_over() {
    let most = Counts { store_changes: 1, replications: 1, ..NOTHING };
    let scope = Scope { numbers: 2, ..everybody(SMALL, most) };
    holds("everybody, failover", scope, 3_000_000, &[LATE, OWNED_AGAIN]);
}

#[test]
fn long_one_holder_while_calls_are_given_up() {
    let most = Counts { given_up: 1, ..NOTHING };
    holds("leases, calls given up", Scope { most, ..leases(SMALL) }, 1_000_000, &[LATE, OWNED_AGAIN]);
}

#[test]
fn every_mutant_is_convicted() {
    breaks(LEASE_1, leases(mutant(Mutant::RenewWithoutToken)));
    breaks(LEASE_1, leases(mutant(Mutant::AnswerBeforeRegistration)));
    breaks(LEASE_1, Scope { numbers: 4, ..everybody(mutant(Mutant::RegistryKept), Counts { revokes: 1, ..NOTHING }) });
    breaks(LEASE_2, leases(mutant(Mutant::CheckedApart)));
    breaks(LEASE_2, everybody(mutant(Mutant::EpochIgnored), Counts { store_changes: 1, ..NOTHING }));
    breaks(CONN_1, connections(mutant(Mutant::NoGrace)));
    breaks(CONN_1, connections(mutant(Mutant::NoSelfFence)));
    breaks(CONN_1, connections(mutant(Mutant::DisownBeforeClosed)));
    breaks(CONN_1, connections(mutant(Mutant::DeadlineFromAnswer)));
    breaks(CONN_1, stores(mutant(Mutant::NoGraceAfterStoreLoss)));
    breaks(CONN_1, stores(mutant(Mutant::DeposedStoreBelieved)));
}
