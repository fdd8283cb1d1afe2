//! Every finding beside the test that makes it true and the one that makes it false, both against real parts. A finding that is not
//! here, and a test that is gone, fail this one.

use std::collections::BTreeSet;

use malha_check::Fault;

/// Finding, made true by, made false by. Tests of ports, lists, balancers and the internal view are stories with whole installations.
const TABLE: &[(Fault, &str, &str)] = &[
    (
        Fault::NameMissing,
        "a_missing_name_and_one_without_an_address_are_findings",
        RIGHT_NAMES,
    ),
    (Fault::NameServerSilent, UNLIKE_SERVERS, RIGHT_NAMES),
    (Fault::NameServerError, UNLIKE_SERVERS, RIGHT_NAMES),
    (
        Fault::NameServerLame,
        "a_server_that_points_to_others_for_a_name_does_not_answer_for_it_itself",
        RIGHT_NAMES,
    ),
    (Fault::NameServersDisagree, UNLIKE_SERVERS, RIGHT_NAMES),
    (
        Fault::NameServerUndeclared,
        "a_server_of_the_zone_that_was_not_declared_is_a_finding",
        RIGHT_NAMES,
    ),
    (
        Fault::UndeclaredAddress,
        "undeclared_addresses_are_found_behind_aliases_and_in_ipv6",
        RIGHT_NAMES,
    ),
    (
        Fault::PrivateAddress,
        "private_and_crossed_addresses_are_findings",
        RIGHT_NAMES,
    ),
    (
        Fault::SameName,
        "one_name_for_both_stages_is_a_finding",
        RIGHT_NAMES,
    ),
    (
        Fault::SameAddress,
        "private_and_crossed_addresses_are_findings",
        RIGHT_NAMES,
    ),
    (
        Fault::OtherStage,
        "private_and_crossed_addresses_are_findings",
        RIGHT_NAMES,
    ),
    (Fault::InternalViewWrong, INTERNAL, INTERNAL),
    (Fault::PortClosed, PORTS, PORTS),
    (Fault::PortOpen, PORTS, PORTS),
    (
        Fault::NoTls,
        "a_port_without_tls_and_one_where_nothing_listens_are_told_apart",
        RIGHT_SERVERS,
    ),
    (Fault::NoCertificateRequest, LENIENT_SERVERS, RIGHT_SERVERS),
    (Fault::CertificateOptional, LENIENT_SERVERS, RIGHT_SERVERS),
    (
        Fault::CertificateMalformed,
        DISHONEST_SERVERS,
        DISHONEST_SERVERS,
    ),
    (
        Fault::UnknownIssuer,
        "a_server_under_another_authority_is_a_finding_and_is_trusted_with_nothing",
        RIGHT_SERVERS,
    ),
    (Fault::IssuerMayNotIssue, WRONG_ISSUERS, RIGHT_SERVERS),
    (Fault::IssuerExpired, WRONG_ISSUERS, RIGHT_SERVERS),
    (Fault::ChainSignatureBad, WRONG_ISSUERS, WRONG_ISSUERS),
    (
        Fault::WeakSignature,
        "a_certificate_signed_with_sha_1_is_a_finding",
        RIGHT_SERVERS,
    ),
    (Fault::KeyUnproven, DISHONEST_SERVERS, DISHONEST_SERVERS),
    (
        Fault::UsageWrong,
        "a_signing_certificate_in_the_place_of_an_authentication_one_is_a_finding",
        RIGHT_SERVERS,
    ),
    (
        Fault::NotYetValid,
        "a_certificate_that_is_not_yet_valid_is_a_finding",
        RIGHT_SERVERS,
    ),
    (Fault::Expired, ENDING, ENDING),
    (Fault::Expires7, ENDING, ENDING),
    (Fault::Expires15, ENDING, ENDING),
    (Fault::Expires30, ENDING, ENDING),
    (Fault::Expires60, ENDING, ENDING),
    (
        Fault::HostNameMismatch,
        "a_web_address_that_leads_to_the_other_stages_server_is_a_finding",
        "a_web_address_with_its_own_server_is_in_order",
    ),
    (
        Fault::NoHttp,
        "a_port_that_speaks_something_else_than_http_is_a_finding",
        "a_port_that_speaks_something_else_than_http_is_a_finding",
    ),
    (Fault::StatusWrong, HEALTH, HEALTH),
    (Fault::NotMultipart, CACHE, CACHE),
    (
        Fault::OcspRefused,
        "a_responder_that_refuses_fails_or_is_not_there_is_told_apart",
        RIGHT_ANSWERS,
    ),
    (
        Fault::OcspMalformed,
        "an_answer_that_was_cut_is_a_finding",
        RIGHT_ANSWERS,
    ),
    (
        Fault::OcspOtherCertificate,
        "an_answer_about_another_certificate_is_a_finding",
        RIGHT_ANSWERS,
    ),
    (Fault::OcspOtherNonce, REPLAY, REPLAY),
    (Fault::OcspSignerUnknown, WRONG_SIGNERS, RIGHT_ANSWERS),
    (Fault::OcspSignerUsage, WRONG_SIGNERS, RIGHT_ANSWERS),
    (Fault::OcspSignatureBad, SPOILT, SPOILT),
    (Fault::OcspStale, OVER, OVER),
    (Fault::OcspFromFuture, WRONG_CLOCK, WRONG_CLOCK),
    (
        Fault::Revoked,
        "revoked_and_unknown_certificates_are_findings",
        RIGHT_ANSWERS,
    ),
    (
        Fault::OcspUnknown,
        "revoked_and_unknown_certificates_are_findings",
        RIGHT_ANSWERS,
    ),
    (
        Fault::StampRefused,
        "an_authority_that_refuses_is_a_finding_with_its_words",
        RIGHT_STAMPS,
    ),
    (
        Fault::StampMalformed,
        "a_stamp_that_was_changed_or_is_none_is_a_finding",
        RIGHT_STAMPS,
    ),
    (
        Fault::StampOtherImprint,
        "a_stamp_for_something_else_is_a_finding",
        RIGHT_STAMPS,
    ),
    (
        Fault::StampOtherNonce,
        "a_stamp_with_another_number_than_was_sent_or_with_none_is_a_finding",
        RIGHT_STAMPS,
    ),
    (
        Fault::StampSignatureBad,
        "a_stamp_that_was_changed_or_is_none_is_a_finding",
        RIGHT_STAMPS,
    ),
    (Fault::StampUsage, USAGE, USAGE),
    (Fault::StampClockOff, CLOCK, CLOCK),
    (Fault::BackendDown, LISTS, LISTS),
    (Fault::PortsDiffer, LISTS, LISTS),
];

const RIGHT_NAMES: &str = "right_records_on_both_servers_are_in_order";
const UNLIKE_SERVERS: &str = "servers_that_disagree_refuse_or_are_silent_are_findings";
const PORTS: &str = "each_finding_of_a_port_is_made_true_and_false_from_every_vantage_point";
const LISTS: &str = "an_agencys_list_and_a_balancers_servers_are_found_right_and_wrong";
const INTERNAL: &str = "the_internal_view_is_what_a_member_with_a_grant_really_gets";
const RIGHT_SERVERS: &str = "two_servers_that_demand_client_certificates_are_in_order";
const LENIENT_SERVERS: &str =
    "a_server_that_does_not_ask_and_one_that_does_not_insist_are_findings";
const DISHONEST_SERVERS: &str = "a_certificate_that_is_none_and_one_without_its_key_are_findings";
const WRONG_ISSUERS: &str =
    "an_issuer_that_has_ended_or_has_only_the_name_or_may_not_issue_is_a_finding";
const ENDING: &str = "a_certificate_near_its_end_and_past_it_is_a_finding";
const HEALTH: &str = "haproxys_health_page_is_200_with_its_server_up_and_503_without";
const CACHE: &str = "the_ocsp_cache_is_asked_for_the_certificate_that_5500_presents";
const RIGHT_ANSWERS: &str = "a_good_answer_by_a_responder_that_the_issuer_allowed_is_in_order";
const WRONG_CLOCK: &str = "a_responder_whose_clock_is_wrong_is_a_finding";
const REPLAY: &str = "a_responder_that_replays_its_first_answer_is_found_at_the_second_question";
const WRONG_SIGNERS: &str = "an_answer_signed_by_a_stranger_or_without_the_usage_is_a_finding";
const SPOILT: &str = "an_answer_whose_signature_was_spoilt_is_a_finding";
const OVER: &str = "a_responder_whose_answers_are_over_before_they_are_given_is_a_finding";
const RIGHT_STAMPS: &str = "a_stamp_is_in_order_with_either_kind_of_key_until_the_certificate_ends";
const USAGE: &str = "a_certificate_without_the_critical_usage_alone_is_a_finding";
const CLOCK: &str = "a_clock_that_is_off_either_way_is_a_finding";

const SOURCES: [&str; 7] = [
    include_str!("names.rs"),
    include_str!("handshakes.rs"),
    include_str!("pages.rs"),
    include_str!("revocation.rs"),
    include_str!("stamps.rs"),
    include_str!("../namespaces/names.rs"),
    include_str!("../namespaces/vantage_points.rs"),
];

#[test]
fn every_finding_has_a_test_that_makes_it_true_and_one_that_makes_it_false() {
    let listed: BTreeSet<Fault> = TABLE.iter().map(|(fault, ..)| *fault).collect();
    let all: BTreeSet<Fault> = Fault::ALL.iter().copied().collect();
    let missing: Vec<&Fault> = all.difference(&listed).collect();
    assert!(missing.is_empty(), "no test is named for {missing:?}");
    assert_eq!(TABLE.len(), all.len(), "a finding stands here twice");
    for (fault, made_true, made_false) in TABLE {
        let name_of = |test: &str| format!("fn {test}(");
        let holds = |test: &str| SOURCES.iter().any(|it| it.contains(&name_of(test)));
        assert!(holds(made_true) && holds(made_false), "{fault:?}");
    }
}
