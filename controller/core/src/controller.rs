//! What the whole overlay shares and the operator may change: where controllers and edges are.

use std::net::IpAddr;

use malha_proto::{EnrolToken, Fingerprint, MAX_TOKEN_ADDRESSES, Secret32, TokenError, TokenId};

use crate::apply::check_count;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_EDGE_ADDRESSES;
use crate::model::Settings;
use crate::noun::Plenty;
use crate::reason::Reason;
use crate::zones;

/// Each address must survive in a token, and all of them together.
pub(crate) fn set_controllers(
    draft: &mut Draft,
    controllers: &[String],
) -> Result<Answer, Rejection> {
    check_count(Plenty::Controllers, controllers.len(), MAX_TOKEN_ADDRESSES)?;
    let refuse = |reason| {
        Err(Rejection::Invalid {
            field: "controllers",
            reason,
        })
    };
    for address in controllers {
        if !fits_a_token(std::slice::from_ref(address)) {
            let address = address.chars().take(MAX_SHOWN_CHARS).collect();
            return refuse(Reason::ControllerAddress { address });
        }
    }
    if !fits_a_token(controllers) {
        return refuse(Reason::ControllersFitNoToken);
    }
    let settings = Settings {
        controllers: controllers.to_vec(),
        ..(*draft.state.settings).clone()
    };
    draft.put(settings);
    Ok(Answer::Done)
}

/// Every route's records follow.
pub(crate) fn set_edge_addresses(
    draft: &mut Draft,
    addresses: &[IpAddr],
) -> Result<Answer, Rejection> {
    check_count(Plenty::EdgeAddresses, addresses.len(), MAX_EDGE_ADDRESSES)?;
    if let Some(wrong) = addresses
        .iter()
        .find(|address| address.is_unspecified() || address.is_multicast())
    {
        return Err(Rejection::Invalid {
            field: "addresses",
            reason: Reason::EdgeAddress {
                address: wrong.to_string(),
            },
        });
    }
    let mut unique = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(address) {
            unique.push(*address);
        }
    }
    let old = draft.state.settings.edge_addresses.clone();
    let settings = Settings {
        edge_addresses: unique,
        ..(*draft.state.settings).clone()
    };
    draft.put(settings);
    zones::follow_edges(draft, &old)?;
    Ok(Answer::Done)
}

fn fits_a_token(controllers: &[String]) -> bool {
    let token = EnrolToken {
        id: TokenId(u64::MAX),
        secret: Secret32([0; 32]),
        authority: Fingerprint([0; 32]),
        controllers: controllers.to_vec(),
    };
    let read_back: Result<EnrolToken, TokenError> = token.expose().parse();
    read_back.is_ok()
}

/// How much of a wrong address a rejection repeats.
const MAX_SHOWN_CHARS: usize = 80;
