//! Results as files, written while they are read: memory does not grow with them.

mod cells;
mod csv;
mod ndjson;

use futures_util::Stream;
use futures_util::stream::try_unfold;
use service_kit::Time;
use service_kit::db::Db;
use service_kit::unserved::Unserved;
use tgmesh_proto::parsing::v1::ExportResultsResponse;
use tgmesh_proto::parsing::v1::export_results_request::Format;
use tgmesh_proto::telegram::v1::Chat;
use uuid::Uuid;

use crate::error::Error;
use crate::results::entity::Model;
use crate::results::store;
use crate::results::stream::PAGE;
use crate::tasks::entity::Model as Task;

/// Most bytes of one piece.
const PIECE: usize = 64 * 1024;

/// The columns of every file, in this order for ever: who reads them by their
/// place is not misled by a row that lacks one.
const COLUMNS: [&str; 12] = [
    "user_id",
    "username",
    "first_name",
    "last_name",
    "phone",
    "bot",
    "premium",
    "last_seen",
    "last_seen_time",
    "activity",
    "last_active_time",
    "find_time",
];

/// What writes rows in one format.
trait Writer: Send {
    /// What stands before the first row.
    fn begin(&self, out: &mut Vec<u8>);
    /// One row.
    fn row(&self, row: &Model, out: &mut Vec<u8>) -> Result<(), Error>;
}

/// Where an export is.
struct Export {
    db: Db,
    owner: Uuid,
    task_id: Uuid,
    writer: Box<dyn Writer>,
    /// Name and media type, until they were sent.
    head: Option<(String, &'static str)>,
    /// Results after this place follow.
    after: Option<i64>,
    /// Bytes written and not sent.
    rest: Vec<u8>,
}

/// How a file of some format is written.
pub struct Kind {
    writer: Box<dyn Writer>,
    extension: &'static str,
    media_type: &'static str,
}

impl Kind {
    /// Of a format.
    ///
    /// # Errors
    /// When it is not served yet.
    pub fn of(format: Format) -> Result<Self, Unserved> {
        let (writer, extension, media_type): (Box<dyn Writer>, _, _) = match format {
            Format::Csv => (Box::new(csv::Csv), "csv", "text/csv; charset=utf-8"),
            Format::Ndjson => (Box::new(ndjson::Ndjson), "ndjson", "application/x-ndjson"),
            Format::Unspecified | Format::Json | Format::Xlsx => {
                let name = format.as_str_name().trim_start_matches("FORMAT_");
                return Err(Unserved::value("ExportResults", "format", name));
            }
        };
        Ok(Self { writer, extension, media_type })
    }
}

/// A file of what a task has found by now.
pub fn export(
    db: Db,
    task: &Task,
    kind: Kind,
    now: Time,
) -> impl Stream<Item = Result<ExportResultsResponse, Error>> + Send + use<> {
    let Kind { writer, extension, media_type } = kind;
    let name = file_name(task.chat().as_ref(), task.id, now, extension);
    let mut rest = Vec::with_capacity(PIECE * 2);
    writer.begin(&mut rest);
    let head = Some((name, media_type));
    let export = Export { db, owner: task.workspace_id, task_id: task.id, writer, head, after: Some(0), rest };
    try_unfold(export, next)
}

/// The next piece, and what is left.
async fn next(mut export: Export) -> Result<Option<(ExportResultsResponse, Export)>, Error> {
    while let (Some(after), true) = (export.after, export.rest.len() < PIECE) {
        let page = store::after(export.db.conn(), export.owner, export.task_id, after, "", PAGE).await?;
        for row in &page {
            export.writer.row(row, &mut export.rest)?;
        }
        let full = page.len() as u64 == PAGE;
        export.after = page.last().and_then(|last| last.seq).filter(|_| full);
    }
    if export.rest.is_empty() && export.head.is_none() {
        return Ok(None);
    }
    let rest = export.rest.split_off(export.rest.len().min(PIECE));
    let data = std::mem::replace(&mut export.rest, rest);
    let (file_name, media_type) = export.head.take().unwrap_or_default();
    Ok(Some((ExportResultsResponse { file_name, media_type: media_type.to_owned(), data }, export)))
}

/// A name that every file system takes: the chat's public name or the task's
/// id, and the day.
fn file_name(chat: Option<&Chat>, task_id: Uuid, now: Time, extension: &str) -> String {
    let chat = chat.map(|chat| chat.username.as_str()).filter(|name| !name.is_empty());
    let what = chat.map_or_else(|| task_id.to_string(), str::to_owned);
    let what: String = what.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    let day: String = now.to_proto().to_string().chars().take(10).collect();
    format!("tgmesh-{what}-{day}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_the_chat() {
        let day = Time::from_secs(1_763_654_400);
        let chat = Chat { username: "rust/../berlin".into(), ..Default::default() };
        assert_eq!(file_name(Some(&chat), Uuid::nil(), day, "csv"), "tgmesh-rustberlin-2025-11-20.csv");
        let private = file_name(None, Uuid::nil(), day, "csv");
        assert_eq!(private, "tgmesh-00000000-0000-0000-0000-000000000000-2025-11-20.csv");
    }
}
