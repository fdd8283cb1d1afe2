//! Tokens that can't be used: each has its own sentence and its own exit code, and nothing is enrolled.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malha_node::exit::Exit;
use malha_proto::{EnrolToken, Fingerprint, Secret32};
use malha_tests::lab::{Garage, Lab, eventually, story};

/// A token's text and its id.
fn token(lab: &Lab, garage: &Garage, words: &[&str]) -> Result<(String, String)> {
    let site = garage.site();
    let made = lab
        .hub
        .json(&[&["token", "add", &site, "--profile", "garage"], words].concat())?;
    let text = |field: &str| Some(made[field].as_str()?.to_owned());
    Ok((
        text("token").context("no token")?,
        text("id").context("no id")?,
    ))
}

/// What `malha-node up` says to a token that it must refuse with this exit code.
fn refused(garage: &Garage, token: &str, exit: Exit) -> Result<String> {
    let output = garage.machine.try_to_enrol(token)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    ensure!(
        code == Some(i32::from(exit.code())),
        "ended with {code:?} instead of {exit:?}: {said}"
    );
    ensure!(
        !garage.machine.is_enrolled(),
        "an identity is on disk after {exit:?}"
    );
    Ok(said)
}

#[test]
fn each_bad_token_has_its_own_sentence_and_exit_code() {
    story("bad tokens", |lab| {
        let mut first = lab.garage(1)?;
        let used = lab.token_for(&first)?;
        first.machine.enrol(&used, &["--engine", "netstack"])?;
        first.machine.becomes_healthy()?;
        let second = lab.garage(2)?;
        let (expiring, expiring_id) = token(lab, &first, &["--ttl", "60s"])?;
        let (good, _) = token(lab, &first, &[])?;
        let (revoked, revoked_id) = token(lab, &first, &[])?;
        lab.hub.malha(&["token", "revoke", &revoked_id])?;

        let mut said = vec![
            refused(&second, "not a token", Exit::TokenText)?,
            refused(&second, &good[..good.len() - 3], Exit::TokenText)?,
            refused(&second, &used, Exit::TokenUsed)?,
            refused(&second, &revoked, Exit::TokenRevoked)?,
            refused(
                &second,
                &altered(&good, |token| token.authority = Fingerprint([7; 32]))?,
                Exit::WrongController,
            )?,
            refused(
                &second,
                &altered(&good, |token| token.secret = Secret32([7; 32]))?,
                Exit::TokenUnknown,
            )?,
        ];
        lab.gives_its_turn();
        eventually("the token expires", EXPIRY, || {
            let token = lab.hub.json(&["token", "show", &expiring_id])?;
            ensure!(token["state"] == "expired", "state {}", token["state"]);
            Ok(())
        })?;
        said.push(refused(&second, &expiring, Exit::TokenExpired)?);
        for (at, sentence) in said.iter().enumerate() {
            ensure!(!said[..at].contains(sentence), "said twice: {sentence}");
        }
        let nodes = lab.hub.json(&["node", "list", "--site", &first.site()])?;
        ensure!(
            nodes["items"]
                .as_array()
                .is_some_and(|nodes| nodes.len() == 1),
            "somebody enrolled: {nodes}"
        );
        Ok(())
    });
}

/// The token with something else in it, and a right checksum.
fn altered(token: &str, alter: impl FnOnce(&mut EnrolToken)) -> Result<String> {
    let mut token: EnrolToken = token.parse()?;
    alter(&mut token);
    Ok(token.expose())
}

/// The shortest life that a token can have, and some.
const EXPIRY: Duration = Duration::from_secs(75);
