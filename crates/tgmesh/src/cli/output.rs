//! How answers look: JSON by the contracts' descriptors, and tables for people.

use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use service_kit::Time;

use super::{Context, Failure};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(tgmesh_proto::FILE_DESCRIPTOR_SET).expect("the descriptor set is that of the build")
});

/// A message of a contract as protobuf's JSON, every field in it.
pub(crate) fn json<M: Message + Name>(message: &M) -> Result<String, Failure> {
    let failed = |error: String| Failure::new(format!("{} cannot be written as JSON: {error}", M::full_name()));
    let descriptor = POOL.get_message_by_name(&M::full_name()).ok_or_else(|| failed("unknown message".to_owned()))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(|error| failed(error.to_string()))?;
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut text = Vec::new();
    dynamic
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        .map_err(|error| failed(error.to_string()))?;
    String::from_utf8(text).map_err(|error| failed(error.to_string()))
}

impl Context {
    /// Prints an answer: as JSON, or as `text` shows it to people.
    pub(crate) fn show<M: Message + Name>(&self, message: &M, text: impl FnOnce(&M) -> String) -> Result<(), Failure> {
        let text = if self.json { json(message)? } else { text(message) };
        print_line(text.trim_end());
        Ok(())
    }

    /// Prints a message to scripts only.
    pub(crate) fn show_json<M: Message + Name>(&self, message: &M) -> Result<(), Failure> {
        if self.json { self.show(message, |_| String::new()) } else { Ok(()) }
    }

    /// Says something to people only; on standard error, so that it is never part of an answer.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            tell(&format!("{text}\n"));
        }
    }

    /// A text of our own, with the commands in it as they have to be typed.
    pub(crate) fn hint(&self, text: &str) -> String {
        self.hints.complete(text)
    }

    /// "2026-11-20 09:00:00 UTC (in 5 min)"; "-" when there is none.
    pub(crate) fn when(&self, time: Option<&prost_types::Timestamp>) -> String {
        time.map_or_else(|| "-".to_owned(), |time| when(time, self.clock.now()))
    }
}

/// Prints a line of an answer, on standard output.
pub(crate) fn print_line(text: &str) {
    print_text(format!("{text}\n").as_bytes());
}

/// Prints an answer as it is. Ends the process quietly when nobody reads it any
/// more, and with an error when it cannot be written.
pub(crate) fn print_text(text: &[u8]) {
    let mut output = std::io::stdout().lock();
    let Err(error) = output.write_all(text).and_then(|()| output.flush()) else { return };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    tell(&format!("error: standard output cannot be written: {error}\n"));
    std::process::exit(1);
}

/// Writes to standard error. Nothing can be said when that fails.
pub(crate) fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn when(time: &prost_types::Timestamp, now: Time) -> String {
    let text = time.to_string();
    let text = text.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ");
    let time = Time::from_proto(time);
    // To the second, as it is written.
    let whole = |apart: Duration| duration(Duration::from_secs(apart.as_secs()));
    if time > now {
        format!("{text} UTC (in {})", whole(time.since(now)))
    } else {
        format!("{text} UTC ({} ago)", whole(now.since(time)))
    }
}

/// A duration as people say it: "700 ms", "45 s", "1 min 30 s", "2 h 5 min", "3 d 4 h".
pub(crate) fn duration(duration: Duration) -> String {
    if !duration.is_zero() && duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => two(minutes, "min", seconds % 60, "s"),
        (0, _, _) => two(hours, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

/// "1 line", "2 lines".
pub(crate) fn count(number: impl std::fmt::Display, one: &str, many: &str) -> String {
    let number = number.to_string();
    let what = if number == "1" { one } else { many };
    format!("{number} {what}")
}

/// A value of an enum as a word: `STATE_SESSION_LOST` is "session lost".
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).trim_start_matches('_').to_lowercase().replace('_', " ")
}

/// A name, or who it is without one.
pub(crate) fn name_of(username: &str, first_name: &str, last_name: &str) -> String {
    let name = format!("{first_name} {last_name}");
    let name = name.trim();
    match (username.is_empty(), name.is_empty()) {
        (true, true) => "-".to_owned(),
        (true, false) => name.to_owned(),
        (false, true) => format!("@{username}"),
        (false, false) => format!("{name} (@{username})"),
    }
}

/// Lines in columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| heading.to_uppercase()).collect()] }
    }

    /// Pairs of a name and a value.
    pub(crate) fn of_pairs<V: Into<String>>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> String {
        let rows = pairs.into_iter().map(|(name, value)| vec![name.to_owned(), value.into()]);
        Self { rows: rows.filter(|row| !row[1].is_empty()).collect() }.text()
    }

    /// Adds a line; a cell of nothing is shown as "-".
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).into());
    }

    /// The table, or `nothing` when it has no lines but the headings.
    pub(crate) fn or(self, nothing: &str) -> String {
        if self.rows.len() > 1 { self.text() } else { nothing.to_owned() }
    }

    fn text(self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| console::measure_text_width(cell)).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| console::pad_str(cell, *width, console::Alignment::Left, None).into_owned());
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// How the next page is asked for; empty on the last.
pub(crate) fn more(next_page_token: &str) -> String {
    if next_page_token.is_empty() { String::new() } else { format!("more: --page {next_page_token}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_message_can_be_printed() {
        use tgmesh_proto::parsing::v1 as pb;
        let task = pb::ParseTask {
            id: "x".to_owned(),
            state: pb::parse_task::State::Running as i32,
            progress: Some(pb::ParseProgress { total: Some(2_000), ..Default::default() }),
            ..Default::default()
        };
        let text = json(&pb::GetParseTaskResponse { parse_task: Some(task) }).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["parseTask"]["state"], "STATE_RUNNING");
        assert_eq!(value["parseTask"]["progress"]["total"], "2000");
        assert_eq!(value["parseTask"]["progress"]["read"], "0", "{text}");
        assert_eq!(value["parseTask"]["failureReason"], "", "{text}");
    }

    #[test]
    fn times_are_told_both_ways() {
        let time = Time::from_secs(1_763_654_400).to_proto();
        assert_eq!(when(&time, Time::from_secs(1_763_654_310)), "2025-11-20 16:00:00 UTC (in 1 min 30 s)");
        assert_eq!(when(&time, Time::from_secs(1_763_661_600)), "2025-11-20 16:00:00 UTC (2 h ago)");
    }

    #[test]
    fn durations_and_numbers_are_told_as_people_do() {
        for (milliseconds, text) in [
            (0, "0 s"),
            (700, "700 ms"),
            (1_000, "1 s"),
            (1_600, "2 s"),
            (90_000, "1 min 30 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(count(1, "row", "rows"), "1 row");
        assert_eq!(count(0, "row", "rows"), "0 rows");
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["name", "state"]);
        table.row(["Gründer".to_owned(), "ready".to_owned()]);
        assert_eq!(table.or(""), "NAME     STATE\nGründer  ready\n");
        assert_eq!(Table::new(&["name"]).or("nobody"), "nobody");
        let mut table = Table::new(&["name", "why", "state"]);
        table.row(["Ada".to_owned(), String::new(), "ready".to_owned()]);
        assert_eq!(table.or(""), "NAME  WHY  STATE\nAda   -    ready\n");
    }
}
