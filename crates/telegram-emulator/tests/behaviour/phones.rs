//! What somebody with nothing but the control can do: see login codes, take sessions, find the control by reflection.

use std::net::SocketAddrV4;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use grammers_tl_types::{enums, functions as f, types as t};
use telegram_emulator::{Emulator, SentCode};
use tgmesh_proto::emulator::v1 as pb;
use tgmesh_proto::emulator::v1::create_session_request::User;
use tgmesh_proto::emulator::v1::emulator_service_client::EmulatorServiceClient;

use crate::support::{Client, Failure, emulator, soon, with_layer};

/// At home in data centre 4.
const DAN: i64 = 14;

async fn with_control() -> (Emulator, String) {
    let emulator = emulator(|config| config.control = Some("127.0.0.1:0".parse().unwrap())).await;
    let address = format!("http://{}", emulator.info().control.unwrap());
    (emulator, address)
}

#[tokio::test]
async fn codes_are_told_as_they_are_sent() {
    let emulator = emulator(|_| ()).await;
    let mut codes = emulator.handle().sent_codes();
    let mut client = Client::open(&emulator, 2, [1; 256]).await;
    emulator.handle().add_key([1; 256], 2, None);
    let phone = "+49 30 8000 0011";
    let settings = t::CodeSettings {
        allow_flashcall: false,
        current_number: false,
        allow_app_hash: false,
        allow_missed_call: false,
        allow_firebase: false,
        unknown_number: false,
        logout_tokens: None,
        token: None,
        app_sandbox: None,
    };
    let request =
        f::auth::SendCode { phone_number: phone.into(), api_id: 1, api_hash: "x".into(), settings: settings.into() };
    client.call(&with_layer(grammers_tl_types::LAYER, request)).await.unwrap();
    let sent = soon(codes.recv()).await.unwrap();
    let shown = emulator.handle().login_code(phone).unwrap();
    assert_eq!(sent, SentCode { phone: "493080000011".into(), code: shown });
    emulator.shutdown().await;
}

/// Who is logged in with a key.
async fn whoami(emulator: &Emulator, dc: i32, key: [u8; 256]) -> Result<i64, Failure> {
    let mut client = Client::open(emulator, dc, key).await;
    client.init().await?;
    let users = client.call(&f::users::GetUsers { id: vec![enums::InputUser::UserSelf] }).await?;
    let Some(enums::User::User(user)) = users.into_iter().next() else { panic!("nobody") };
    Ok(user.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_one_as_other_libraries_write_it() {
    let (emulator, address) = with_control().await;
    let mut api = EmulatorServiceClient::connect(address).await.unwrap();
    let mut session = async |user, format: pb::SessionFormat| {
        let request = pb::CreateSessionRequest { user, format: format.into() };
        api.create_session(request).await.map(|answer| answer.into_inner().session)
    };
    let by_phone = || Some(User::Phone("+49 30 8000 0014".into()));

    // ">B4sH256s" behind the version.
    let telethon = session(by_phone(), pb::SessionFormat::Telethon).await.unwrap();
    let bytes = URL_SAFE.decode(telethon.strip_prefix('1').unwrap()).unwrap();
    let home = emulator.info().dcs.iter().find(|dc| dc.id == 4).unwrap();
    let ip: [u8; 4] = bytes[1..5].try_into().unwrap();
    let port = u16::from_be_bytes(bytes[5..7].try_into().unwrap());
    assert_eq!((bytes.len(), bytes[0], SocketAddrV4::new(ip.into(), port)), (263, 4, home.address));
    let first: [u8; 256] = bytes[7..].try_into().unwrap();
    assert_eq!(whoami(&emulator, 4, first).await, Ok(DAN));

    // ">BI?256sQ?" without padding.
    let pyrogram = session(Some(User::UserId(DAN)), pb::SessionFormat::Pyrogram).await.unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(pyrogram).unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[5], bytes[270]), (271, 4, 0, 0));
    assert_eq!(bytes[262..270], DAN.to_be_bytes());
    let second: [u8; 256] = bytes[6..262].try_into().unwrap();
    assert_eq!(whoami(&emulator, 4, second).await, Ok(DAN));
    assert_ne!(first, second, "two sessions");
    assert_eq!(emulator.handle().keys_of(DAN).len(), 2);

    for (user, code) in [
        (Some(User::UserId(999_999)), tonic::Code::NotFound),
        (Some(User::Phone("+49 30 1".into())), tonic::Code::NotFound),
        (Some(User::Phone("Dan".into())), tonic::Code::InvalidArgument),
        (None, tonic::Code::InvalidArgument),
    ] {
        let refused = session(user.clone(), pb::SessionFormat::Unspecified).await.unwrap_err();
        assert_eq!(refused.code(), code, "{user:?}: {refused}");
    }
    emulator.shutdown().await;
}

macro_rules! reflected {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version as pb;
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($channel);
        let ask = |question| pb::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let questions = [
            ask(pb::server_reflection_request::MessageRequest::ListServices(String::new())),
            ask(pb::server_reflection_request::MessageRequest::FileContainingSymbol(CONTROL.to_owned())),
        ];
        let answers = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap();
        let mut answers = answers.into_inner();
        let (mut services, mut files) = (Vec::new(), 0);
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.message_response {
                Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(list)) => {
                    services.extend(list.service.into_iter().map(|service| service.name));
                }
                Some(pb::server_reflection_response::MessageResponse::FileDescriptorResponse(found)) => {
                    files += found.file_descriptor_proto.len();
                }
                other => panic!("{other:?}"),
            }
        }
        (services, files > 0)
    }};
}

const CONTROL: &str = "tgmesh.emulator.v1.EmulatorService";

#[tokio::test]
async fn generic_clients_find_the_control_by_reflection() {
    let (emulator, address) = with_control().await;
    #[expect(clippy::disallowed_methods, reason = "the generated client of reflection has no constructor of its own")]
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect_lazy();
    for (mut services, described) in [reflected!(v1, channel.clone()), reflected!(v1alpha, channel.clone())] {
        // Of the contracts only what is served here; reflection itself may be among it.
        services.retain(|service| !service.starts_with("grpc.reflection."));
        assert_eq!((services, described), (vec![CONTROL.to_owned()], true));
    }
    emulator.shutdown().await;
}
