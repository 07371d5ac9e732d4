//! Sums a campaign up.

pub mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use service_kit::Time;
use service_kit::clock::duration_to_proto;
use service_kit::identity::Identity;
use tgmesh_proto::invite::v1::get_report_response::{AccountReport, DayReport, ErrorReport};
use tgmesh_proto::invite::v1::{GetReportResponse, OutcomeCount};
use uuid::Uuid;

use crate::app::App;
use crate::campaigns;
use crate::error::Error;

/// Most errors that a report names.
const MOST_ERRORS: u64 = 20;

/// Serves `GetReport`.
///
/// # Errors
/// `CampaignNotFound`.
pub async fn get(app: &App, who: &Identity, campaign_id: &str) -> Result<GetReportResponse, Error> {
    let id = campaigns::id(campaign_id)?;
    let model = campaigns::store::find(app.db.conn(), who.workspace_id, id).await?;
    let campaign = campaigns::get(app, who, campaign_id).await?;
    let outcomes = store::outcomes(app.db.conn(), who.workspace_id, id).await?;
    let attempts = store::attempts(app.db.conn(), who.workspace_id, id).await?;
    let errors = store::errors(app.db.conn(), who.workspace_id, id, MOST_ERRORS).await?;
    let span = store::span(app.db.conn(), who.workspace_id, id).await?;
    let time = |at: i64| Time::from_millis(at).to_proto();
    let end = model.ended_at.unwrap_or_else(|| app.now());
    Ok(GetReportResponse {
        campaign: Some(campaign),
        accounts: by_account(&outcomes, &attempts),
        days: by_day(&outcomes),
        errors: errors.into_iter().map(|(telegram_error, count)| ErrorReport { telegram_error, count }).collect(),
        attempts: attempts.iter().map(|(_, count)| count).sum(),
        first_execution_time: span.map(|(first, _)| time(first)),
        last_execution_time: span.map(|(_, last)| time(last)),
        duration: model
            .started_at
            .map(|start| duration_to_proto(Duration::from_millis(u64::try_from(end - start).unwrap_or(0)))),
    })
}

/// Targets with an outcome, counted by account, day and outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The account of the last attempt; none when nobody was needed to know.
    pub account_id: Option<Uuid>,
    /// Days since the epoch.
    pub day: i64,
    /// `Outcome`.
    pub outcome: i32,
    /// How many.
    pub targets: i64,
}

/// By account: those that made an attempt, with the outcomes that they brought.
pub fn by_account(cells: &[Cell], attempts: &[(Uuid, i64)]) -> Vec<AccountReport> {
    let mut accounts: BTreeMap<Uuid, (BTreeMap<i32, i64>, i64)> = BTreeMap::new();
    for (account, count) in attempts {
        accounts.entry(*account).or_default().1 += count;
    }
    for cell in cells {
        if let Some(account) = cell.account_id {
            *accounts.entry(account).or_default().0.entry(cell.outcome).or_default() += cell.targets;
        }
    }
    let accounts = accounts.into_iter();
    accounts
        .map(|(account, (outcomes, attempts))| AccountReport {
            account_id: account.to_string(),
            outcomes: counts(outcomes),
            attempts,
        })
        .collect()
}

/// By day, oldest first.
pub fn by_day(cells: &[Cell]) -> Vec<DayReport> {
    let mut days: BTreeMap<i64, BTreeMap<i32, i64>> = BTreeMap::new();
    for cell in cells {
        *days.entry(cell.day).or_default().entry(cell.outcome).or_default() += cell.targets;
    }
    days.into_iter().map(|(number, outcomes)| DayReport { day: day(number), outcomes: counts(outcomes) }).collect()
}

fn counts(outcomes: BTreeMap<i32, i64>) -> Vec<OutcomeCount> {
    outcomes.into_iter().map(|(outcome, targets)| OutcomeCount { outcome, targets }).collect()
}

/// A day as `2026-11-20`, by the civil calendar from the days since the epoch.
fn day(number: i64) -> String {
    // Years begin in March here, so that leap days come last.
    let shifted = number + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (number, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_777, "2026-11-20"),
        ] {
            assert_eq!(day(number), expected);
        }
    }

    #[test]
    fn each_target_is_counted_once_in_each_view() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let cell = |account_id, day, outcome, targets| Cell { account_id, day, outcome, targets };
        let cells = [cell(Some(a), 1, 1, 5), cell(Some(a), 2, 1, 3), cell(Some(b), 2, 8, 2), cell(None, 2, 22, 4)];
        let accounts = by_account(&cells, &[(a, 9), (b, 2), (Uuid::from_u128(3), 1)]);
        let sums = accounts.iter().map(|report| report.outcomes.iter().map(|count| count.targets).sum::<i64>());
        assert_eq!(sums.collect::<Vec<_>>(), [8, 2, 0]);
        assert_eq!(accounts.iter().map(|report| report.attempts).collect::<Vec<_>>(), [9, 2, 1]);
        let days = by_day(&cells);
        let total: i64 = days.iter().flat_map(|day| &day.outcomes).map(|count| count.targets).sum();
        assert_eq!((days.len(), total), (2, 14));
    }
}
