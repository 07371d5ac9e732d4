//! Files over the wire, into a real process and out of it: whatever they hold, memory does not grow with them, and what
//! cannot be used is refused with a reason that helps.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use sea_orm::{ConnectionTrait as _, Database};
use service_kit::client::UserChannel;
use service_kit::clock::SystemClock;
use tempfile::TempDir;
use tgmesh::config::Config;
use tgmesh::local::{LocalTokens, LocalUser};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient;
use tgmesh_proto::invite::v1::upload_audience_request::Part;
use tgmesh_proto::invite::v1::{UploadAudienceRequest, UploadAudienceResponse, UploadHeader};
use tgmesh_proto::parsing::v1::ExportResultsRequest;
use tgmesh_proto::parsing::v1::export_results_request::Format;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tgmesh_tests::process::{ANYWHERE, Process, binary, serve_all};
use tokio_stream::StreamExt as _;
use uuid::Uuid;

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
/// How much more memory a thousand times the data may take, in KiB.
const CONSTANT: u64 = 32 * 1_024;
/// Bytes of a file in one message.
const PIECE: usize = 256 * 1_024;

/// The pieces of a file, made as they are sent.
type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// `tgmesh serve all` in a folder of its own.
struct Stage {
    folder: TempDir,
    config: Config,
    process: Process,
    ready: serde_json::Value,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("tgmesh.toml");
        std::fs::write(&file, ANYWHERE)?;
        let (process, ready) = serve_all(binary()?, folder.path()).await?;
        let config = Config { data_dir: folder.path().join("data"), ..Config::load(Some(&file))? };
        Ok(Self { folder, config, process, ready })
    }

    fn user(&self) -> anyhow::Result<LocalUser> {
        LocalUser::load_or_create(&self.config.data_dir, &SystemClock::shared())
    }

    fn channel(&self, service: &str) -> anyhow::Result<UserChannel> {
        let tokens = LocalTokens::new(&self.config.key_dir(), self.user()?, false, SystemClock::shared())?;
        let address = self.ready["services"][service].as_str().context("it is served")?;
        UserChannel::new(&format!("http://{address}"), tokens)
    }

    /// Uploads a CSV file whose pieces are made as they are sent, until it has so many bytes.
    async fn upload(
        &self,
        size: u64,
        pieces: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> Result<UploadAudienceResponse, tonic::Status> {
        let channel = self.channel("invite").map_err(|error| tonic::Status::from_error(error.into()))?;
        let header = UploadHeader {
            request_id: Uuid::new_v4().to_string(),
            file_name: "people.csv".to_owned(),
            ..Default::default()
        };
        let mut left = size;
        let data = pieces.map_while(move |piece| {
            let sent = left > 0;
            left = left.saturating_sub(piece.len() as u64);
            sent.then_some(Part::Data(piece))
        });
        let parts = std::iter::once(Part::Header(header)).chain(data);
        let stream = tokio_stream::iter(parts.map(|part| UploadAudienceRequest { part: Some(part) }));
        InviteServiceClient::new(channel).upload_audience(stream).await.map(tonic::Response::into_inner)
    }

    /// Forgets how much memory the process has ever used.
    fn forget_peak(&self) -> anyhow::Result<()> {
        forget_peak(self.process.id())
    }

    /// The most memory that the process has used since, in KiB.
    fn peak(&self) -> anyhow::Result<u64> {
        peak(self.process.id())
    }

    /// The database of a service.
    async fn database(&self, service: &str) -> anyhow::Result<sea_orm::DatabaseConnection> {
        Ok(Database::connect(format!("sqlite://{}/{service}.db", self.config.data_dir.display())).await?)
    }
}

/// Forgets how much memory a process has ever used.
fn forget_peak(process: u32) -> anyhow::Result<()> {
    Ok(std::fs::write(format!("/proc/{process}/clear_refs"), "5")?)
}

/// The most memory that a process has used since, in KiB.
fn peak(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// A header, and rows of 8 KiB, of which only the name is read.
fn rows() -> impl Iterator<Item = Vec<u8>> {
    let notes = "x".repeat(8 * 1_024);
    let pieces = (0_u64..).map(move |piece| {
        let rows = (0..32).map(|row| format!("person_{:09},\u{442}{notes}\n", piece * 32 + row));
        rows.collect::<String>().into_bytes()
    });
    std::iter::once(b"username,notes\n".to_vec()).chain(pieces)
}

/// Rows enough to be a file of their own, and then pieces that are made over and over.
fn rows_then(mut piece: impl FnMut() -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    rows().take(16).chain(std::iter::from_fn(move || Some(piece())))
}

/// Bytes without any order, zeros among them.
fn noise() -> impl FnMut() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        let words = (0..PIECE / 8).flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 8).to_be_bytes()
        });
        words.collect()
    }
}

/// What a file that cannot be used is refused with.
fn problem(answer: Result<UploadAudienceResponse, tonic::Status>) -> anyhow::Result<String> {
    let status = answer.err().context("it was taken")?;
    let failure = tgmesh_proto::status::read(&status).with_context(|| format!("not of the catalogue: {status:?}"))?;
    ensure!(failure.reason == ErrorReason::FileInvalid, "{failure:?}");
    Ok(failure.metadata["problem"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_that_cannot_be_used_is_refused_in_constant_memory() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let small = stage.upload(MB, rows()).await?.import_report.context("no report")?;
    ensure!(small.accepted > 100 && small.rejected == 0, "{small:?}");
    stage.forget_peak()?;
    stage.upload(MB, rows()).await?;
    let usual = stage.peak()?;
    let letters = || vec![b'a'; PIECE];
    let files: [(&str, Pieces, &str); 5] = [
        ("one line", Box::new(std::iter::repeat_with(letters)), "longer than"),
        ("one line behind rows", Box::new(rows_then(letters)), "longer than"),
        ("broken quoting", Box::new(rows_then(|| b"\"person".repeat(PIECE / 7))), "quotation mark"),
        ("wrong encoding", Box::new(rows_then(|| vec![0xe0; PIECE])), "utf-8"),
        ("binary", Box::new(std::iter::repeat_with(noise())), "binary"),
    ];
    for (name, pieces, what) in files {
        stage.forget_peak()?;
        let problem = problem(stage.upload(GB, pieces).await).context(name)?;
        ensure!(problem.to_lowercase().contains(what), "{name}: {problem}");
        let most = stage.peak()?;
        ensure!(most <= usual + CONSTANT, "{name}: {most} KiB, and {usual} KiB for 1 MiB of rows");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_gigabyte_of_rows_is_taken_in_constant_memory() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    stage.upload(MB, rows()).await?;
    stage.forget_peak()?;
    stage.upload(MB, rows()).await?;
    let usual = stage.peak()?;
    stage.forget_peak()?;
    let report = stage.upload(GB, rows()).await?.import_report.context("no report")?;
    let most = stage.peak()?;
    ensure!(report.accepted > 100_000 && report.accepted == report.read, "{report:?}");
    ensure!(most <= usual + CONSTANT, "{most} KiB for 1 GiB, and {usual} KiB for 1 MiB");
    Ok(())
}

/// The operator's own way, with a pipe in the place of the file: the command's memory counts too.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_sends_a_gigabyte_in_constant_memory() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let arguments = ["campaign", "create", "--chat", "@rust_meetup_berlin", "--consent", "opt-in", "--json"];
    let mut command = Command::new(binary()?);
    command.args(arguments).args(["--from-file", "/dev/stdin"]);
    command.current_dir(stage.folder.path()).env("TGMESH_CONFIG", "tgmesh.toml");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut file = child.stdin.take().context("it reads")?;
    let (mut sent, mut most) = (0, 0);
    for piece in rows_then(|| vec![b'a'; PIECE]) {
        // The end of the pipe is gone once the command knows the answer.
        if sent >= GB || file.write_all(&piece).is_err() {
            break;
        }
        sent += piece.len() as u64;
        most = most.max(peak(child.id())?);
    }
    drop(file);
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stderr)?;
    let failure: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default()).context(said)?;
    ensure!(output.status.code() == Some(1), "{failure}");
    ensure!(failure["error"]["reason"] == "FILE_INVALID", "{failure}");
    ensure!(most <= 2 * CONSTANT, "the command took {most} KiB");
    Ok(())
}

/// Writes a completed task of so many people behind the service's back; its id.
async fn completed_task(stage: &Stage, people: u32) -> anyhow::Result<Uuid> {
    let db = stage.database("parsing").await?;
    let (id, user) = (Uuid::new_v4(), stage.user()?);
    let blob = |id: Uuid| format!("x'{}'", id.simple());
    let said = [
        ("id", blob(id)),
        ("workspace_id", blob(user.workspace_id)),
        ("state", (State::Completed as i32).to_string()),
        ("result_count", people.to_string()),
        ("skipped", "'{}'".to_owned()),
    ];
    insert(&db, "parse_tasks", &said, "").await?;
    let said = [
        ("task_id", blob(id)),
        ("user_id", "n".to_owned()),
        ("workspace_id", blob(user.workspace_id)),
        ("id", "randomblob(16)".to_owned()),
        ("seq", "n".to_owned()),
        ("username", "'person_' || n".to_owned()),
        ("first_name", "hex(randomblob(40))".to_owned()),
    ];
    let from = format!(
        "FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {people}) SELECT n FROM c)"
    );
    insert(&db, "parse_results", &said, &from).await?;
    Ok(id)
}

/// Inserts a row, or one for each of `from`; columns that nothing is said of are empty.
async fn insert(
    db: &sea_orm::DatabaseConnection,
    table: &str,
    said: &[(&str, String)],
    from: &str,
) -> anyhow::Result<()> {
    let pragma = format!("SELECT name, type, \"notnull\" AS needed FROM pragma_table_info('{table}')");
    let rows = db.query_all_raw(sea_orm::Statement::from_string(db.get_database_backend(), pragma)).await?;
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for row in rows {
        let (name, kind, needed): (String, String, bool) =
            (row.try_get("", "name")?, row.try_get("", "type")?, row.try_get("", "needed")?);
        let value = said.iter().find(|(column, _)| *column == name).map(|(_, value)| value.clone());
        let empty = match kind.to_lowercase() {
            _ if !needed => "NULL",
            kind if kind.contains("blob") || kind.contains("uuid") => "x'00000000000000000000000000000000'",
            kind if kind.contains("text") || kind.contains("char") => "''",
            _ => "0",
        };
        values.push(value.unwrap_or_else(|| empty.to_owned()));
        names.push(name);
    }
    let sql = format!("INSERT INTO {table} ({}) SELECT {} {from}", names.join(", "), values.join(", "));
    db.execute_unprepared(&sql).await.with_context(|| sql)?;
    Ok(())
}

/// Reads a whole export as it comes; its bytes and lines.
async fn export(stage: &Stage, task: Uuid, format: Format) -> anyhow::Result<(usize, usize)> {
    let request = ExportResultsRequest { parse_task_id: task.to_string(), format: format.into() };
    let mut client = ParsingServiceClient::new(stage.channel("parsing")?);
    let mut pieces = client.export_results(request).await?.into_inner();
    let (mut bytes, mut lines) = (0, 0);
    while let Some(piece) = pieces.next().await {
        let data = piece?.data;
        bytes += data.len();
        lines += data.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok((bytes, lines))
}

#[tokio::test(flavor = "multi_thread")]
async fn long_an_export_of_many_rows_takes_constant_memory() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (few, many) = (completed_task(&stage, 2_000).await?, completed_task(&stage, 200_000).await?);
    for (format, headings) in [(Format::Csv, 1), (Format::Ndjson, 0)] {
        export(&stage, few, format).await?;
        stage.forget_peak()?;
        let (small, _) = export(&stage, few, format).await?;
        let usual = stage.peak()?;
        stage.forget_peak()?;
        let (large, lines) = export(&stage, many, format).await?;
        let most = stage.peak()?;
        ensure!(lines == 200_000 + headings, "{format:?}: {lines} lines");
        ensure!(large > 90 * small, "{format:?}: {large} and {small} bytes");
        ensure!(most <= usual + CONSTANT, "{format:?}: {most} KiB for {large} bytes, {usual} KiB for {small} bytes");
    }
    Ok(())
}

/// A process that keeps what it reads would be convicted.
#[test]
fn memory_that_was_used_is_seen() -> anyhow::Result<()> {
    let own = std::process::id();
    forget_peak(own)?;
    let before = peak(own)?;
    drop(std::hint::black_box(vec![1_u8; 2 * 1_024 * CONSTANT as usize]));
    let used = peak(own)?;
    ensure!(used > before + CONSTANT, "{before} KiB before, {used} KiB after");
    forget_peak(own)?;
    ensure!(peak(own)? < used, "it was not forgotten");
    Ok(())
}
