//! What benches share: figures with their baseline, and the bare client that baselines are made with.

#![expect(dead_code, reason = "each bench uses a part of it")]

pub mod bare;

use serde_json::json;

/// Rounds of the thing and its baseline, one after the other in turn.
pub const ROUNDS: usize = 5;

/// Whole rounds by the environment, for a quick look.
pub fn rounds() -> usize {
    std::env::var("TGMESH_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS).max(1)
}

/// The value in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Prints a figure: what was measured, and the baseline of the same run.
#[expect(clippy::print_stdout, reason = "figures are what a bench is for")]
pub fn print(bench: &str, figure: &str, unit: &str, value: f64, baseline: f64) {
    let round = |value: f64| (value * 1_000.0).round() / 1_000.0;
    let line = json!({
        "bench": bench,
        "figure": figure,
        "value": round(value),
        "unit": unit,
        "baseline": round(baseline),
        "ratio": round(value / baseline),
    });
    println!("{line}");
}

/// Says how far a bench is, beside its figures.
#[expect(clippy::print_stderr, reason = "whoever waits wants to see that it goes on")]
pub fn say(what: &str) {
    eprintln!("{what}");
}
