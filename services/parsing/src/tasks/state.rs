//! The one table of what may happen to a task in which state.

use tgmesh_proto::parsing::v1::parse_task::{AllowedAction, State};

/// Something that happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The engine takes it.
    Start,
    /// The user stops it.
    Pause,
    /// The user lets it go on.
    Resume,
    /// The user gives it up.
    Cancel,
    /// The engine has all there is.
    Complete,
    /// The engine cannot go on.
    Fail,
    /// The user deletes it.
    Delete,
}

/// The event, the states it may happen in, and the state after it; a deleted
/// task has none.
const TRANSITIONS: &[(Event, &[State], Option<State>)] = &[
    // A running task that nobody runs any more is taken again.
    (Event::Start, &[State::Pending, State::Running], Some(State::Running)),
    (Event::Pause, &[State::Pending, State::Running], Some(State::Paused)),
    (Event::Resume, &[State::Paused], Some(State::Pending)),
    (Event::Cancel, &[State::Pending, State::Running, State::Paused], Some(State::Cancelled)),
    (Event::Complete, &[State::Running], Some(State::Completed)),
    (Event::Fail, &[State::Running], Some(State::Failed)),
    (Event::Delete, &[State::Completed, State::Cancelled, State::Failed], None),
];

/// What users may ask for, by the event it brings about.
const ACTIONS: &[(Event, AllowedAction)] = &[
    (Event::Pause, AllowedAction::Pause),
    (Event::Resume, AllowedAction::Resume),
    (Event::Cancel, AllowedAction::Cancel),
    (Event::Delete, AllowedAction::Delete),
];

impl Event {
    /// The states it may happen in.
    pub fn from(self) -> &'static [State] {
        TRANSITIONS.iter().find(|(event, ..)| *event == self).map_or(&[], |(_, from, _)| from)
    }

    /// The state after it; `None` when the task is gone.
    pub fn to(self) -> Option<State> {
        TRANSITIONS.iter().find(|(event, ..)| *event == self).and_then(|(.., to)| *to)
    }
}

/// What the user may do next.
pub fn allowed_actions(state: State) -> impl Iterator<Item = AllowedAction> {
    ACTIONS.iter().filter(move |(event, _)| event.from().contains(&state)).map(|(_, action)| *action)
}

/// Whether nothing more happens by itself, ever.
pub fn has_ended(state: State) -> bool {
    matches!(state, State::Completed | State::Cancelled | State::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] =
        [State::Pending, State::Running, State::Paused, State::Completed, State::Cancelled, State::Failed];

    #[test]
    fn every_event_has_one_row() {
        for event in
            [Event::Start, Event::Pause, Event::Resume, Event::Cancel, Event::Complete, Event::Fail, Event::Delete]
        {
            assert_eq!(TRANSITIONS.iter().filter(|(row, ..)| *row == event).count(), 1, "{event:?}");
        }
    }

    #[test]
    fn an_ended_task_can_only_be_deleted() {
        for state in STATES {
            let actions: Vec<_> = allowed_actions(state).collect();
            if has_ended(state) {
                assert_eq!(actions, [AllowedAction::Delete], "{state:?}");
                for (event, from, _) in TRANSITIONS {
                    assert!(*event == Event::Delete || !from.contains(&state), "{event:?} in {state:?}");
                }
            } else {
                assert!(actions.contains(&AllowedAction::Cancel) && !actions.contains(&AllowedAction::Delete));
            }
        }
    }

    #[test]
    fn pause_and_resume_exclude_each_other() {
        for state in STATES {
            let actions: Vec<_> = allowed_actions(state).collect();
            assert!(
                !(actions.contains(&AllowedAction::Pause) && actions.contains(&AllowedAction::Resume)),
                "{state:?}"
            );
        }
    }

    #[test]
    fn completion_never_overrides_a_cancel() {
        assert!(!Event::Complete.from().contains(&State::Cancelled));
        assert!(!Event::Fail.from().contains(&State::Paused));
    }
}
