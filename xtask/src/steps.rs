//! Runs steps one after another, and tells at the end what each of them took.

use std::time::{Duration, Instant};

/// The steps so far.
pub struct Steps {
    done: Vec<(&'static str, Duration, bool)>,
}

impl Steps {
    pub fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Runs a step.
    ///
    /// # Errors
    /// Those of the step, with its name.
    #[expect(clippy::disallowed_methods, reason = "tells a person how long a step took")]
    pub fn step(&mut self, name: &'static str, step: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        println!("\n==> {name}");
        let begin = Instant::now();
        let result = step();
        self.done.push((name, begin.elapsed(), result.is_ok()));
        result.map_err(|error| error.context(format!("step `{name}`")))
    }

    /// Prints one line a step.
    pub fn summary(&self) {
        println!("\n{:<44} {:>8}", "step", "seconds");
        for (name, took, ok) in &self.done {
            println!("{name:<44} {:>8.1}  {}", took.as_secs_f64(), if *ok { "ok" } else { "FAILED" });
        }
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        println!("{:<44} {:>8.1}", "total", total.as_secs_f64());
    }
}
