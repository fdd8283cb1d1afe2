//! The few rules that a stand-in needs to refuse something and to list something.

use malha_web::Bilingual;
use malha_web::model::*;

pub(super) fn broken_node(node: &NodeDetail) -> Option<BrokenNode> {
    let row = &node.row;
    let path = format!(
        "{}/{}/{}",
        row.organization.as_str(),
        row.site.as_str(),
        row.name.as_str()
    );
    Some(BrokenNode {
        id: row.id.clone(),
        path: path.into(),
        hop: row.hops.broken.clone()?,
    })
}

pub(super) fn fits(row: &NodeRow, query: &NodeQuery) -> bool {
    let text = format!(
        "{}/{}/{} {:?}",
        row.organization.as_str(),
        row.site.as_str(),
        row.name.as_str(),
        row.ipv4
    );
    text.contains(&query.text)
        && query
            .state
            .map_or(row.state != NodeState::Removed, |state| row.state == state)
        && (!query.broken || row.hops.broken.is_some())
}

pub(super) fn check_label(field: &str, label: &str) -> Result<(), Refused> {
    let good = !label.is_empty()
        && label.len() <= 63
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if good {
        return Ok(());
    }
    Err(refused(
        field,
        &format!("“{label}” não serve: use só letras minúsculas, números e hífens."),
        &format!("“{label}” will not do: use only lower-case letters, digits and hyphens."),
    ))
}

pub(super) fn taken(field: &str, name: &str) -> Refused {
    let kind = RefusalKind::Conflict;
    Refused {
        kind,
        ..refused(
            field,
            &format!("“{name}” já existe."),
            &format!("“{name}” exists already."),
        )
    }
}

pub(super) fn no_such(field: &str) -> Refused {
    Refused {
        kind: RefusalKind::NotFound,
        ..refused(field, "Isto não existe.", "This does not exist.")
    }
}

pub(super) fn refused(field: &str, pt: &str, en: &str) -> Refused {
    let text = Bilingual {
        pt: pt.into(),
        en: en.into(),
    };
    Refused {
        field: Some(field.into()),
        text,
        kind: RefusalKind::Invalid,
    }
}
