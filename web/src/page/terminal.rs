//! The commands that empty pages suggest, word for word as an operator types them. They must match
//! the CLI.

/// On the machine that joins, followed by the token.
pub(super) const UP: &str = "malha-node up";
pub(super) const ADD_ORGANIZATION: &str = "malha org add prefeitura";
pub(super) const ADD_OPERATOR: &str = "malha operator add bia --role operator";
pub(super) const ADD_SITE: &str = "malha site add prefeitura/garagem-01";
pub(super) const ADD_TOKEN: &str = "malha token add prefeitura/garagem-01 --profile garage";
pub(super) const ADD_SERVICE: &str =
    "malha service add servidor web --port 80 --target 127.0.0.1:8080";
pub(super) const ADD_ROUTE: &str = "malha route add garagem-01.example.com --service servidor/web";
pub(super) const ADD_ZONE: &str = "malha zone add example.com";
pub(super) const ADD_BALANCER: &str =
    "malha balancer add balanceador xroad --port 5500 --backend ss-1/xroad,ss-2/xroad";
pub(super) const VERIFY_AUDIT: &str = "malha audit verify";
pub(super) const DECLARE: &str = "malha check declare sedec declaration.toml";
pub(super) const VERIFY_EVIDENCE: &str = "malha check verify evidence.jsonl";
