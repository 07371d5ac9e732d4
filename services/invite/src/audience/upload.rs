//! Serves `UploadAudience` and `ValidateAudience`.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _};
use service_kit::Time;
use service_kit::identity::Identity;
use service_kit::requests::Claim;
use sha2::{Digest as _, Sha256};
use tgmesh_proto::invite::v1::{
    AudienceFormat, Target, UploadAudienceResponse, UploadHeader, ValidateAudienceResponse, target,
    upload_audience_request, validate_audience_request,
};
use tonic::Status;

use super::entity::{Entity, Model};
use super::file::{AudienceFile, format};
use super::import::{Import, Kind, Row};
use crate::app::App;
use crate::error::Error;
use crate::targets::{Person, clip};

/// Bytes read at a time, whatever the size of a message: bounds the rows that
/// are in memory at once.
const PIECE: usize = 32 * 1024;
/// Rows shown by a validation.
const PREVIEW: usize = 20;

/// What a message of either stream is.
enum Part<H> {
    Header(H),
    Data(Vec<u8>),
}

/// Counts of what rows hold.
#[derive(Debug, Default)]
struct Fields {
    username: i64,
    phone: i64,
    user_id: i64,
}

impl Fields {
    fn count(&mut self, rows: &[Row]) {
        for (_, row) in rows {
            if let Ok(person) = row {
                self.username += i64::from(!person.username.is_empty());
                self.phone += i64::from(!person.phone.is_empty());
                self.user_id += i64::from(person.user_id != 0);
            }
        }
    }
}

/// Serves `UploadAudience`.
///
/// # Errors
/// Those of its contract.
pub async fn upload(
    app: Arc<App>,
    who: Identity,
    stream: impl Stream<Item = Result<tgmesh_proto::invite::v1::UploadAudienceRequest, Status>> + Unpin,
) -> Result<UploadAudienceResponse, Error> {
    use upload_audience_request::Part as Wire;
    let mut parts = stream.map(|message| {
        Ok(match message?.part {
            Some(Wire::Header(header)) => Part::Header(header),
            Some(Wire::Data(data)) => Part::Data(data),
            None => Part::Data(Vec::new()),
        })
    });
    let header: UploadHeader = header(&mut parts).await?;
    let format = format("UploadAudience", header.format(), &header.file_name)?;
    let mut import = Import::begin(app.clone(), who.workspace_id, Kind::Upload, 0).await?;
    let read = read(&app, format, &mut parts, &mut import).await;
    let kept = match read {
        Ok((hash, _)) => keep(&app, &who, &header, hash, &import).await,
        Err(error) => Err(error),
    };
    match kept {
        Ok(Kept::New(answer)) => Ok(answer),
        Ok(Kept::Repeat(answer)) => {
            import.discard().await?;
            Ok(answer)
        }
        Err(error) => {
            if let Err(error) = import.discard().await {
                tracing::warn!(%error, "staged rows could not be deleted");
            }
            Err(error)
        }
    }
}

enum Kept {
    New(UploadAudienceResponse),
    Repeat(UploadAudienceResponse),
}

async fn keep(app: &App, who: &Identity, header: &UploadHeader, hash: String, import: &Import) -> Result<Kept, Error> {
    // The request is the header and what followed it.
    let claimed = UploadHeader { file_name: format!("{}\n{hash}", header.file_name), ..header.clone() };
    let tx = app.db.begin().await?;
    let slot = match app.requests.claim(&*tx, who, "UploadAudience", &claimed).await? {
        Claim::Repeat(answer) => return Ok(Kept::Repeat(answer)),
        Claim::New(slot) => slot,
    };
    import.finish(&*tx).await?;
    let now = app.now();
    let model = Model {
        id: import.id,
        workspace_id: who.workspace_id,
        file_name: clip(&header.file_name),
        report: import.report.encode_to_vec(),
        created_at: now,
        expires_at: now
            .saturating_add(i64::try_from(app.config.import.kept_s).unwrap_or(i64::MAX).saturating_mul(1_000)),
    };
    let answer = UploadAudienceResponse {
        audience_id: model.id.to_string(),
        import_report: Some(import.report.clone()),
        expire_time: Some(Time::from_millis(model.expires_at).to_proto()),
    };
    Entity::insert(model.into_active_model().reset_all()).exec_without_returning(&*tx).await?;
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    Ok(Kept::New(answer))
}

/// Serves `ValidateAudience`: an upload whose rows are thrown away, since only
/// a table can tell duplicates apart in constant memory.
///
/// # Errors
/// Those of its contract.
pub async fn validate(
    app: Arc<App>,
    who: Identity,
    stream: impl Stream<Item = Result<tgmesh_proto::invite::v1::ValidateAudienceRequest, Status>> + Unpin,
) -> Result<ValidateAudienceResponse, Error> {
    use validate_audience_request::Part as Wire;
    let mut parts = stream.map(|message| {
        Ok(match message?.part {
            Some(Wire::Header(header)) => Part::Header(header),
            Some(Wire::Data(data)) => Part::Data(data),
            None => Part::Data(Vec::new()),
        })
    });
    let header = header(&mut parts).await?;
    let format = format("ValidateAudience", header.format(), &header.file_name)?;
    let mut import = Import::begin(app.clone(), who.workspace_id, Kind::Upload, PREVIEW).await?;
    let read = read(&app, format, &mut parts, &mut import).await;
    import.discard().await?;
    let (_, fields) = read?;
    Ok(ValidateAudienceResponse {
        preview: import.preview.iter().map(preview).collect(),
        import_report: Some(import.report),
        with_username: fields.username,
        with_phone: fields.phone,
        with_user_id: fields.user_id,
    })
}

fn preview(person: &Person) -> Target {
    Target {
        username: person.username.clone(),
        phone: person.phone.clone(),
        user_id: person.user_id,
        display_name: person.display_name.clone(),
        first_name: person.first_name.clone(),
        last_name: person.last_name.clone(),
        state: target::State::Pending as i32,
        ..Target::default()
    }
}

async fn header<H>(parts: &mut (impl Stream<Item = Result<Part<H>, Status>> + Unpin)) -> Result<H, Error> {
    match parts.next().await {
        Some(Ok(Part::Header(header))) => Ok(header),
        Some(Err(status)) => Err(Error::Caller(Box::new(status))),
        Some(Ok(Part::Data(_))) | None => Err(Error::field("header", "must come first")),
    }
}

/// Reads the file into the import; answers its hash and what its rows hold.
async fn read<H>(
    app: &App,
    format: AudienceFormat,
    parts: &mut (impl Stream<Item = Result<Part<H>, Status>> + Unpin),
    import: &mut Import,
) -> Result<(String, Fields), Error> {
    let (mut file, mut hash, mut fields) = (AudienceFile::new(format), Sha256::new(), Fields::default());
    let mut size = 0_u64;
    let mut waiting: Vec<Row> = Vec::new();
    while let Some(part) = parts.next().await {
        let data = match part.map_err(|status| Error::Caller(Box::new(status)))? {
            Part::Data(data) => data,
            Part::Header(_) => return Err(Error::field("header", "must come once")),
        };
        size += data.len() as u64;
        if size > app.config.import.max_bytes {
            return Err(Error::File(format!("it is larger than {} bytes", app.config.import.max_bytes)));
        }
        hash.update(&data);
        for piece in data.chunks(PIECE) {
            let rows = file.push(piece).map_err(Error::File)?;
            fields.count(&rows);
            waiting.extend(rows);
            if waiting.len() >= app.config.import.batch {
                import.add(std::mem::take(&mut waiting)).await?;
            }
        }
    }
    let rows = file.finish().map_err(Error::File)?;
    fields.count(&rows);
    waiting.extend(rows);
    import.add(waiting).await?;
    if import.report.read == 0 {
        return Err(Error::File("it has no rows".to_owned()));
    }
    let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((hash, fields))
}
