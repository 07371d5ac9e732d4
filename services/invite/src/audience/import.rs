//! Brings people into the database, batch by batch, invisibly until the end.
//!
//! Rows are written under the id of a campaign or upload that does not exist
//! yet; the last transaction makes it exist. A crash on the way leaves rows
//! that nobody sees, which are swept when their staging has expired.

use std::collections::HashSet;
use std::sync::Arc;

use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait as _, FromQueryResult, Value};
use service_kit::Time;
use tgmesh_proto::invite::v1::{ImportReport, RowError};
use uuid::Uuid;

use super::entity::row;
use super::same;
use crate::app::{App, execute, sql};
use crate::error::Error;
use crate::targets::{Person, store as targets};

/// Most errors that a report tells.
const MOST_ERRORS: usize = 100;

/// One row of an audience: its line, and the person or what is wrong.
pub type Row = (i64, Result<Person, String>);

/// What the rows become.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Targets of a campaign into this chat.
    Targets {
        /// Telegram's id of the chat.
        chat_id: i64,
        /// Where they come from.
        source: String,
    },
    /// Rows of an upload.
    Upload,
}

/// What a row changes of people whom earlier rows were about.
enum Later {
    /// More is known of a person.
    Learn(Uuid, Person),
    /// Two are one.
    Merge { gone: Uuid, into: Uuid },
    /// He must be left alone.
    Bar { member: Uuid, is_listed: bool },
}

/// An import under way.
#[derive(Debug)]
pub struct Import {
    app: Arc<App>,
    /// The campaign or upload that the rows will belong to.
    pub id: Uuid,
    workspace_id: Uuid,
    kind: Kind,
    seq: i64,
    /// What became of the rows so far.
    pub report: ImportReport,
    /// People of the batch before, when the caller wants to see some.
    pub preview: Vec<Person>,
    preview_size: usize,
    /// Most rows that are accepted.
    limit: i64,
}

impl Import {
    /// Begins: from here on the rows are swept unless [`Import::finish`] comes in time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(app: Arc<App>, workspace_id: Uuid, kind: Kind, preview_size: usize) -> Result<Self, Error> {
        let id = app.new_id();
        let values: [Value; 2] = [id.into(), expiry(&app).into()];
        execute(app.db.conn(), "INSERT INTO stagings (id, expires_at) VALUES ($1, $2)", values).await?;
        Ok(Self {
            app,
            id,
            workspace_id,
            kind,
            seq: 0,
            report: ImportReport::default(),
            preview: Vec::new(),
            preview_size,
            limit: i64::MAX,
        })
    }

    /// Accepts at most so many rows, and reads no further.
    #[must_use]
    pub fn limited(mut self, limit: i64) -> Self {
        self.limit = limit;
        self
    }

    /// Most rows that may be read at once; 0 when enough were accepted.
    pub fn room(&self) -> usize {
        let left = usize::try_from(self.limit.saturating_sub(self.report.accepted)).unwrap_or(0);
        left.min(self.app.config.import.batch.max(1))
    }

    /// Writes rows, in transactions of bounded size.
    ///
    /// # Errors
    /// `File` beyond the largest audience; when the database fails.
    pub async fn add(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        let mut rows = rows.into_iter();
        loop {
            let batch: Vec<Row> = rows.by_ref().take(self.room()).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.report.read += i64::try_from(batch.len()).unwrap_or(0);
            let most = self.app.config.import.max_rows;
            if u64::try_from(self.report.read).unwrap_or(u64::MAX) > most {
                return Err(Error::File(format!("it has more than {most} rows")));
            }
            let mut people = Vec::with_capacity(batch.len());
            for (line, row) in batch {
                match row {
                    Ok(person) => people.push(person),
                    Err(problem) => {
                        self.report.rejected += 1;
                        if self.report.errors.len() < MOST_ERRORS {
                            self.report.errors.push(RowError { line, problem });
                        }
                    }
                }
            }
            self.write(people).await?;
        }
    }

    /// Writes people who were counted as read before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write(&mut self, people: Vec<Person>) -> Result<(), Error> {
        let tx = self.app.db.begin().await?;
        let values: [Value; 2] = [self.id.into(), expiry(&self.app).into()];
        if execute(&*tx, "UPDATE stagings SET expires_at = $2 WHERE id = $1", values).await? == 0 {
            return Err(Error::Internal("an import was swept while it was under way"));
        }
        let keys: Vec<String> = people.iter().flat_map(Person::keys).collect();
        let listed = listed(&*tx, self.workspace_id, &keys).await?;
        let before = match &self.kind {
            Kind::Targets { chat_id, .. } => contacted(&*tx, self.workspace_id, *chat_id, &keys).await?,
            Kind::Upload => HashSet::new(),
        };
        let mut list = same::load(&*tx, self.id, &keys).await?;
        // Of an upload, each row that tells something is kept: the campaign looks again.
        let (mut new, mut later, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for mut person in people {
            let keys = person.keys();
            let place = list.place(self.app.new_id(), &mut person);
            later.extend(place.merged.iter().map(|gone| Later::Merge { gone: *gone, into: place.member }));
            if place.has_news || !place.merged.is_empty() {
                rows.push(person.clone());
            }
            let is_listed = keys.iter().any(|key| listed.contains(key));
            if is_listed || keys.iter().any(|key| before.contains(key)) {
                self.report.do_not_contact += i64::from(is_listed);
                self.report.contacted_before += i64::from(!is_listed);
                // An earlier row did not tell that it is him.
                if !place.is_new {
                    later.push(Later::Bar { member: place.member, is_listed });
                }
            } else if place.is_new && person.is_addressable() {
                new.push((place.member, person));
            } else {
                self.report.duplicates += 1;
                if place.has_news || !person.peers.is_empty() {
                    later.push(Later::Learn(place.member, person));
                }
            }
        }
        same::save(&*tx, self.id, &list).await?;
        self.report.accepted += i64::try_from(new.len()).unwrap_or(0);
        let room = self.preview_size.saturating_sub(self.preview.len());
        self.preview.extend(new.iter().take(room).map(|(_, person)| person.clone()));
        match &self.kind {
            Kind::Targets { source, .. } => {
                let (campaign_id, workspace_id, seq) = (self.id, self.workspace_id, self.seq);
                self.seq += i64::try_from(new.len()).unwrap_or(0);
                targets::insert(&*tx, targets::Batch { campaign_id, workspace_id, source, seq, people: new }).await?;
                for step in later {
                    self.take(&*tx, step).await?;
                }
            }
            Kind::Upload => {
                let offered = i64::try_from(rows.len()).unwrap_or(0);
                insert_rows(&*tx, self.id, self.seq, rows).await?;
                self.seq += offered;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Corrects targets by what a later row tells of them.
    async fn take(&mut self, tx: &impl ConnectionTrait, step: Later) -> Result<(), DbErr> {
        match step {
            Later::Learn(member, person) => targets::learn(tx, self.id, member, person).await?,
            Later::Merge { gone, into } => {
                let merged = targets::merge(tx, self.id, gone, into).await?;
                self.report.accepted -= merged;
                self.report.duplicates += merged;
            }
            Later::Bar { member, is_listed } => {
                let barred = targets::remove(tx, self.id, member).await?;
                self.report.accepted -= barred;
                self.report.do_not_contact += if is_listed { barred } else { 0 };
                self.report.contacted_before += if is_listed { 0 } else { barred };
            }
        }
        Ok(())
    }

    /// Ends the staging, in the transaction that makes the rows visible.
    ///
    /// # Errors
    /// When it was swept meanwhile, or the database fails.
    pub async fn finish(&self, tx: &impl ConnectionTrait) -> Result<(), Error> {
        let values: [Value; 1] = [self.id.into()];
        match execute(tx, "DELETE FROM stagings WHERE id = $1", values).await? {
            0 => Err(Error::Internal("an import was swept before its end")),
            _ => Ok(()),
        }
    }

    /// Throws the rows away.
    ///
    /// # Errors
    /// When the database fails; the rows are then swept later.
    pub async fn discard(&self) -> Result<(), Error> {
        erase(&self.app, self.id).await?;
        Ok(())
    }
}

fn expiry(app: &App) -> i64 {
    (app.clock.now() + std::time::Duration::from_secs(app.config.import.staging_s)).millis()
}

/// Deletes what a staging left behind.
async fn erase(app: &App, id: Uuid) -> Result<(), DbErr> {
    let tx = app.db.begin().await?;
    crate::campaigns::store::erase_rows(&*tx, id).await?;
    for text in ["DELETE FROM audience_rows WHERE audience_id = $1", "DELETE FROM stagings WHERE id = $1"] {
        let values: [Value; 1] = [id.into()];
        execute(&*tx, text, values).await?;
    }
    tx.commit().await
}

/// Deletes the rows of imports that were given up, and uploads that were kept
/// long enough.
///
/// # Errors
/// When the database fails.
pub async fn sweep(app: &App, now: Time) -> Result<u64, DbErr> {
    #[derive(FromQueryResult)]
    struct Found {
        id: Uuid,
    }
    let mut swept = 0;
    let values: [Value; 1] = [now.millis().into()];
    let stagings = sql(app.db.conn(), "SELECT id FROM stagings WHERE expires_at < $1 LIMIT 100", values);
    for found in Found::find_by_statement(stagings).all(app.db.conn()).await? {
        erase(app, found.id).await?;
        swept += 1;
    }
    let values: [Value; 1] = [now.millis().into()];
    let uploads = sql(app.db.conn(), "SELECT id FROM audiences WHERE expires_at < $1 LIMIT 100", values);
    for found in Found::find_by_statement(uploads).all(app.db.conn()).await? {
        let tx = app.db.begin().await?;
        for text in ["DELETE FROM audiences WHERE id = $1", "DELETE FROM audience_rows WHERE audience_id = $1"] {
            let values: [Value; 1] = [found.id.into()];
            execute(&*tx, text, values).await?;
        }
        same::forget(&*tx, found.id).await?;
        tx.commit().await?;
        swept += 1;
    }
    Ok(swept)
}

#[derive(FromQueryResult)]
struct KeyRow {
    person_key: String,
}

/// Which of these keys are on the do-not-contact list.
///
/// # Errors
/// When the database fails.
pub async fn listed(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    keys: &[String],
) -> Result<HashSet<String>, DbErr> {
    lookup(conn, "do_not_contact WHERE workspace_id = $1", vec![workspace_id.into()], keys).await
}

/// Which of these keys an earlier campaign into the chat has contacted.
async fn contacted(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    chat_id: i64,
    keys: &[String],
) -> Result<HashSet<String>, DbErr> {
    let values = vec![workspace_id.into(), chat_id.into()];
    lookup(conn, "contacted WHERE workspace_id = $1 AND chat_id = $2", values, keys).await
}

async fn lookup(
    conn: &impl ConnectionTrait,
    place: &str,
    mut values: Vec<Value>,
    keys: &[String],
) -> Result<HashSet<String>, DbErr> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let first = values.len() + 1;
    let places: Vec<String> = (first..first + keys.len()).map(|at| format!("${at}")).collect();
    values.extend(keys.iter().map(|key| Value::from(key.as_str())));
    let text = format!("SELECT person_key FROM {place} AND person_key IN ({})", places.join(", "));
    let found = KeyRow::find_by_statement(sql(conn, text, values)).all(conn).await?;
    Ok(found.into_iter().map(|row| row.person_key).collect())
}

async fn insert_rows(
    conn: &impl ConnectionTrait,
    audience_id: Uuid,
    seq: i64,
    people: Vec<Person>,
) -> Result<(), DbErr> {
    let rows: Vec<row::ActiveModel> = people
        .into_iter()
        .zip(seq..)
        .map(|(person, seq)| row::ActiveModel {
            audience_id: Set(audience_id),
            seq: Set(seq),
            person_key: Set(person.keys().join(" ")),
            username: Set(person.username),
            phone: Set(person.phone),
            user_id: Set(person.user_id),
            display_name: Set(person.display_name),
            first_name: Set(person.first_name),
            last_name: Set(person.last_name),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    row::Entity::insert_many(rows).exec_without_returning(conn).await?;
    Ok(())
}
