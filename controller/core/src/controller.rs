//! What the whole overlay shares and the operator may change: where controllers and edges are.

use std::net::IpAddr;

use malha_proto::{EnrolToken, Fingerprint, MAX_TOKEN_ADDRESSES, Secret32, TokenError, TokenId};

use crate::apply::check_count;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_EDGE_ADDRESSES;
use crate::model::Settings;
use crate::zones;

/// Each address must survive in a token, and all of them together.
pub(crate) fn set_controllers(
    draft: &mut Draft,
    controllers: &[String],
) -> Result<Answer, Rejection> {
    check_count("controllers", controllers.len(), MAX_TOKEN_ADDRESSES)?;
    let refuse = |problem| {
        Err(Rejection::Invalid {
            field: "controllers",
            problem,
        })
    };
    for address in controllers {
        if !fits_a_token(std::slice::from_ref(address)) {
            let shown: String = address.chars().take(MAX_SHOWN_CHARS).collect();
            return refuse(format!(
                "{shown:?} is not host:port, like \"malha.example.org:443\""
            ));
        }
    }
    if !fits_a_token(controllers) {
        return refuse(
            "give at least one, and shorter names if they don't fit a token together".to_owned(),
        );
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
    check_count("edge addresses", addresses.len(), MAX_EDGE_ADDRESSES)?;
    if let Some(wrong) = addresses
        .iter()
        .find(|address| address.is_unspecified() || address.is_multicast())
    {
        let problem = format!("{wrong} is not an address that a client can connect to");
        return Err(Rejection::Invalid {
            field: "addresses",
            problem,
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
