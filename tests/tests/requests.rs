//! The requests made from the contracts break exactly the rule that they are meant to break. Over a real channel they
//! are sent by the tests of bad input.

use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message;
use tgmesh_proto::{ErrorReason, Validate, integration, invite, lease, parsing, quota, status, telegram};
use tgmesh_tests::{contract, requests};
use tonic::Status;

/// The validation that a server of `M` does.
fn validation<M: Message + Default + Validate>(request: &DynamicMessage) -> Result<(), Status> {
    M::decode(request.encode_to_vec().as_slice()).expect("it is protobuf").validate()
}

/// Checks all requests made for the message called `name`; returns how many rules were broken.
fn judge(name: &str, validate: impl Fn(&DynamicMessage) -> Result<(), Status>) -> usize {
    let descriptor = contract::pool().get_message_by_name(name).unwrap_or_else(|| panic!("there is no message {name}"));
    if let Err(status) = validate(&requests::valid(&descriptor)) {
        panic!("{name}: the request that keeps all rules is refused: {status}");
    }
    let broken = requests::broken(&descriptor);
    for broken in &broken {
        let Err(refusal) = validate(&broken.message) else {
            panic!("{name}: {} breaks `{}` and passes", broken.path, broken.rule);
        };
        let failure = status::read(&refusal).expect("the refusal is of the catalogue");
        assert_eq!(failure.reason, ErrorReason::FieldInvalid);
        let named: Vec<&str> = failure.violations.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(named, [broken.path.as_str()], "{name}: `{}`", broken.rule);
    }
    broken.len()
}

#[test]
fn every_broken_rule_is_found_at_its_path() {
    macro_rules! judge {
        ($($package:ident :: $message:ident),* $(,)?) => {[$((
            stringify!($message),
            judge(
                concat!("tgmesh.", stringify!($package), ".v1.", stringify!($message)),
                validation::<$package::v1::$message>,
            ),
        )),*]};
    }
    let rules = judge![
        integration::StartPhoneLoginRequest,
        integration::UpdateAccountRequest,
        integration::GetFleetSummaryRequest,
        lease::AcquireLeaseRequest,
        quota::UpdateLimitsRequest,
        telegram::InviteToChatRequest,
        telegram::SendMessageRequest,
        telegram::StreamMembersRequest,
        invite::CreateCampaignRequest,
        invite::ListCampaignsRequest,
        invite::UpdateTargetRequest,
        invite::UploadAudienceRequest,
        parsing::CreateParseTasksRequest,
        parsing::SearchCommunitiesRequest,
    ];
    for (message, broken) in rules {
        assert!(broken > 0, "{message} has no rules, so it proves nothing");
    }
}

#[test]
#[should_panic(expected = "breaks `required` and passes")]
fn a_judge_that_convicts_nobody_is_noticed() {
    judge("tgmesh.integration.v1.StartPhoneLoginRequest", |_| Ok(()));
}
