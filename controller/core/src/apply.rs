//! The one entry of every change: a command against a state gives an outcome or a rejection, never half of each.

use crate::command::{Answer, Command, Context, Rejection};
use crate::draft::{Draft, Outcome};
use crate::noun::{Noun, Plenty};
use crate::state::State;
use crate::{
    agency, balancers, controller, declaration, enrolment, grants, nodes, operators, organizations,
    policy, profile, quarantine, requests, routes, services, sessions, sites, sweep, tags, tokens,
    zones,
};

impl State {
    /// Applies one command. Err changed nothing; Ok holds the next state, which the caller makes durable before it
    /// shows it to anyone.
    pub fn apply(&self, command: &Command, context: &Context) -> Result<Outcome, Rejection> {
        if let Some(answer) = requests::repeated(self, command, context)? {
            return Ok(Outcome {
                state: self.clone(),
                changes: Vec::new(),
                answer,
            });
        }
        let mut draft = Draft::new(self, context);
        let answer = run(&mut draft, command)?;
        requests::remember(&mut draft, command, &answer);
        draft.finish(self, answer)
    }
}

/// Each command to the part of its noun. The list is whole, so that the compiler asks where a new one belongs.
fn run(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::SetControllers { .. }
        | Command::SetEdgeAddresses { .. }
        | Command::CreateOrganization { .. }
        | Command::RemoveOrganization { .. }
        | Command::SetSecondApprover { .. }
        | Command::CreateSite { .. }
        | Command::RemoveSite { .. }
        | Command::SetSiteRelease { .. } => run_places(draft, command),
        Command::AdoptHub { .. }
        | Command::CreateToken { .. }
        | Command::RevokeToken { .. }
        | Command::ReplaceNode { .. }
        | Command::Enrol { .. }
        | Command::RenameNode { .. }
        | Command::RemoveNode { .. }
        | Command::SetNodeEndpoints { .. }
        | Command::SetNodeTags { .. } => run_nodes(draft, command),
        Command::OpenSession { .. }
        | Command::ConfirmLease { .. }
        | Command::RenewNode { .. }
        | Command::ResolveQuarantine { .. } => run_sessions(draft, command),
        Command::AddService { .. }
        | Command::RemoveService { .. }
        | Command::AddBalancer { .. }
        | Command::SetBalancer { .. }
        | Command::SetBackendMode { .. }
        | Command::RemoveBalancer { .. }
        | Command::AddRoute { .. }
        | Command::RemoveRoute { .. }
        | Command::AddGrant { .. }
        | Command::RemoveGrant { .. } => run_ports(draft, command),
        Command::AddZone { .. }
        | Command::RemoveZone { .. }
        | Command::PutRecordSet { .. }
        | Command::DeleteRecordSet { .. } => run_zones(draft, command),
        Command::AddOperator { .. }
        | Command::SetPassword { .. }
        | Command::RemoveOperator { .. }
        | Command::AddApiKey { .. }
        | Command::RemoveApiKey { .. } => run_people(draft, command),
        Command::ApplyPolicy { .. }
        | Command::ConfirmPolicy { .. }
        | Command::RollbackPolicy { .. }
        | Command::ApprovePolicy { .. }
        | Command::RejectPolicy { .. } => run_policy(draft, command),
        Command::AddAgency(_)
        | Command::SetProfile { .. }
        | Command::ResetProfile { .. }
        | Command::Declare { .. }
        | Command::WithdrawDeclaration { .. } => run_agencies(draft, command),
        Command::Sweep => sweep::sweep(draft),
    }
}

/// Controller, organizations and sites.
fn run_places(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::SetControllers { controllers } => controller::set_controllers(draft, controllers),
        Command::SetEdgeAddresses { addresses } => controller::set_edge_addresses(draft, addresses),
        Command::CreateOrganization { name, display_name } => {
            organizations::create(draft, name, display_name)
        }
        Command::RemoveOrganization { id } => organizations::remove(draft, *id),
        Command::SetSecondApprover {
            organization,
            on,
            author,
        } => policy::set_second_approver(draft, *organization, *on, *author),
        Command::CreateSite {
            organization,
            name,
            display_name,
        } => sites::create(draft, *organization, name, display_name),
        Command::RemoveSite { id } => sites::remove(draft, *id),
        Command::SetSiteRelease { id, xroad } => sites::set_release(draft, *id, *xroad),
        _ => unreachable!("{OTHER}"),
    }
}

/// Tokens, and the nodes that come by them.
fn run_nodes(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::AdoptHub {
            site,
            name,
            wg_key,
            tls_key,
            endpoints,
            facts,
        } => nodes::adopt_hub(draft, *site, name, *wg_key, *tls_key, endpoints, facts),
        Command::CreateToken {
            site,
            profile,
            uses,
            ttl_s,
        } => tokens::create(draft, *site, *profile, *uses, *ttl_s),
        Command::RevokeToken { id } => tokens::revoke(draft, *id),
        Command::ReplaceNode { id, ttl_s } => tokens::create_for_replacement(draft, *id, *ttl_s),
        Command::Enrol {
            token,
            secret,
            wg_key,
            tls_key,
            name,
            facts,
        } => {
            let machine = enrolment::Machine {
                wg_key: *wg_key,
                tls_key: *tls_key,
                name: name.as_ref(),
                facts,
            };
            enrolment::enrol(draft, *token, secret, &machine)
        }
        Command::RenameNode { id, name } => nodes::rename(draft, *id, name),
        Command::RemoveNode { id, detach } => nodes::remove(draft, *id, *detach),
        Command::SetNodeEndpoints { id, endpoints } => nodes::set_endpoints(draft, *id, endpoints),
        Command::SetNodeTags { id, tags } => tags::set(draft, *id, tags),
        _ => unreachable!("{OTHER}"),
    }
}

/// Sessions of nodes, and what two machines of one identity lead to.
fn run_sessions(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::OpenSession {
            node,
            tls_key,
            lease,
            instance,
            facts,
            source,
            live,
        } => {
            let hello = sessions::Hello {
                tls_key: *tls_key,
                lease: lease.into(),
                instance: *instance,
                facts,
                source: *source,
                live: live.as_ref(),
            };
            sessions::open(draft, *node, &hello)
        }
        Command::ConfirmLease {
            node,
            instance,
            lease,
        } => sessions::confirm_lease(draft, *node, *instance, lease.into()),
        Command::RenewNode {
            node,
            instance,
            tls_key,
            wg_key,
        } => sessions::renew(draft, *node, *instance, *tls_key, *wg_key),
        Command::ResolveQuarantine {
            node,
            keep,
            instance,
        } => quarantine::resolve(draft, *node, *keep, *instance),
        _ => unreachable!("{OTHER}"),
    }
}

/// Services, balancers, routes and grants.
fn run_ports(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::AddService {
            node,
            name,
            port,
            target,
            kind,
            exposure,
        } => services::add(draft, *node, name, *port, *target, *kind, *exposure),
        Command::RemoveService { id } => services::remove(draft, *id),
        Command::AddBalancer {
            node,
            name,
            port,
            exposure,
            backends,
            settings,
        } => balancers::add(draft, *node, name, *port, *exposure, backends, settings),
        Command::SetBalancer {
            id,
            backends,
            settings,
        } => balancers::set(draft, *id, backends, settings),
        Command::SetBackendMode { id, service, mode } => {
            balancers::set_mode(draft, *id, *service, *mode)
        }
        Command::RemoveBalancer { id } => balancers::remove(draft, *id),
        Command::AddRoute {
            host,
            path,
            services,
        } => routes::add(draft, host, path, services),
        Command::RemoveRoute { id } => routes::remove(draft, *id),
        Command::AddGrant { from, to, allow } => grants::add(draft, *from, *to, *allow),
        Command::RemoveGrant { id } => grants::remove(draft, *id),
        _ => unreachable!("{OTHER}"),
    }
}

/// Zones and their records.
fn run_zones(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::AddZone {
            origin,
            name_servers,
            contact,
        } => zones::add(draft, origin, name_servers, contact),
        Command::RemoveZone { origin } => zones::remove(draft, origin),
        Command::PutRecordSet { zone, set } => zones::put_set(draft, zone, set),
        Command::DeleteRecordSet { zone, name, rtype } => {
            zones::delete_set(draft, zone, name, *rtype)
        }
        _ => unreachable!("{OTHER}"),
    }
}

/// Operators and their keys.
fn run_people(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::AddOperator {
            name,
            password_hash,
            role,
        } => operators::add(draft, name, password_hash, *role),
        Command::SetPassword { id, password_hash } => {
            operators::set_password(draft, *id, password_hash)
        }
        Command::RemoveOperator { id } => operators::remove(draft, *id),
        Command::AddApiKey {
            name,
            scopes,
            expires_ms,
            operator,
        } => operators::add_key(draft, name, scopes, *expires_ms, *operator),
        Command::RemoveApiKey { id } => operators::remove_key(draft, *id),
        _ => unreachable!("{OTHER}"),
    }
}

/// The policy and who approves it.
fn run_policy(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::ApplyPolicy {
            text,
            difference,
            confirm_within_ms,
            emergency,
            author,
        } => {
            let wish = policy::Wish {
                text,
                difference: *difference,
                confirm_within_ms: *confirm_within_ms,
                emergency: emergency.as_deref(),
            };
            policy::apply(draft, &wish, *author)
        }
        Command::ConfirmPolicy { version, author } => policy::confirm(draft, *version, *author),
        Command::RollbackPolicy {
            version,
            emergency,
            author,
        } => policy::roll_back(draft, *version, emergency.as_deref(), *author),
        Command::ApprovePolicy {
            proposal,
            difference,
            author,
        } => policy::approve(draft, *proposal, *difference, *author),
        Command::RejectPolicy { proposal } => policy::reject(draft, *proposal),
        _ => unreachable!("{OTHER}"),
    }
}

/// Agencies, profiles and declarations.
fn run_agencies(draft: &mut Draft, command: &Command) -> Result<Answer, Rejection> {
    match command {
        Command::AddAgency(new) => agency::add(draft, new),
        Command::SetProfile { text } => profile::set(draft, text),
        Command::ResetProfile { profile } => profile::reset(draft, *profile),
        Command::Declare {
            organization,
            text,
            author,
        } => declaration::declare(draft, *organization, text, author),
        Command::WithdrawDeclaration { organization } => {
            declaration::withdraw(draft, *organization)
        }
        _ => unreachable!("{OTHER}"),
    }
}

/// Refuses a list of more than `limit`.
pub(crate) fn check_count(what: Plenty, count: usize, limit: usize) -> Result<(), Rejection> {
    if count <= limit {
        Ok(())
    } else {
        Err(Rejection::Limit { what, limit })
    }
}

/// Refuses one more where there are `count` of at most `limit`.
pub(crate) fn check_limit(what: Plenty, count: usize, limit: usize) -> Result<(), Rejection> {
    if count < limit {
        Ok(())
    } else {
        Err(Rejection::Limit { what, limit })
    }
}

/// The entity, or the rejection that says it does not exist.
pub(crate) fn found<T>(it: Option<T>, what: Noun, name: impl ToString) -> Result<T, Rejection> {
    it.ok_or_else(|| Rejection::NotFound {
        what,
        name: name.to_string(),
    })
}

/// What a part says to a command that [`run`] sends to another.
const OTHER: &str = "run() sends this command to another part";
