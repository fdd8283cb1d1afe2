//! How many descriptors this process may have. A service manager mostly allows far more than it gives at first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes all that is allowed: each connection costs some.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, limit = limit.current, "this process gets no more descriptors than it had at first");
    }
}
