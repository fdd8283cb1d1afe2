//! What became of a netmap on the data plane.

/// The answer to [`PlaneOrder::Apply`](super::PlaneOrder::Apply). Each part names the first thing that failed in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The tunnel, its peers and what they may do. The map is in force once they are as it says.
    pub peers: Result<(), String>,
    /// What this node offers through the tunnel. What can't be opened stays closed, and the map is in force all the same.
    pub doors: Result<(), String>,
}

impl Applied {
    #[must_use]
    pub fn whole() -> Self {
        Self {
            peers: Ok(()),
            doors: Ok(()),
        }
    }

    /// Nothing could be done.
    #[must_use]
    pub fn failed(why: String) -> Self {
        Self {
            peers: Err(why),
            doors: Ok(()),
        }
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.trouble().is_none()
    }

    /// What failed, the graver part first.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        let failures = [&self.peers, &self.doors].map(|part| part.as_ref().err());
        failures.into_iter().flatten().next().map(String::as_str)
    }
}
