//! Every way in which the edge answers for itself, with its status and the hop at fault. Holds no text for people.

use std::io;

use http::StatusCode;

use crate::hop::Hop;
use crate::route::{BackendHealth, BackendSpec};

/// What went wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    BadRequest,
    UnknownHost,
    NoRoute,
    MethodRefused,
    UploadStalled,
    TargetTooLong,
    Misdirected,
    HeadersTooLarge,
    TransferCoding,
    /// A limit of the edge is reached.
    EdgeBusy,
    /// A process beside the edge does not answer.
    EdgeDown,
    TunnelDown,
    OriginDown,
    /// The origin ended the connection or spoke nonsense instead of a response.
    OriginBroken,
    OriginSlow,
}

/// A fault with what is known about the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) place: Option<Place>,
    /// Unix time in milliseconds.
    pub(crate) since_ms: Option<u64>,
}

/// The site that should have answered, as its visitors know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) site_name: String,
    pub(crate) org_name: String,
}

impl Fault {
    /// Every fault, for tests that must not forget one.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::UnknownHost,
        Self::NoRoute,
        Self::MethodRefused,
        Self::UploadStalled,
        Self::TargetTooLong,
        Self::Misdirected,
        Self::HeadersTooLarge,
        Self::TransferCoding,
        Self::EdgeBusy,
        Self::EdgeDown,
        Self::TunnelDown,
        Self::OriginDown,
        Self::OriginBroken,
        Self::OriginSlow,
    ];

    pub(crate) fn hop(self) -> Hop {
        match self {
            Self::BadRequest
            | Self::UnknownHost
            | Self::NoRoute
            | Self::MethodRefused
            | Self::UploadStalled
            | Self::TargetTooLong
            | Self::Misdirected
            | Self::HeadersTooLarge
            | Self::TransferCoding => Hop::Client,
            Self::EdgeBusy | Self::EdgeDown => Hop::Edge,
            Self::TunnelDown => Hop::Tunnel,
            Self::OriginDown | Self::OriginBroken | Self::OriginSlow => Hop::Origin,
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::UnknownHost | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::UploadStalled => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::EdgeBusy => StatusCode::SERVICE_UNAVAILABLE,
            Self::EdgeDown | Self::OriginDown | Self::OriginBroken => StatusCode::BAD_GATEWAY,
            Self::TunnelDown | Self::OriginSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable name in the problem document's `type`.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::UnknownHost => "unknown-host",
            Self::NoRoute => "no-route",
            Self::MethodRefused => "method-refused",
            Self::UploadStalled => "upload-stalled",
            Self::TargetTooLong => "target-too-long",
            Self::Misdirected => "misdirected",
            Self::HeadersTooLarge => "headers-too-large",
            Self::TransferCoding => "transfer-coding",
            Self::EdgeBusy => "edge-busy",
            Self::EdgeDown => "edge-down",
            Self::TunnelDown => "tunnel-down",
            Self::OriginDown => "origin-down",
            Self::OriginBroken => "origin-broken",
            Self::OriginSlow => "origin-slow",
        }
    }

    /// Who is to blame for a failed dial through the tunnel.
    pub(crate) fn of_dial(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted => Self::OriginDown,
            _ => Self::TunnelDown,
        }
    }
}

impl Failure {
    /// The failure of a backend, as far as its own health is known.
    pub(crate) fn at(fault: Fault, backend: &BackendSpec) -> Self {
        let since_ms = match backend.health {
            BackendHealth::Down { since_ms, .. } => Some(since_ms),
            BackendHealth::Up => None,
        };
        Self {
            fault,
            place: Some(Place {
                site_name: backend.site_name.clone(),
                org_name: backend.org_name.clone(),
            }),
            since_ms,
        }
    }

    /// What the probes say of a backend; `None` when it is up.
    pub(crate) fn probed(backend: &BackendSpec) -> Option<Self> {
        let BackendHealth::Down { hop, .. } = backend.health else {
            return None;
        };
        let fault = match hop {
            Hop::Client | Hop::Edge => Fault::EdgeDown,
            Hop::Tunnel => Fault::TunnelDown,
            Hop::Origin => Fault::OriginDown,
        };
        Some(Self::at(fault, backend))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            place: None,
            since_ms: None,
        }
    }
}
