//! The state machine of campaigns: one table for every call and the engine.

use tgmesh_proto::invite::v1::campaign::{AllowedAction, State};

/// What can happen to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The user starts it.
    Start,
    /// The user stops it.
    Pause,
    /// The user lets it go on.
    Resume,
    /// The user gives it up.
    Cancel,
    /// The user changes its fields.
    Update,
    /// The user deletes it.
    Delete,
    /// Every target has an outcome.
    Complete,
    /// Its chat cannot be worked with.
    Fail,
}

/// Where a change leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// To a state.
    State(State),
    /// Nowhere: the state stays.
    Same,
    /// The campaign is gone.
    Gone,
}

/// One change: the states in which it may happen, and where it leads.
#[derive(Debug, Clone, Copy)]
pub struct Transition {
    /// What happens.
    pub change: Change,
    /// In which states.
    pub from: &'static [State],
    /// Where it leads.
    pub to: To,
    /// The action by which users make it, unless it happens by itself.
    pub action: Option<AllowedAction>,
}

/// All of them. A campaign that has ended is never changed again: completion
/// cannot override a cancel, nor a late answer wake a campaign up. Answers that
/// come after a pause may still complete or fail it.
pub const TRANSITIONS: &[Transition] = &[
    Transition {
        change: Change::Start,
        from: &[State::Draft, State::Scheduled],
        to: To::State(State::Running),
        action: Some(AllowedAction::Start),
    },
    Transition {
        change: Change::Pause,
        from: &[State::Running],
        to: To::State(State::Paused),
        action: Some(AllowedAction::Pause),
    },
    Transition {
        change: Change::Resume,
        from: &[State::Paused],
        to: To::State(State::Running),
        action: Some(AllowedAction::Resume),
    },
    Transition {
        change: Change::Cancel,
        from: &[State::Scheduled, State::Running, State::Paused],
        to: To::State(State::Cancelled),
        action: Some(AllowedAction::Cancel),
    },
    Transition {
        change: Change::Update,
        from: &[State::Draft, State::Paused],
        to: To::Same,
        action: Some(AllowedAction::Update),
    },
    Transition {
        change: Change::Delete,
        from: &[State::Draft, State::Completed, State::Cancelled, State::Failed],
        to: To::Gone,
        action: Some(AllowedAction::Delete),
    },
    Transition {
        change: Change::Complete,
        from: &[State::Running, State::Paused],
        to: To::State(State::Completed),
        action: None,
    },
    Transition {
        change: Change::Fail,
        from: &[State::Running, State::Paused],
        to: To::State(State::Failed),
        action: None,
    },
];

/// The row of a change.
pub fn transition(change: Change) -> &'static Transition {
    TRANSITIONS.iter().find(|transition| transition.change == change).expect("every change has its row")
}

/// Whether a change may happen in this state.
pub fn allows(state: State, change: Change) -> bool {
    transition(change).from.contains(&state)
}

/// What the user may do next.
pub fn allowed_actions(state: State) -> Vec<AllowedAction> {
    TRANSITIONS
        .iter()
        .filter(|transition| transition.from.contains(&state))
        .filter_map(|transition| transition.action)
        .collect()
}

/// Whether nothing changes it any more.
pub fn is_final(state: State) -> bool {
    matches!(state, State::Completed | State::Cancelled | State::Failed)
}

/// A list of states as SQL writes it.
pub fn sql_list(states: &[State]) -> String {
    states.iter().map(|state| (*state as i32).to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 7] = [
        State::Draft,
        State::Scheduled,
        State::Running,
        State::Paused,
        State::Completed,
        State::Cancelled,
        State::Failed,
    ];
    const CHANGES: [Change; 8] = [
        Change::Start,
        Change::Pause,
        Change::Resume,
        Change::Cancel,
        Change::Update,
        Change::Delete,
        Change::Complete,
        Change::Fail,
    ];

    /// Every state against every change, written out by hand.
    #[test]
    fn the_table_is_this_and_nothing_else() {
        #[rustfmt::skip]
        let expected: [(State, [bool; 8]); 7] = [
            //                  start  pause  resume cancel update delete complete fail
            (State::Draft,     [true,  false, false, false, true,  true,  false, false]),
            (State::Scheduled, [true,  false, false, true,  false, false, false, false]),
            (State::Running,   [false, true,  false, true,  false, false, true,  true ]),
            (State::Paused,    [false, false, true,  true,  true,  false, true,  true ]),
            (State::Completed, [false, false, false, false, false, true,  false, false]),
            (State::Cancelled, [false, false, false, false, false, true,  false, false]),
            (State::Failed,    [false, false, false, false, false, true,  false, false]),
        ];
        for (state, row) in expected {
            for (change, allowed) in CHANGES.iter().zip(row) {
                assert_eq!(allows(state, *change), allowed, "{state:?} {change:?}");
            }
        }
    }

    #[test]
    fn what_has_ended_can_only_be_deleted() {
        for state in STATES.into_iter().filter(|state| is_final(*state)) {
            assert_eq!(allowed_actions(state), [AllowedAction::Delete], "{state:?}");
        }
    }

    #[test]
    fn every_change_has_one_row() {
        for change in CHANGES {
            assert_eq!(TRANSITIONS.iter().filter(|transition| transition.change == change).count(), 1, "{change:?}");
        }
    }
}
