//! How much of a subject one plan looks at. What is over it is left out, and that is told.

use crate::subject::{
    MAX_ADDRESSES, MAX_DECLARED_PORTS, MAX_ISSUERS, MAX_NAME_SERVERS, MAX_NAMES,
    MAX_PORT_DIFFERENCES, MAX_PORTS, MAX_SERVERS, MAX_TARGETS, MAX_URLS, Subject, Target,
};

/// The subject with every list at its limit, and whether something was left out.
pub(super) fn within_limits(subject: &Subject) -> (Subject, bool) {
    let mut subject = subject.clone();
    let mut is_cut = false;
    let mut cut = |is_over: bool| is_cut |= is_over;
    for stage in [&mut subject.production, &mut subject.development] {
        cut(shorten(&mut stage.names, MAX_NAMES));
        cut(shorten(&mut stage.public_addresses, MAX_ADDRESSES));
        cut(shorten(&mut stage.internal_addresses, MAX_ADDRESSES));
        cut(shorten(&mut stage.urls, MAX_URLS));
        cut(shorten(&mut stage.servers, MAX_SERVERS));
        cut(shorten(&mut stage.balancers, MAX_SERVERS));
        for server in &mut stage.servers {
            cut(shorten(&mut server.overlay_addresses, MAX_ADDRESSES));
            cut(shorten(&mut server.ports, MAX_PORTS));
            cut(shorten_targets(&mut server.egress));
        }
    }
    cut(shorten(&mut subject.name_servers, MAX_NAME_SERVERS));
    cut(shorten(
        &mut subject.unresolved_name_servers,
        MAX_NAME_SERVERS,
    ));
    cut(shorten_targets(&mut subject.egress));
    cut(shorten(&mut subject.ocsp_urls, MAX_URLS));
    cut(shorten(&mut subject.timestamp_urls, MAX_URLS));
    cut(shorten(&mut subject.issuers_pem, MAX_ISSUERS));
    cut(shorten(&mut subject.web_issuers_pem, MAX_ISSUERS));
    cut(shorten(&mut subject.declared_ports, MAX_DECLARED_PORTS));
    if let Some(differences) = &mut subject.port_differences {
        cut(shorten(differences, MAX_PORT_DIFFERENCES));
    }
    (subject, is_cut)
}

fn shorten_targets(targets: &mut Vec<Target>) -> bool {
    let mut is_over = shorten(targets, MAX_TARGETS);
    for target in targets {
        is_over |= shorten(&mut target.addresses, MAX_ADDRESSES);
    }
    is_over
}

fn shorten<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let is_over = list.len() > limit;
    list.truncate(limit);
    is_over
}
