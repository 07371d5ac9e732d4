//! How connections live and die: strict mode, silence, layers, unknown keys, noise.

use std::time::Duration;

use crate::support::{Client, Failure, emulator, soon, with_layer};
use grammers_tl_types::{enums, functions as f, types as t};
use telegram_emulator::{ConnectionEnd, EmulatorConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ADA: i64 = 11;

#[tokio::test]
async fn a_key_on_two_live_connections_dies_for_ever() {
    let emulator = emulator(|config| config.strict = true).await;
    let key = [1; 256];
    let mut first = Client::login(&emulator, ADA, key).await;
    let mut second = Client::open(&emulator, 2, key).await;
    let duplicated = Failure::Rpc(406, "AUTH_KEY_DUPLICATED".into());
    assert_eq!(second.init().await.unwrap_err(), duplicated);
    assert_eq!(first.call(&f::updates::GetState {}).await.unwrap_err(), duplicated);
    drop((first, second));
    let mut third = Client::open(&emulator, 2, key).await;
    assert_eq!(third.init().await.unwrap_err(), duplicated);

    let overlaps = emulator.handle().overlaps();
    assert_eq!(overlaps.len(), 1, "the third came alone: {overlaps:?}");
    assert_eq!((overlaps[0].earlier, overlaps[0].later, overlaps[0].account), (1, 2, Some(ADA)));

    // Another key of the same account has nothing to do with it.
    Client::login(&emulator, ADA, [2; 256]).await;
    emulator.shutdown().await;
}

#[tokio::test]
async fn without_strict_mode_an_overlap_is_only_recorded() {
    let emulator = emulator(|_| ()).await;
    let mut first = Client::login(&emulator, ADA, [1; 256]).await;
    let mut second = Client::open(&emulator, 2, [1; 256]).await;
    second.init().await.unwrap();
    first.call(&f::updates::GetState {}).await.unwrap();
    assert_eq!(emulator.handle().overlaps().len(), 1);
    assert_eq!(emulator.handle().summary().overlaps, 1);
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_before_connecting_anew_is_no_overlap() {
    let emulator = emulator(|config| config.strict = true).await;
    for _ in 0..300 {
        let mut client = Client::login(&emulator, ADA, [1; 256]).await;
        // The request is still unread, or its answer unsent, when the socket closes.
        let _ = client.send(&f::updates::GetState {}).await;
        drop(client);
    }
    assert!(emulator.handle().overlaps().is_empty());
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_delay_it_asked_for() {
    let emulator = emulator(|config| config.time_factor = 500.0).await;
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    client.send(&f::PingDelayDisconnect { ping_id: 1, disconnect_delay: 75 }).await.unwrap();
    client.closed().await;
    let ended = |end| move |handle: &telegram_emulator::Handle| handle.connections()[0].end == Some(end);
    soon(emulator.handle().wait_until(ended(ConnectionEnd::BySilence))).await;
    emulator.shutdown().await;
}

#[tokio::test]
async fn only_known_layers_are_spoken() {
    let emulator = emulator(|_| ()).await;
    emulator.handle().add_key([1; 256], 2, Some(ADA));
    let mut client = Client::open(&emulator, 2, [1; 256]).await;
    let state = f::updates::GetState {};
    let not_inited = Failure::Rpc(400, "CONNECTION_NOT_INITED".into());
    assert_eq!(client.call(&state).await.unwrap_err(), not_inited);
    for layer in [0, 228, 231, i32::MAX] {
        let refused = client.call(&with_layer(layer, f::help::GetConfig {})).await.unwrap_err();
        assert_eq!(refused, Failure::Rpc(400, "CONNECTION_LAYER_INVALID".into()));
    }
    client.call(&with_layer(229, f::help::GetConfig {})).await.unwrap();
    client.call(&state).await.unwrap();
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_key_is_known_in_its_own_data_centre_only() {
    let emulator = emulator(|_| ()).await;
    emulator.handle().add_key([1; 256], 2, Some(ADA));
    let mut elsewhere = Client::open(&emulator, 4, [1; 256]).await;
    assert_eq!(elsewhere.init().await.unwrap_err(), Failure::Transport(404));

    let mut client = Client::open(&emulator, 2, [1; 256]).await;
    let enums::Config::Config(config) = client.init().await.unwrap();
    assert_eq!(config.this_dc, 2);
    let known: Vec<_> = config.dc_options.iter().map(|enums::DcOption::Option(dc)| (dc.id, dc.port)).collect();
    let expected: Vec<_> = emulator.info().dcs.iter().map(|dc| (dc.id, i32::from(dc.address.port()))).collect();
    assert_eq!(known, expected);

    assert_eq!(emulator.handle().revoke_keys(ADA, None), 1);
    assert_eq!(client.call(&f::updates::GetState {}).await.unwrap_err(), Failure::Transport(404));
    emulator.shutdown().await;
}

#[tokio::test]
async fn authorisations_travel_between_data_centres_once() {
    let emulator = emulator(|_| ()).await;
    let mut home = Client::login(&emulator, ADA, [1; 256]).await;
    let enums::auth::ExportedAuthorization::Authorization(exported) =
        home.call(&f::auth::ExportAuthorization { dc_id: 4 }).await.unwrap();
    emulator.handle().add_key([2; 256], 4, None);
    let mut away = Client::open(&emulator, 4, [2; 256]).await;
    away.init().await.unwrap();
    let unregistered = Failure::Rpc(401, "AUTH_KEY_UNREGISTERED".into());
    assert_eq!(away.call(&f::updates::GetState {}).await.unwrap_err(), unregistered);
    let import = f::auth::ImportAuthorization { id: exported.id, bytes: exported.bytes };
    away.call(&import).await.unwrap();
    away.call(&f::updates::GetState {}).await.unwrap();
    assert_eq!(away.call(&import).await.unwrap_err(), Failure::Rpc(400, "AUTH_BYTES_INVALID".into()));
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_of_every_kind_ends_its_own_connection_at_most() {
    let emulator = emulator(|_| ()).await;
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    let key_id = emulator.handle().keys_of(ADA)[0].to_le_bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..300usize {
        let mut noise = vec![0u8; 64 + round * 7 % 900];
        for byte in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 33) as u8;
        }
        match round % 5 {
            0 => noise[0] = 0xef,
            1 => noise[..4].fill(0xee),
            2 => noise[..8].copy_from_slice(&[0xdd, 0xdd, 0xdd, 0xdd, 0x28, 0, 0, 0]),
            3 => noise[..10].copy_from_slice(&[
                0xef, 10, key_id[0], key_id[1], key_id[2], key_id[3], key_id[4], key_id[5], key_id[6], key_id[7],
            ]),
            _ => noise[4..8].fill(0),
        }
        let mut stream = tokio::net::TcpStream::connect(emulator.info().dcs[0].address).await.unwrap();
        stream.write_all(&noise).await.unwrap();
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap();
    }
    client.call(&f::updates::GetState {}).await.unwrap();
    emulator.shutdown().await;
}

#[tokio::test]
async fn hostile_requests_under_a_good_key_are_answered_with_errors() {
    let emulator = emulator(|_| ()).await;
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    let mut peer: enums::InputPeer = enums::InputPeer::PeerSelf;
    for _ in 0..5000 {
        peer = t::InputPeerUserFromMessage { peer, msg_id: 1, user_id: 1 }.into();
    }
    let fetch = Failure::Rpc(400, "INPUT_FETCH_ERROR".into());
    assert_eq!(client.call(&f::messages::ReadHistory { peer, max_id: 1 }).await.unwrap_err(), fetch);
    let many = f::users::GetUsers { id: vec![enums::InputUser::UserSelf; 10_000] };
    assert_eq!(client.call(&many).await.unwrap().len(), 10_000);
    let unknown = f::messages::GetDialogFilters {};
    assert_eq!(client.call(&unknown).await.unwrap_err(), Failure::Rpc(400, "METHOD_NOT_EMULATED".into()));
    client.call(&f::updates::GetState {}).await.unwrap();
    emulator.shutdown().await;
}

#[tokio::test]
async fn the_control_api_is_for_loopback_only() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/tests.toml");
    let scenario = telegram_emulator::Scenario::load(&path).unwrap();
    let config = EmulatorConfig { control: Some("0.0.0.0:0".parse().unwrap()), ..EmulatorConfig::new(scenario) };
    let error = telegram_emulator::Emulator::start(config).await.unwrap_err().to_string();
    assert!(error.contains("loopback only"), "{error}");
}
