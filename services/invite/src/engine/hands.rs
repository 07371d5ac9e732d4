//! What this process really has in hand. A target that the table gives to this
//! process and that is not in hand is an orphan like those of a dead process:
//! the database failed between two steps, and nobody here knows of it any more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The targets that are in hand.
#[derive(Debug, Clone, Default)]
pub struct Hands(Arc<Mutex<HashSet<Uuid>>>);

impl Hands {
    /// Takes a target in hand; `None` while somebody else here has it.
    pub fn take(&self, target_id: Uuid) -> Option<Hand> {
        self.held().insert(target_id).then(|| Hand { hands: self.clone(), target_id })
    }

    /// How many are in hand.
    pub fn count(&self) -> usize {
        self.held().len()
    }

    fn held(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds one target, until it is dropped.
#[derive(Debug)]
pub struct Hand {
    hands: Hands,
    target_id: Uuid,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.hands.held().remove(&self.target_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_in_one_hand() {
        let (hands, first, second) = (Hands::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let hand = hands.take(first).unwrap();
        assert!(hands.take(first).is_none());
        let other = hands.take(second).unwrap();
        assert_eq!(hands.count(), 2);
        drop(hand);
        assert!(hands.take(first).is_some());
        drop(other);
        assert_eq!(hands.count(), 0);
    }
}
