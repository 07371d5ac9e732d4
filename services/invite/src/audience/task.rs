//! The results of a parse task as an audience.

use std::fmt;
use std::sync::Arc;

use service_kit::identity::Acting;
use tgmesh_proto::parsing::v1::parse_result::Result as Found;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::{GetParseTaskRequest, ParseTask, StreamResultsRequest};

use super::import::{Import, Row};
use crate::app::App;
use crate::error::{Error, name};
use crate::targets::Person;

/// Times that a stream of results is taken up again where it broke.
const RESUMES: usize = 3;

/// How far a parse task came that has not completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoFar {
    /// Its state.
    pub state: State,
    /// What it has kept.
    pub results: i64,
    /// What it has read.
    pub read: i64,
    /// What Telegram reports to be there, when it tells.
    pub total: Option<i64>,
}

impl SoFar {
    /// Of a task that has not completed.
    fn of(task: &ParseTask) -> Self {
        let progress = task.progress.clone().unwrap_or_default();
        Self { state: task.state(), results: progress.results, read: progress.read, total: progress.total }
    }

    /// Whether its results may be taken for what they are.
    pub fn can_be_taken(&self) -> bool {
        match self.state {
            State::Paused | State::Completed | State::Cancelled | State::Failed => true,
            State::Unspecified | State::Pending | State::Running => false,
        }
    }

    /// What can be done about it.
    pub fn advice(&self) -> &'static str {
        match self.state {
            State::Paused => "resume it, or accept a part",
            State::Cancelled | State::Failed => "parse again, or accept a part",
            State::Pending | State::Running | State::Unspecified | State::Completed => {
                "wait for its end; a part can be taken once it is paused or cancelled"
            }
        }
    }
}

impl fmt::Display for SoFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the parse task is {}, with {} results", name(self.state.as_str_name(), "STATE_"), self.results)?;
        match self.total {
            Some(total) => write!(f, " after reading {} of {total}", self.read),
            None => write!(f, " after reading {}", self.read),
        }
    }
}

/// Brings in what a task has found. Answers what the audience lacks, in one
/// line; nothing when the task found all that it was to.
///
/// # Errors
/// `ParseTask` when it has not completed and a part was not accepted; what the
/// parsing service answers; as [`Import::add`].
pub async fn fill(
    app: &Arc<App>,
    acting: Acting,
    id: &str,
    accept_partial: bool,
    import: &mut Import,
) -> Result<String, Error> {
    let request = GetParseTaskRequest { parse_task_id: id.to_owned() };
    let answer = app.parsing().get_parse_task(acting.request(request)).await;
    let task = answer.map_err(|status| app.parsing_error(status))?.into_inner().parse_task.unwrap_or_default();
    let notice = if task.state() == State::Completed {
        let said = task.completeness.filter(|said| !said.complete);
        said.map(|said| said.notice).unwrap_or_default()
    } else {
        // Half an audience would be taken for all of it.
        let so_far = SoFar::of(&task);
        if !accept_partial || !so_far.can_be_taken() {
            return Err(Error::ParseTask { so_far });
        }
        so_far.to_string()
    };
    read(app, acting, id, import).await?;
    Ok(notice)
}

async fn read(app: &App, acting: Acting, id: &str, import: &mut Import) -> Result<(), Error> {
    let (mut cursor, mut line, mut resumes) = (Vec::new(), 0_i64, 0);
    loop {
        let request = StreamResultsRequest { parse_task_id: id.to_owned(), cursor: cursor.clone() };
        let broken = match app.parsing().stream_results(acting.request(request)).await {
            Err(status) => status,
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(None) => return Ok(()),
                        Err(status) => break status,
                        Ok(Some(batch)) => {
                            let rows = batch.results.into_iter().map(|result| {
                                line += 1;
                                row(line, result.result)
                            });
                            import.add(rows.collect()).await?;
                            if import.room() == 0 {
                                return Ok(());
                            }
                            cursor = batch.cursor;
                            resumes = 0;
                        }
                    }
                }
            }
        };
        resumes += 1;
        // Cut off, or over with the token that opened it: the next stream goes on.
        let broken = app.parsing_error(broken);
        let passes = matches!(&broken, Error::Upstream(status) if status.code() == tonic::Code::Unavailable);
        if !passes || resumes > RESUMES {
            return Err(broken);
        }
    }
}

fn row(line: i64, found: Option<Found>) -> Row {
    match found {
        Some(Found::Person(person)) => (line, Person::from_proto(&person)),
        Some(Found::Message(_)) => (line, Err("is a message, not a person".to_owned())),
        None => (line, Err("is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::parsing::v1::ParseProgress;

    #[test]
    fn a_part_says_how_far_it_is() {
        let progress = ParseProgress { results: 390, read: 400, total: Some(1_501), ..Default::default() };
        let task = |state: State| ParseTask { state: state.into(), progress: Some(progress), ..Default::default() };
        let cancelled = SoFar::of(&task(State::Cancelled));
        assert_eq!(cancelled.to_string(), "the parse task is cancelled, with 390 results after reading 400 of 1501");
        for (state, can_be_taken) in [
            (State::Pending, false),
            (State::Running, false),
            (State::Paused, true),
            (State::Cancelled, true),
            (State::Failed, true),
        ] {
            assert_eq!(SoFar { state, ..cancelled.clone() }.can_be_taken(), can_be_taken, "{state:?}");
        }
    }
}
