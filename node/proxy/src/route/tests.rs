//! Route matching: stories, and a property against a model that tries every route.

use proptest::prelude::*;

use super::*;

fn backend(service: u64, health: BackendHealth) -> BackendSpec {
    BackendSpec {
        service,
        node: format!("node-{service}"),
        address: SocketAddr::from(([100, 64, 0, 1], 8080)),
        site_name: "Garagem 01".into(),
        org_name: "Estacionamentos".into(),
        health,
        protocol: Protocol::Http,
    }
}

fn spec(id: u64, host: &str, path: &str) -> RouteSpec {
    RouteSpec {
        id,
        host: HostName::parse(host).unwrap(),
        path_prefix: path.into(),
        backends: vec![backend(id, BackendHealth::Up)],
    }
}

fn found(table: &RouteTable, host: &str, path: &str) -> Option<u64> {
    match table.find(&HostName::from_authority(host).unwrap(), path) {
        Found::Route(route) => Some(route.id),
        Found::NoPath | Found::UnknownHost => None,
    }
}

#[test]
fn the_longest_prefix_of_a_host_wins() {
    let table = RouteTable::build(vec![
        spec(1, "a.org", "/"),
        spec(2, "a.org", "/api"),
        spec(3, "a.org", "/api/v2/"),
    ])
    .unwrap();
    assert_eq!(found(&table, "a.org", "/apiary"), Some(1));
    assert_eq!(found(&table, "a.org", "/api/v1"), Some(2));
    assert_eq!(found(&table, "a.org", "/api/v2"), Some(3));
}

#[test]
fn an_exact_host_hides_the_wildcard_and_a_wildcard_is_one_label() {
    let table =
        RouteTable::build(vec![spec(1, "*.a.org", "/"), spec(2, "x.a.org", "/only")]).unwrap();
    assert_eq!(found(&table, "y.a.org", "/"), Some(1));
    assert_eq!(found(&table, "x.a.org", "/only"), Some(2));
    assert_eq!(found(&table, "x.a.org", "/other"), None);
    assert_eq!(found(&table, "a.org", "/"), None);
    assert_eq!(found(&table, "z.y.a.org", "/"), None);
}

#[test]
fn a_wrong_route_refuses_the_table_and_is_named() {
    let twice = vec![spec(1, "a.org", "/api"), spec(2, "A.org.", "/api/")];
    let error = RouteTable::build(twice).unwrap_err();
    assert_eq!(error.to_string(), "routes 1 and 2 both claim a.org/api");

    let mut empty = spec(7, "a.org", "/");
    empty.backends.clear();
    let error = RouteTable::build(vec![empty]).unwrap_err();
    assert_eq!(error, RouteError::NoBackend { route: 7 });

    let error = RouteTable::build(vec![spec(9, "a.org", "relative")]).unwrap_err();
    assert_eq!(error.to_string(), "route 9: a path prefix starts with `/`");
}

#[test]
fn backends_that_are_up_take_turns() {
    let down = BackendHealth::Down {
        hop: Hop::Tunnel,
        since_ms: 1,
    };
    let mut route = spec(1, "a.org", "/");
    route.backends = vec![
        backend(1, BackendHealth::Up),
        backend(2, down),
        backend(3, BackendHealth::Up),
    ];
    let table = RouteTable::build(vec![route]).unwrap();
    let Found::Route(route) = table.find(&HostName::parse("a.org").unwrap(), "/") else {
        panic!("the route is there");
    };
    let first: Vec<u64> = (0..4).map(|_| route.up_in_turn()[0].service).collect();
    assert_eq!(first, [1, 3, 1, 3]);
}

/// What the table must answer, by trying every route and keeping the best.
fn model(specs: &[RouteSpec], host: &HostName, path: &str) -> Option<u64> {
    let serves = |spec: &&RouteSpec, exact: bool| {
        let name = spec.host.as_str();
        match name.strip_prefix('*') {
            None => exact && name == host.as_str(),
            Some(tail) => {
                !exact
                    && host
                        .as_str()
                        .strip_suffix(tail)
                        .is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    };
    let has_exact = specs.iter().any(|spec| serves(&spec, true));
    let segments = |text: &str| -> Vec<String> {
        text.trim_end_matches('/')
            .split('/')
            .map(str::to_owned)
            .collect()
    };
    specs
        .iter()
        .filter(|spec| serves(spec, has_exact))
        .filter(|spec| {
            let path: Vec<String> = path.split('/').map(str::to_owned).collect();
            path.starts_with(&segments(&spec.path_prefix))
        })
        .max_by_key(|spec| segments(&spec.path_prefix).len())
        .map(|spec| spec.id)
}

fn host_text() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]", 1..4).prop_map(|labels| labels.join("."))
}

fn path_text() -> impl Strategy<Value = String> {
    proptest::collection::vec("[xy]{1,2}", 0..4).prop_map(|parts| format!("/{}", parts.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn the_table_answers_like_the_model(
        routes in proptest::collection::vec((any::<bool>(), host_text(), path_text(), any::<bool>()), 0..12),
        host in host_text(),
        path in path_text(),
        slash in any::<bool>(),
    ) {
        let mut specs: Vec<RouteSpec> = Vec::new();
        for (index, (wildcard, name, prefix, slash)) in routes.into_iter().enumerate() {
            let name = if wildcard { format!("*.{name}") } else { name };
            let bare = prefix.trim_end_matches('/');
            if specs.iter().any(|other| {
                other.host.as_str() == name && other.path_prefix.trim_end_matches('/') == bare
            }) {
                continue;
            }
            let prefix = if slash && prefix != "/" { format!("{prefix}/") } else { prefix };
            specs.push(spec(index as u64, &name, &prefix));
        }
        let path = if slash && path != "/" { format!("{path}/") } else { path };
        let table = RouteTable::build(specs.clone()).unwrap();
        let host = HostName::parse(&host).unwrap();
        prop_assert_eq!(found(&table, host.as_str(), &path), model(&specs, &host, &path));
        let known = specs.iter().any(|spec| model(std::slice::from_ref(spec), &host, &spec.path_prefix).is_some());
        prop_assert_eq!(table.knows(&host), known);
    }
}
