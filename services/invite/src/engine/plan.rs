//! Which campaign gets the next worker. Pure.

use std::collections::HashMap;

use uuid::Uuid;

/// A campaign that could use another worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The campaign.
    pub id: Uuid,
    /// Its workspace.
    pub workspace_id: Uuid,
    /// `Priority`: 1 is the most urgent.
    pub priority: i32,
    /// Workers it has.
    pub workers: usize,
    /// When it was served last; grows.
    pub served: u64,
}

/// Picks up to `room` campaigns, each at most once: the most urgent first, then
/// the workspace with the fewest workers, then the campaign with the fewest,
/// then the one served longest ago.
pub fn pick(candidates: &[Candidate], all_workers: &HashMap<Uuid, usize>, room: usize) -> Vec<Uuid> {
    let mut left: Vec<&Candidate> = candidates.iter().collect();
    let mut workers = all_workers.clone();
    let mut picked = Vec::new();
    while picked.len() < room && !left.is_empty() {
        let best = left
            .iter()
            .enumerate()
            .min_by_key(|(_, candidate)| {
                let workspace = workers.get(&candidate.workspace_id).copied().unwrap_or(0);
                (candidate.priority, workspace, candidate.workers, candidate.served, candidate.id)
            })
            .map(|(at, _)| at);
        let Some(best) = best else { break };
        let best = left.swap_remove(best);
        *workers.entry(best.workspace_id).or_default() += 1;
        picked.push(best.id);
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u128, workspace: u128, priority: i32, workers: usize, served: u64) -> Candidate {
        Candidate { id: Uuid::from_u128(id), workspace_id: Uuid::from_u128(workspace), priority, workers, served }
    }

    fn picked(candidates: &[Candidate], workers: &[(u128, usize)], room: usize) -> Vec<u128> {
        let workers = workers.iter().map(|(id, workers)| (Uuid::from_u128(*id), *workers)).collect();
        pick(candidates, &workers, room).iter().map(Uuid::as_u128).collect()
    }

    #[test]
    fn urgent_campaigns_come_first() {
        let candidates = [candidate(1, 1, 3, 0, 0), candidate(2, 1, 1, 9, 9), candidate(3, 1, 4, 0, 0)];
        assert_eq!(picked(&candidates, &[(1, 9)], 2), [2, 1]);
    }

    #[test]
    fn workspaces_share_before_campaigns_do() {
        // Workspace 1 has many campaigns, workspace 2 has one: they take turns.
        let candidates = [candidate(1, 1, 3, 0, 0), candidate(2, 1, 3, 0, 0), candidate(3, 2, 3, 1, 5)];
        assert_eq!(picked(&candidates, &[(1, 2), (2, 1)], 3), [3, 1, 2]);
    }

    #[test]
    fn the_one_served_longest_ago_is_next() {
        let candidates = [candidate(1, 1, 3, 1, 8), candidate(2, 1, 3, 1, 7), candidate(3, 1, 3, 2, 0)];
        assert_eq!(picked(&candidates, &[], 3), [2, 1, 3]);
        assert!(picked(&candidates, &[], 0).is_empty());
    }
}
