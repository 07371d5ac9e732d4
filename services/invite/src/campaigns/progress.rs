//! The numbers of a campaign: one formula for every place that shows them.

use std::collections::BTreeMap;

use tgmesh_proto::invite::v1::{CampaignKind, CampaignProgress, OutcomeCount};
use tgmesh_proto::telegram::v1::Outcome;

/// Bucket of the targets that wait.
pub const PENDING: i32 = -1;
/// Bucket of the targets that are claimed or being sent.
pub const UNDER_WAY: i32 = -2;

/// Targets by bucket: [`PENDING`], [`UNDER_WAY`], or the number of an outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<i32, i64>);

impl FromIterator<(i32, i64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (i32, i64)>>(pairs: I) -> Self {
        let mut counts = BTreeMap::new();
        for (bucket, targets) in pairs {
            *counts.entry(bucket).or_default() += targets;
        }
        counts.retain(|_, targets| *targets != 0);
        Self(counts)
    }
}

impl Counts {
    /// Targets in one bucket.
    pub fn get(&self, bucket: i32) -> i64 {
        self.0.get(&bucket).copied().unwrap_or(0)
    }

    /// All targets.
    pub fn total(&self) -> i64 {
        self.0.values().sum()
    }

    /// Targets without an outcome.
    pub fn left(&self) -> i64 {
        self.get(PENDING) + self.get(UNDER_WAY)
    }

    /// Targets by outcome.
    pub fn outcomes(&self) -> Vec<OutcomeCount> {
        let outcomes = self.0.iter().filter(|(bucket, _)| **bucket >= 0);
        outcomes.map(|(bucket, targets)| OutcomeCount { outcome: *bucket, targets: *targets }).collect()
    }

    /// As the wire says it.
    pub fn to_proto(&self, kind: CampaignKind) -> CampaignProgress {
        let total = self.total();
        let done = total - self.left();
        CampaignProgress {
            total,
            pending: self.get(PENDING),
            under_way: self.get(UNDER_WAY),
            outcomes: self.outcomes(),
            done: ratio(done, total),
            success: ratio(self.get(goal(kind) as i32), done),
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
        let counts: Counts =
            [(PENDING, 3), (UNDER_WAY, 1), (Outcome::Invited as i32, 4), (Outcome::NotFound as i32, 2)]
                .into_iter()
                .collect();
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
