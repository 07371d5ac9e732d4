//! The numbers of a campaign: one formula for every place that shows them.

use std::collections::BTreeMap;

use tgmesh_proto::invite::v1::{CampaignKind, CampaignProgress, OutcomeCount};
use tgmesh_proto::telegram::v1::Outcome;

/// How many targets a campaign has, and how far they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// All targets.
    pub total: i64,
    /// Those that are claimed or being sent.
    pub under_way: i64,
    /// Those with an outcome, by its number.
    pub outcomes: BTreeMap<i32, i64>,
}

impl Counts {
    /// Of a campaign that has done nothing yet.
    pub fn untouched(total: i64) -> Self {
        Self { total, ..Self::default() }
    }

    /// Targets without an outcome.
    pub fn left(&self) -> i64 {
        self.total - self.outcomes.values().sum::<i64>()
    }

    /// Targets by outcome.
    pub fn outcomes(&self) -> Vec<OutcomeCount> {
        self.outcomes.iter().map(|(outcome, targets)| OutcomeCount { outcome: *outcome, targets: *targets }).collect()
    }

    /// As the wire says it.
    pub fn to_proto(&self, kind: CampaignKind) -> CampaignProgress {
        let done = self.total - self.left();
        let goals = self.outcomes.get(&(goal(kind) as i32)).copied().unwrap_or(0);
        CampaignProgress {
            total: self.total,
            pending: self.left() - self.under_way,
            under_way: self.under_way,
            outcomes: self.outcomes(),
            done: ratio(done, self.total),
            success: ratio(goals, done),
        }
    }
}

/// The outcome that a campaign is for.
pub fn goal(kind: CampaignKind) -> Outcome {
    match kind {
        CampaignKind::DirectMessage => Outcome::MessageSent,
        CampaignKind::InviteToChat | CampaignKind::Unspecified => Outcome::Invited,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn ratio(part: i64, all: i64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_sum_to_the_whole() {
        let outcomes = [(Outcome::Invited as i32, 4), (Outcome::NotFound as i32, 2)].into();
        let counts = Counts { total: 10, under_way: 1, outcomes };
        let progress = counts.to_proto(CampaignKind::InviteToChat);
        let outcomes: i64 = progress.outcomes.iter().map(|count| count.targets).sum();
        assert_eq!(progress.pending + progress.under_way + outcomes, progress.total);
        assert!((progress.done - 0.6).abs() < 1e-9);
        assert!((progress.success - 4.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_no_number() {
        let progress = Counts::default().to_proto(CampaignKind::InviteToChat);
        assert!(progress.done == 0.0 && progress.success == 0.0 && progress.outcomes.is_empty());
    }
}
