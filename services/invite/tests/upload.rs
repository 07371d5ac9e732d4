//! Files of people over the wire.

mod common;

use common::{Service, TestDb, databases, on_each, reason};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::audience::Source;
use tgmesh_proto::invite::v1::*;

fn header(service: &Service, file_name: &str) -> UploadHeader {
    UploadHeader { request_id: service.id(), file_name: file_name.into(), ..Default::default() }
}

async fn upload(
    service: &mut Service,
    header: UploadHeader,
    pieces: Vec<Vec<u8>>,
) -> Result<UploadAudienceResponse, tonic::Status> {
    use upload_audience_request::Part;
    let header = UploadAudienceRequest { part: Some(Part::Header(header)) };
    let data = pieces.into_iter().map(|data| UploadAudienceRequest { part: Some(Part::Data(data)) });
    let parts: Vec<_> = std::iter::once(header).chain(data).collect();
    service.client.upload_audience(tokio_stream::iter(parts)).await.map(tonic::Response::into_inner)
}

async fn validate(
    service: &mut Service,
    file_name: &str,
    pieces: Vec<Vec<u8>>,
) -> Result<ValidateAudienceResponse, tonic::Status> {
    use validate_audience_request::Part;
    let header = ValidateHeader { file_name: file_name.into(), ..Default::default() };
    let header = ValidateAudienceRequest { part: Some(Part::Header(header)) };
    let data = pieces.into_iter().map(|data| ValidateAudienceRequest { part: Some(Part::Data(data)) });
    let parts: Vec<_> = std::iter::once(header).chain(data).collect();
    service.client.validate_audience(tokio_stream::iter(parts)).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_file_becomes_a_campaign() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let mut text = "Login;Phone;Name\n".to_owned();
        for number in 0..2_500 {
            text.push_str(&format!("user_{number};;Анна {number}\n"));
        }
        text.push_str("user_7;;again\nbad!;;\n;+49 151 234567;Boris\n");
        let bytes = encoding_rs::WINDOWS_1251.encode(&text).0.into_owned();
        let pieces: Vec<Vec<u8>> = bytes.chunks(1_000).map(<[u8]>::to_vec).collect();

        let validated = validate(&mut service, "people.csv", pieces.clone()).await.unwrap();
        assert_eq!((validated.with_username, validated.with_phone, validated.preview.len()), (2_501, 1, 20));
        assert_eq!(validated.preview[3].display_name, "Анна 3");

        let header = header(&service, "people.csv");
        let kept = upload(&mut service, header.clone(), pieces.clone()).await.unwrap();
        assert_eq!(kept.import_report, validated.import_report, "what is validated is what is kept");
        let report = kept.import_report.clone().unwrap();
        assert_eq!((report.read, report.accepted, report.duplicates, report.rejected), (2_503, 2_501, 1, 1));
        assert_eq!(report.errors[0].line, 2_503);
        // The same file under the same id is the same upload; another file is refused.
        assert_eq!(upload(&mut service, header.clone(), pieces.clone()).await.unwrap(), kept);
        assert_eq!(reason(upload(&mut service, header, pieces[..2].to_vec()).await), ErrorReason::RequestIdReused);

        let request = CreateCampaignRequest {
            audience: Some(Audience {
                source: Some(Source::AudienceId(kept.audience_id.clone())),
                limit: 0,
                ..Default::default()
            }),
            ..service.request(&[])
        };
        let created = service.client.create_campaign(request).await.unwrap().into_inner();
        assert_eq!(created.import_report.unwrap().accepted, 2_501);
        let campaign = created.campaign.unwrap();
        assert_eq!(campaign.progress.unwrap().total, 2_501);
        let request = ListTargetsRequest { campaign_id: campaign.id, page_size: 1, ..Default::default() };
        let first = service.client.list_targets(request).await.unwrap().into_inner().targets.remove(0);
        assert_eq!((first.username.as_str(), first.source), ("user_0", format!("upload:{}", kept.audience_id)));
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_file_of_people_is_refused() {
    let TestDb { db, .. } = &databases().await[0];
    let mut service = Service::start(db.clone(), 1).await;
    for (name, bytes) in [
        ("binary", vec![0_u8; 5_000]),
        ("workbook", b"PK\x03\x04....".to_vec()),
        ("damaged", [vec![b'a'; 10], "я".repeat(50).into_bytes(), vec![0xFF, b'\n']].concat()),
        ("quoting", b"username,name\nanna_1,\"open\nboris,x\n".to_vec()),
        ("no columns", b"colour,size\nred,5\n".to_vec()),
        ("empty", b"\n\n".to_vec()),
    ] {
        let header = header(&service, "people.csv");
        assert_eq!(reason(upload(&mut service, header, vec![bytes.clone()]).await), ErrorReason::FileInvalid, "{name}");
        assert_eq!(reason(validate(&mut service, "people.csv", vec![bytes]).await), ErrorReason::FileInvalid, "{name}");
    }
    for name in ["people.xlsx", "people.json", "people.ndjson"] {
        let header = header(&service, name);
        assert_eq!(
            reason(upload(&mut service, header, vec![b"x".to_vec()]).await),
            ErrorReason::NotImplemented,
            "{name}"
        );
    }
    use upload_audience_request::Part;
    let data = UploadAudienceRequest { part: Some(Part::Data(b"anna_1".to_vec())) };
    let refused = service.client.upload_audience(tokio_stream::iter(vec![data])).await;
    assert_eq!(reason(refused), ErrorReason::FieldInvalid);
    service.stop().await;
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// 1 GB in one line, made as it is read. The pure reader, since nothing of it
/// comes further.
#[test]
fn a_gigabyte_in_one_line_takes_no_memory() {
    use tgmesh_invite::audience::decode::Decoder;
    use tgmesh_invite::audience::file::AudienceFile;
    let piece = vec![b'x'; 32 * 1024];
    // Refused long before its end.
    for first in [&b""[..], b"username,phone\n", b"username,phone\n\""] {
        let mut file = AudienceFile::new(AudienceFormat::Csv);
        file.push(first).unwrap();
        let refused = (0..32 * 1024).position(|_| file.push(&piece).is_err());
        assert!(refused.is_some_and(|pieces| pieces <= 4), "{refused:?}");
    }
    // And what comes before that decision keeps nothing, either.
    let (mut decoder, mut text) = (Decoder::default(), String::new());
    let before = resident();
    let mut most = before;
    for _ in 0..2 * 1024 {
        text.clear();
        decoder.push(&piece, &mut text).unwrap();
        most = most.max(resident());
    }
    assert!(most - before <= 32 << 20, "{} MiB", (most - before) >> 20);
}

/// Many rows: what is in memory does not grow with them.
#[test]
fn memory_does_not_grow_with_the_rows() {
    use tgmesh_invite::audience::file::AudienceFile;
    let mut file = AudienceFile::new(AudienceFormat::Csv);
    file.push(b"username;name\n").unwrap();
    let piece: Vec<u8> =
        (0..1_000).flat_map(|number| format!("user_{number};\"Anna, {number}\"\n").into_bytes()).collect();
    let mut rows = 0;
    for piece in piece.chunks(32 * 1024) {
        rows += file.push(piece).unwrap().len();
    }
    let before = resident();
    let mut most = before;
    for _ in 0..200 {
        for piece in piece.chunks(32 * 1024) {
            rows += file.push(piece).unwrap().len();
        }
        most = most.max(resident());
    }
    assert_eq!(rows + file.finish().unwrap().len(), 201_000);
    assert!(most - before <= 32 << 20, "{} MiB", (most - before) >> 20);
}
