//! The console's reads and writes over the world in memory.

use async_trait::async_trait;
use malha_web::model::*;
use malha_web::{
    Bilingual, Console, CsrfSecret, LoginAttempt, LoginRefused, Role, SessionToken, Viewer,
};
use tokio::sync::broadcast;

use super::rules::{broken_node, check_label, fits, no_such, refused, taken};
use super::{MemoryConsole, PASSWORD, USER, balancers, zones};

#[async_trait]
impl Console for MemoryConsole {
    async fn login(&self, attempt: LoginAttempt) -> Result<SessionToken, LoginRefused> {
        let mut world = self.world.lock().unwrap();
        if world.failed_logins >= 3 {
            return Err(LoginRefused { retry_after_s: 60 });
        }
        if attempt.user != USER || attempt.password.reveal() != PASSWORD {
            world.failed_logins += 1;
            return Err(LoginRefused { retry_after_s: 0 });
        }
        let token = format!("session-{}", world.sessions.len());
        world.sessions.push(token.clone());
        Ok(token.into())
    }

    async fn session(&self, token: &SessionToken) -> Option<Viewer> {
        self.peek(|world| {
            (world.any_session || world.sessions.iter().any(|known| known == token.reveal())).then(
                || Viewer {
                    user: USER.into(),
                    role: world.role.unwrap_or(Role::Owner),
                    csrf: CsrfSecret::from(format!("csrf-of-{}", token.reveal())),
                },
            )
        })
    }

    async fn logout(&self, token: &SessionToken) {
        self.world
            .lock()
            .unwrap()
            .sessions
            .retain(|known| known != token.reveal());
    }

    fn changes(&self) -> broadcast::Receiver<ChangeNotice> {
        self.changes.subscribe()
    }

    async fn overview(&self, _: &Viewer) -> Result<Overview, Unreadable> {
        self.read(|world| {
            let in_state = |state| {
                world
                    .nodes
                    .iter()
                    .filter(|node| node.row.state == state)
                    .count() as u32
            };
            let broken: Vec<BrokenNode> = world.nodes.iter().filter_map(broken_node).collect();
            Overview {
                revision: world.revision,
                convergence: world.convergence(),
                organizations: world.organizations.len() as u32,
                sites: world.sites.len() as u32,
                nodes: world.nodes.len() as u32 - in_state(NodeState::Removed),
                nodes_online: world
                    .nodes
                    .iter()
                    .filter(|node| node.row.hops.tunnel.state == HopState::Up)
                    .count() as u32,
                nodes_pending: in_state(NodeState::Pending),
                nodes_quarantined: in_state(NodeState::Quarantined),
                services: world.services.len() as u32,
                services_up: world
                    .services
                    .iter()
                    .filter(|service| service.state == ProbeState::Up)
                    .count() as u32,
                routes: world.routes.len() as u32,
                tokens_active: world
                    .tokens
                    .iter()
                    .filter(|token| token.state == TokenState::Active)
                    .count() as u32,
                broken_total: broken.len() as u32,
                broken,
            }
        })
    }

    async fn nodes(&self, _: &Viewer, query: &NodeQuery) -> Result<Listing<NodeRow>, Unreadable> {
        self.read(|world| {
            let rows: Vec<NodeRow> = world
                .nodes
                .iter()
                .map(|node| node.row.clone())
                .filter(|row| fits(row, query))
                .collect();
            let total = rows.len();
            Listing {
                rows: rows
                    .into_iter()
                    .skip(query.skip)
                    .take(query.limit)
                    .collect(),
                total,
            }
        })
    }

    async fn node(&self, _: &Viewer, id: &NodeId) -> Result<NodeDetail, Unreadable> {
        self.read(|world| {
            let mut node = world
                .nodes
                .iter()
                .find(|node| node.row.id == *id)
                .cloned()?;
            node.services = world
                .services
                .iter()
                .filter(|service| service.node == *id)
                .cloned()
                .collect();
            Some(node)
        })?
        .ok_or(Unreadable::NotFound)
    }

    async fn organizations(&self, _: &Viewer) -> Result<Listing<OrganizationRow>, Unreadable> {
        self.read(|world| {
            let row = |name: &String| OrganizationRow {
                name: name.as_str().into(),
                sites: world
                    .sites
                    .iter()
                    .filter(|(organization, _)| organization == name)
                    .count() as u32,
                nodes: world
                    .nodes
                    .iter()
                    .filter(|node| node.row.organization.as_str() == name)
                    .count() as u32,
            };
            world
                .organizations
                .iter()
                .map(row)
                .collect::<Vec<_>>()
                .into()
        })
    }

    async fn sites(&self, _: &Viewer) -> Result<Listing<SiteRow>, Unreadable> {
        self.read(|world| {
            let row = |(organization, name): &(String, String)| {
                let mut nodes = 0;
                let mut online = 0;
                for node in &world.nodes {
                    if node.row.organization.as_str() == organization
                        && node.row.site.as_str() == name
                    {
                        nodes += 1;
                        online += u32::from(node.row.hops.tunnel.state == HopState::Up);
                    }
                }
                SiteRow {
                    organization: organization.as_str().into(),
                    name: name.as_str().into(),
                    nodes,
                    online,
                }
            };
            world.sites.iter().map(row).collect::<Vec<_>>().into()
        })
    }

    async fn tokens(&self, _: &Viewer) -> Result<Listing<TokenRow>, Unreadable> {
        self.read(|world| world.tokens.clone().into())
    }

    async fn services(&self, _: &Viewer) -> Result<Listing<ServiceRow>, Unreadable> {
        self.read(|world| world.services.clone().into())
    }

    async fn routes(&self, _: &Viewer) -> Result<Listing<RouteRow>, Unreadable> {
        self.read(|world| world.routes.clone().into())
    }

    async fn zones(&self, _: &Viewer) -> Result<Listing<ZoneRow>, Unreadable> {
        self.read(|world| {
            let row = |zone: &ZoneDetail| ZoneRow {
                name: zone.name.clone(),
                serial: zone.serial,
                record_sets: zone.record_sets.total as u32,
            };
            world.zones.iter().map(row).collect::<Vec<_>>().into()
        })
    }

    async fn zone(&self, _: &Viewer, name: &str) -> Result<ZoneDetail, Unreadable> {
        self.read(|world| {
            world
                .zones
                .iter()
                .find(|zone| zone.name.as_str() == name)
                .cloned()
        })?
        .ok_or(Unreadable::NotFound)
    }

    async fn activity(&self, _: &Viewer) -> Result<Listing<ActivityRow>, Unreadable> {
        self.read(|world| world.activity.clone().into())
    }

    async fn create_organization(
        &self,
        _: &Viewer,
        new: NewOrganization,
    ) -> Result<Outcome, Refused> {
        self.write(
            Topic::Sites,
            Action::OrganizationCreated,
            &new.name,
            |world| {
                check_label("name", &new.name)?;
                if world.organizations.contains(&new.name) {
                    return Err(taken("name", &new.name));
                }
                world.organizations.push(new.name.clone());
                Ok(())
            },
        )
    }

    async fn create_site(&self, _: &Viewer, new: NewSite) -> Result<Outcome, Refused> {
        self.write(
            Topic::Sites,
            Action::SiteCreated,
            &format!("{}/{}", new.organization, new.name),
            |world| {
                check_label("name", &new.name)?;
                if !world.organizations.contains(&new.organization) {
                    return Err(no_such("organization"));
                }
                world
                    .sites
                    .push((new.organization.clone(), new.name.clone()));
                Ok(())
            },
        )
    }

    async fn create_token(&self, _: &Viewer, new: NewToken) -> Result<IssuedToken, Refused> {
        self.issue(new, None)
    }

    async fn revoke_token(&self, _: &Viewer, id: &TokenId) -> Result<Outcome, Refused> {
        self.write(Topic::Tokens, Action::TokenRevoked, id.as_str(), |world| {
            let token = world
                .tokens
                .iter_mut()
                .find(|token| token.id == *id)
                .ok_or_else(|| no_such("token"))?;
            token.state = TokenState::Revoked;
            Ok(())
        })
    }

    async fn replace_node(&self, _: &Viewer, id: &NodeId) -> Result<IssuedToken, Refused> {
        let row = self.peek(|world| {
            world
                .nodes
                .iter()
                .find(|node| node.row.id == *id)
                .map(|node| node.row.clone())
        });
        let row = row.ok_or_else(|| no_such("node"))?;
        let site = format!("{}/{}", row.organization.as_str(), row.site.as_str());
        self.issue(
            NewToken {
                site,
                profile: row.profile,
                lifetime_s: 3600,
                uses: 1,
            },
            Some(row.name),
        )
    }

    async fn remove_node(
        &self,
        _: &Viewer,
        id: &NodeId,
        seen: &[String],
    ) -> Result<Outcome, Refused> {
        self.write(Topic::Nodes, Action::NodeRemoved, id.as_str(), |world| {
            let node = world.node_mut(id)?;
            let mut leading = node.leading.iter().map(|it| it.name.as_str());
            if let Some(unseen) = leading.find(|it| !seen.iter().any(|seen| seen == it)) {
                return Err(taken("id", unseen));
            }
            node.row.state = NodeState::Removed;
            Ok(())
        })
    }

    async fn resolve_quarantine(
        &self,
        _: &Viewer,
        id: &NodeId,
        keep: Keep,
    ) -> Result<Outcome, Refused> {
        self.write(
            Topic::Nodes,
            Action::QuarantineResolved,
            id.as_str(),
            |world| {
                let node = world.node_mut(id)?;
                let quarantine = node
                    .quarantine
                    .take()
                    .ok_or_else(|| no_such("quarantine"))?;
                let kept = if keep == Keep::This {
                    quarantine.this
                } else {
                    quarantine.other
                };
                node.row.state = NodeState::Active;
                node.row.hops.tunnel.endpoint = Some(kept.source);
                Ok(())
            },
        )
    }

    async fn add_service(&self, _: &Viewer, new: NewService) -> Result<Outcome, Refused> {
        self.write(Topic::Services, Action::ServiceAdded, &new.name, |world| {
            check_label("name", &new.name)?;
            if new.target.parse::<std::net::SocketAddr>().is_err() {
                return Err(refused(
                    "target",
                    "Use endereço:porta, como 127.0.0.1:8080.",
                    "Use address:port, such as 127.0.0.1:8080.",
                ));
            }
            let node = world.node_mut(&new.node)?.row.clone();
            world.services.push(ServiceRow {
                id: format!("{}.{}", new.node.as_str(), new.name).into(),
                node: new.node.clone(),
                node_path: format!(
                    "{}/{}/{}",
                    node.organization.as_str(),
                    node.site.as_str(),
                    node.name.as_str()
                )
                .into(),
                name: new.name.as_str().into(),
                port: new.port,
                protocol: new.protocol,
                target: new.target.as_str().into(),
                exposure: new.exposure,
                state: ProbeState::Unknown,
                since: None,
            });
            Ok(())
        })
    }

    async fn remove_service(&self, _: &Viewer, id: &ServiceId) -> Result<Outcome, Refused> {
        self.write(
            Topic::Services,
            Action::ServiceRemoved,
            id.as_str(),
            |world| {
                if world.routes.iter().any(|route| {
                    route
                        .services
                        .iter()
                        .any(|service| service.as_str() == id.as_str())
                }) {
                    let text = Bilingual {
                        pt: "Uma rota usa este serviço; remova a rota antes.".into(),
                        en: "A route uses this service; remove the route first.".into(),
                    };
                    return Err(Refused {
                        field: None,
                        text,
                        kind: RefusalKind::Conflict,
                    });
                }
                world.services.retain(|service| service.id != *id);
                Ok(())
            },
        )
    }

    async fn add_route(&self, _: &Viewer, new: NewRoute) -> Result<Outcome, Refused> {
        self.write(Topic::Routes, Action::RouteAdded, &new.host, |world| {
            if new
                .host
                .split('.')
                .any(|label| check_label("host", label).is_err())
            {
                return Err(check_label("host", "").unwrap_err());
            }
            world.routes.push(RouteRow {
                id: format!("{}{}", new.host, new.path).into(),
                host: new.host.as_str().into(),
                path: new.path.as_str().into(),
                url: Some(format!("https://{}{}", new.host, new.path).into()),
                services: new.services.iter().map(|id| id.as_str().into()).collect(),
                elsewhere: Some("203.0.113.10".to_owned()),
                state: RouteState::Unknown,
                since: None,
            });
            Ok(())
        })
    }

    async fn remove_route(&self, _: &Viewer, id: &RouteId) -> Result<Outcome, Refused> {
        self.write(Topic::Routes, Action::RouteRemoved, id.as_str(), |world| {
            world.routes.retain(|route| route.id != *id);
            Ok(())
        })
    }

    async fn put_record_set(&self, _: &Viewer, new: NewRecordSet) -> Result<Outcome, Refused> {
        zones::put(self, new)
    }

    async fn delete_record_set(&self, _: &Viewer, key: RecordSetKey) -> Result<Outcome, Refused> {
        zones::delete(self, key)
    }

    async fn balancers(&self, _: &Viewer) -> Result<Listing<BalancerRow>, Unreadable> {
        self.read(|world| world.balancers.clone().into())
    }

    async fn set_server_mode(
        &self,
        _: &Viewer,
        balancer: &BalancerId,
        service: &ServiceId,
        mode: ServerMode,
    ) -> Result<Outcome, Refused> {
        balancers::set_mode(self, balancer, service, mode)
    }
}
