//! The declaration's text (TOML, version 1) and what it says. Every refusal names line, column and field, and what would be
//! right; an unknown key is refused. It judges nothing: a port that must not be public may be declared so, for a check to find.

use std::net::IpAddr;
use std::str::FromStr;

use malha_proto::{HostName, Label, is_public};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::web_address::{Host, NameServer, WebAddress};
use crate::limits::{MAX_DECLARATION_BYTES, MAX_DECLARED, MAX_DECLARED_PORTS};
use crate::reason::Reason;
use crate::text_error::TextError;

/// One environment of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Production,
    /// Homologation.
    Development,
}

/// What a text says. Lists keep the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    pub production: Option<StageStatement>,
    pub development: Option<StageStatement>,
    /// Central servers.
    pub central: Vec<Host>,
    /// Security servers of other organizations.
    pub peers: Vec<Host>,
    pub ocsp: Vec<WebAddress>,
    pub time_stamps: Vec<WebAddress>,
    /// Who may have issued the certificates that its servers show, PEM, one certificate each.
    pub issuers: Vec<String>,
    /// The same for its web addresses, where those are others.
    pub web_issuers: Vec<String>,
    /// All servers that must agree about its names.
    pub name_servers: Vec<NameServer>,
    pub ports: DeclaredPorts,
}

/// What is said of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStatement {
    /// The site whose nodes serve it; `production` or `development` unless the text names another.
    pub site: Label,
    pub names: Vec<HostName>,
    /// Public addresses, both families: what the names may resolve to.
    pub addresses: Vec<IpAddr>,
    pub urls: Vec<WebAddress>,
}

/// The ports that the organization's own document lists, as it lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredPorts {
    /// Opened from the outside network to its servers.
    pub from_outside: Vec<u16>,
    pub to_outside: Vec<u16>,
    /// Opened from its inside network to its servers.
    pub from_inside: Vec<u16>,
    pub to_inside: Vec<u16>,
}

impl Stage {
    pub const ALL: [Self; 2] = [Self::Production, Self::Development];

    /// As the text writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Development => "development",
        }
    }
}

impl Statement {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let reader = Reader { text };
        if text.len() > MAX_DECLARATION_BYTES {
            let reason = Reason::TextLong {
                bytes: text.len(),
                most: MAX_DECLARATION_BYTES,
            };
            return Err(reader.at(0, "", reason));
        }
        let raw: Raw = toml::from_str(text).map_err(|error| TextError::syntax(text, &error))?;
        if *raw.version.get_ref() != VERSION {
            let reason = Reason::TextVersion { version: VERSION };
            return Err(reader.at(raw.version.span().start, "version", reason));
        }
        let statement = Self {
            production: reader.stage(raw.production, Stage::Production)?,
            development: reader.stage(raw.development, Stage::Development)?,
            central: reader.list(raw.central, "central")?,
            peers: reader.list(raw.peers, "peers")?,
            ocsp: reader.list(raw.ocsp, "ocsp")?,
            time_stamps: reader.list(raw.time_stamps, "time_stamps")?,
            issuers: reader.issuers(raw.issuers, "issuers")?,
            web_issuers: reader.issuers(raw.web_issuers, "web_issuers")?,
            name_servers: reader.list(raw.name_servers, "name_servers")?,
            ports: reader.ports(raw.ports)?,
        };
        if statement.stages().next().is_none() {
            return Err(reader.at(0, "[production]", Reason::StageMissing));
        }
        Ok(statement)
    }

    /// Reads a text that is new, whose addresses must be public ones. One in the store may be older than this rule.
    pub(super) fn parse_new(text: &str) -> Result<Self, TextError> {
        let statement = Self::parse(text)?;
        let raw: Raw = toml::from_str(text).map_err(|error| TextError::syntax(text, &error))?;
        let reader = Reader { text };
        for (stage, raw) in [
            (Stage::Production, raw.production),
            (Stage::Development, raw.development),
        ] {
            let addresses = raw.and_then(|raw| raw.addresses);
            for address in addresses.iter().flat_map(|it| it.get_ref()) {
                let Address(ip) = reader.item(address, "addresses")?;
                if !is_public(ip) {
                    let field = format!("{}: addresses", stage.as_str());
                    let reason = Reason::AddressNotPublic {
                        address: ip.to_string(),
                    };
                    return Err(reader.at(address.span().start, &field, reason));
                }
            }
        }
        Ok(statement)
    }

    /// A text that says this, for programs that declare.
    #[must_use]
    pub fn to_text(&self) -> String {
        let texts = |hosts: &[Host]| hosts.iter().map(Host::to_string).collect();
        let addresses = |urls: &[WebAddress]| urls.iter().map(WebAddress::to_string).collect();
        let said = Said {
            version: VERSION,
            central: texts(&self.central),
            peers: texts(&self.peers),
            ocsp: addresses(&self.ocsp),
            time_stamps: addresses(&self.time_stamps),
            issuers: &self.issuers,
            web_issuers: &self.web_issuers,
            name_servers: self
                .name_servers
                .iter()
                .map(NameServer::to_string)
                .collect(),
            production: self.production.as_ref().map(SaidStage::of),
            development: self.development.as_ref().map(SaidStage::of),
            ports: (self.ports != DeclaredPorts::default()).then_some(&self.ports),
        };
        match toml::to_string(&said) {
            Ok(text) => text,
            Err(impossible) => unreachable!("lists of strings are TOML: {impossible}"),
        }
    }

    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<&StageStatement> {
        match stage {
            Stage::Production => self.production.as_ref(),
            Stage::Development => self.development.as_ref(),
        }
    }

    /// Those that the text has.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, &StageStatement)> {
        Stage::ALL
            .into_iter()
            .filter_map(|stage| Some((stage, self.stage(stage)?)))
    }
}

impl StageStatement {
    /// One of whom nothing is said yet.
    #[must_use]
    pub fn of_site(site: Label) -> Self {
        Self {
            site,
            names: Vec::new(),
            addresses: Vec::new(),
            urls: Vec::new(),
        }
    }
}

type Texts = Option<Spanned<Vec<Spanned<String>>>>;
type Ports = Option<Spanned<Vec<Spanned<u16>>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: Spanned<i64>,
    central: Texts,
    peers: Texts,
    ocsp: Texts,
    time_stamps: Texts,
    issuers: Texts,
    web_issuers: Texts,
    name_servers: Texts,
    production: Option<RawStage>,
    development: Option<RawStage>,
    ports: Option<RawPorts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStage {
    site: Option<Spanned<String>>,
    names: Texts,
    addresses: Texts,
    urls: Texts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPorts {
    from_outside: Ports,
    to_outside: Ports,
    from_inside: Ports,
    to_inside: Ports,
}

#[derive(Serialize)]
struct Said<'a> {
    version: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    central: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ocsp: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    time_stamps: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    issuers: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    web_issuers: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    name_servers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    production: Option<SaidStage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    development: Option<SaidStage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<&'a DeclaredPorts>,
}

#[derive(Serialize)]
struct SaidStage<'a> {
    site: &'a Label,
    names: &'a [HostName],
    addresses: &'a [IpAddr],
    urls: &'a [WebAddress],
}

impl<'a> SaidStage<'a> {
    fn of(it: &'a StageStatement) -> Self {
        Self {
            site: &it.site,
            names: &it.names,
            addresses: &it.addresses,
            urls: &it.urls,
        }
    }
}

/// Turns raw fields into right ones; knows the text, for lines and columns.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn stage(
        &self,
        raw: Option<RawStage>,
        stage: Stage,
    ) -> Result<Option<StageStatement>, TextError> {
        let Some(raw) = raw else {
            return Ok(None);
        };
        let field = |field: &str| format!("{}: {field}", stage.as_str());
        let usual = Spanned::new(0..0, stage.as_str().to_owned());
        let site = self.item(&raw.site.unwrap_or(usual), &field("site"))?;
        let names = self.list::<Name>(raw.names, &field("names"))?;
        let addresses = self.list::<Address>(raw.addresses, &field("addresses"))?;
        Ok(Some(StageStatement {
            site,
            names: names.into_iter().map(|Name(name)| name).collect(),
            addresses: addresses.into_iter().map(|Address(it)| it).collect(),
            urls: self.list(raw.urls, &field("urls"))?,
        }))
    }

    fn issuers(&self, raw: Texts, field: &str) -> Result<Vec<String>, TextError> {
        let issuers = self.list::<Pem>(raw, field)?;
        Ok(issuers.into_iter().map(|Pem(text)| text).collect())
    }

    fn ports(&self, raw: Option<RawPorts>) -> Result<DeclaredPorts, TextError> {
        let Some(raw) = raw else {
            return Ok(DeclaredPorts::default());
        };
        Ok(DeclaredPorts {
            from_outside: self.port_list(raw.from_outside, "from_outside")?,
            to_outside: self.port_list(raw.to_outside, "to_outside")?,
            from_inside: self.port_list(raw.from_inside, "from_inside")?,
            to_inside: self.port_list(raw.to_inside, "to_inside")?,
        })
    }

    fn port_list(&self, raw: Ports, field: &str) -> Result<Vec<u16>, TextError> {
        let Some(raw) = raw else {
            return Ok(Vec::new());
        };
        let mut ports = Vec::with_capacity(raw.get_ref().len());
        for port in raw.get_ref() {
            let reason = match *port.get_ref() {
                0 => Some(Reason::PortZero),
                number if ports.contains(&number) => Some(Reason::StandsTwice {
                    text: number.to_string(),
                }),
                _ if ports.len() == MAX_DECLARED_PORTS => Some(Reason::AtMost {
                    most: MAX_DECLARED_PORTS,
                }),
                _ => None,
            };
            if let Some(reason) = reason {
                let field = format!("ports: {field}");
                return Err(self.at(port.span().start, &field, reason));
            }
            ports.push(*port.get_ref());
        }
        Ok(ports)
    }

    /// Each once.
    fn list<T: FromStr<Err: Into<Reason>> + PartialEq>(
        &self,
        raw: Texts,
        field: &str,
    ) -> Result<Vec<T>, TextError> {
        let Some(raw) = raw else {
            return Ok(Vec::new());
        };
        let mut items = Vec::with_capacity(raw.get_ref().len());
        for text in raw.get_ref() {
            let item: T = self.item(text, field)?;
            let reason = if items.contains(&item) {
                let short: String = text.get_ref().chars().take(MAX_QUOTED_CHARS).collect();
                Reason::StandsTwice {
                    text: format!("{short:?}"),
                }
            } else if items.len() == MAX_DECLARED {
                Reason::AtMost { most: MAX_DECLARED }
            } else {
                items.push(item);
                continue;
            };
            return Err(self.at(text.span().start, field, reason));
        }
        Ok(items)
    }

    fn item<T: FromStr<Err: Into<Reason>>>(
        &self,
        text: &Spanned<String>,
        field: &str,
    ) -> Result<T, TextError> {
        let parsed = text.get_ref().parse();
        parsed.map_err(|error: T::Err| self.at(text.span().start, field, error.into()))
    }

    fn at(&self, offset: usize, field: &str, reason: Reason) -> TextError {
        TextError::at(self.text, offset, field, reason)
    }
}

/// A host name without a wildcard.
#[derive(PartialEq)]
struct Name(HostName);

impl FromStr for Name {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text.parse::<Host>() {
            Ok(Host::Name(name)) => Ok(Self(name)),
            Ok(Host::Address(_)) => Err(Reason::AddressForName {
                text: text.to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// An address that one machine can have.
#[derive(PartialEq)]
struct Address(IpAddr);

impl FromStr for Address {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let address: IpAddr = text.parse().map_err(|_| Reason::NoAddress {
            text: text.to_owned(),
        })?;
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(Reason::AddressOfNobody {
                address: address.to_string(),
            });
        }
        Ok(Self(address))
    }
}

/// One certificate between its PEM lines (RFC 7468).
#[derive(PartialEq)]
struct Pem(String);

impl FromStr for Pem {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let body = text
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END));
        let is_base64 = |byte: u8| {
            byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=".contains(&byte)
        };
        match body {
            Some(body) if !body.trim().is_empty() && body.bytes().all(is_base64) => {
                Ok(Self(format!("{}\n", text.trim())))
            }
            _ => Err(Reason::NoCertificate),
        }
    }
}

const VERSION: i64 = 1;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";
/// What a refusal repeats of a long text.
const MAX_QUOTED_CHARS: usize = 100;

#[cfg(test)]
mod tests;
