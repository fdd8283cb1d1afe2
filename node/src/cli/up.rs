//! `malha-node up`: the identity that a token and a state folder make together.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use malha_proto::{EnrolToken, Label, MAX_TOKEN_CHARS};
use zeroize::Zeroizing;

use super::conceal::is_typed;
use super::{Failure, command, not_enrolled, print};
use crate::agent::LinkFault;
use crate::config::Settings;
use crate::control::slow_lookup;
use crate::enrol::{EnrolError, FailedWay, enrol};
use crate::exit::Exit;
use crate::machine;
use crate::state::{Identity, StateFolder};
use crate::text::{self, Lang};

/// What the user asked for.
pub(super) struct Wish {
    token: Option<EnrolToken>,
    name: Option<Label>,
    replace: bool,
}

impl Wish {
    pub(super) fn read(flags: &ArgMatches, lang: Lang) -> Result<Self, Failure> {
        let name = flags.get_one::<String>(command::NAME);
        let name = name.map(|name| name.parse::<Label>()).transpose();
        Ok(Self {
            token: read_token(flags, lang)?,
            name: name.map_err(|why| Failure::new(Exit::Usage, text::wrong_name(lang, why)))?,
            replace: flags.get_flag(command::REPLACE),
        })
    }
}

/// Who this machine is: as before, or enrolled now.
pub(super) async fn identity(
    folder: &StateFolder,
    wish: Wish,
    settings: &Settings,
    lang: Lang,
) -> Result<Identity, Failure> {
    let state = |error| Failure::state(lang, &error);
    let known = folder.identity().map_err(state)?;
    let Some(token) = wish.token else {
        let known = known.ok_or_else(|| not_enrolled(settings, lang))?;
        return match known.ended {
            Some(ended) => Err(Failure::ended(lang, ended)),
            None => Ok(known),
        };
    };
    if let Some(known) = known {
        let is_same = known.token == token.id && known.authority == token.authority;
        match known.ended {
            Some(ended) if is_same => return Err(Failure::ended(lang, ended)),
            None if is_same => {
                print(&text::already_this_token(lang, known.node), lang)?;
                return Ok(known);
            }
            None if !wish.replace => {
                let text = text::already_enrolled(lang, known.node);
                return Err(Failure::new(Exit::AlreadyEnrolled, text));
            }
            Some(_) | None => {}
        }
    }
    let keys = folder.keys_for_enrolment(&token).map_err(state)?;
    let (engine, _) = settings.decide_engine();
    let facts = machine::facts(Some(&engine.to_string()));
    let reply = enrol(&token, &keys, wish.name, facts).await;
    if let Some((host, took)) = slow_lookup() {
        let took_s = format!("{:.1}", took.as_secs_f32());
        print(&text::slow_lookup(lang, host, took_s), lang)?;
    }
    let reply = reply.map_err(|error| failure(&error, lang))?;
    let identity = folder.adopt_enrolment(&token, &reply).map_err(state)?;
    let me = &reply.netmap.me;
    let (v4, v6) = (me.addresses.v4, me.addresses.v6);
    print(&text::enrolled(lang, &me.name, v4, v6), lang)?;
    Ok(identity)
}

pub(super) fn read_token(flags: &ArgMatches, lang: Lang) -> Result<Option<EnrolToken>, Failure> {
    let is_typed = |name| is_typed(flags, name);
    let file = flags.get_one::<PathBuf>(command::TOKEN_FILE);
    let direct = flags.get_one::<String>(command::TOKEN);
    let text = match (direct, file) {
        (Some(_), Some(_)) if is_typed(command::TOKEN) == is_typed(command::TOKEN_FILE) => {
            return Err(Failure::new(Exit::Usage, text::two_tokens(lang)));
        }
        // What is typed goes before what the environment says.
        (Some(direct), None) => Zeroizing::new(direct.clone()),
        (Some(direct), Some(_)) if is_typed(command::TOKEN) => Zeroizing::new(direct.clone()),
        (_, Some(file)) => read_token_file(file).map_err(|why| {
            let text = text::token_file(lang, file.display(), why);
            Failure::new(Exit::TokenText, text)
        })?,
        (None, None) => return Ok(None),
    };
    let token = text.parse::<EnrolToken>();
    let token = token.map_err(|why| Failure::new(Exit::TokenText, text::token_text(lang, why)))?;
    Ok(Some(token))
}

fn read_token_file(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    // A longer file is no token; what is read of it is refused for its length.
    let limit = MAX_TOKEN_FILE_BYTES;
    match path == Path::new("-") {
        true => io::stdin().lock().take(limit).read_to_string(&mut text)?,
        false => File::open(path)?.take(limit).read_to_string(&mut text)?,
    };
    Ok(text)
}

fn failure(error: &EnrolError, lang: Lang) -> Failure {
    match error {
        EnrolError::Refused { code, text } => {
            let mut said = text::refusal(lang, *code);
            let theirs: String = text.chars().filter(|c| !c.is_control()).collect();
            if !theirs.is_empty() {
                said = format!("{said}\n{}", text::controller_says(lang, theirs));
            }
            Failure::new((*code).into(), said)
        }
        EnrolError::Unreachable(ways) => {
            let (exit, said) = match error.fault() {
                Some(LinkFault::WrongController) => (Exit::WrongController, text::impostor(lang)),
                Some(LinkFault::Clock) => (Exit::Clock, text::clock(lang)),
                _ => (Exit::Unreachable, text::unreachable(lang)),
            };
            let ways = ways
                .iter()
                .map(|way| format!("\n{}", failed_way(way, lang)));
            Failure::new(exit, said + &ways.collect::<String>())
        }
        EnrolError::Answer(why) => Failure::new(Exit::BadAnswer, text::bad_answer(lang, why)),
        EnrolError::State(error) => Failure::state(lang, error),
    }
}

fn failed_way(way: &FailedWay, lang: Lang) -> String {
    let fault = text::fault(lang, way.error.fault);
    let (controller, transport) = (&way.controller, way.transport);
    text::failed_way(lang, controller, transport, fault, &way.error)
}

/// A token and the blanks around it.
const MAX_TOKEN_FILE_BYTES: u64 = 2 * MAX_TOKEN_CHARS as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{LinkError, Transport};

    fn ways(faults: &[LinkFault]) -> EnrolError {
        let ways = faults.iter().map(|fault| FailedWay {
            controller: "hub.example:443".into(),
            transport: Transport::Quic,
            error: LinkError::new(*fault, "the detail"),
        });
        EnrolError::Unreachable(ways.collect())
    }

    #[test]
    fn a_wrong_answer_on_one_way_says_more_than_silence_on_the_others() {
        for (faults, exit) in [
            (
                &[LinkFault::Unreachable, LinkFault::Name][..],
                Exit::Unreachable,
            ),
            (
                &[LinkFault::Unreachable, LinkFault::WrongController],
                Exit::WrongController,
            ),
            (&[LinkFault::Clock, LinkFault::Unreachable], Exit::Clock),
        ] {
            let failure = failure(&ways(faults), Lang::En);
            assert_eq!(failure.exit, exit);
            let named = failure.text.matches("hub.example:443 over QUIC").count();
            assert_eq!(named, faults.len(), "{}", failure.text);
        }
    }
}
