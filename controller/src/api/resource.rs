//! What every resource of the API answers alike: shown by its id, in pages, after a creation, a change or a removal. It
//! decides nothing about any of them.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::response::Response;
use malha_core::{Answer, Command, Noun, State};
use serde::Serialize;

use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::listing::{Listing, Page, page};
use crate::api::problem::Problem;
use crate::api::write::{Removed, WriteQuery, Written};

/// Something with an id, as the API shows it.
pub(super) trait Resource: Serialize + Sized {
    type Id: Clone + Ord + Display + FromStr<Err: Display>;
    const NOUN: Noun;

    /// None where the state has none of this id.
    fn of(api: &Api, state: &State, id: Self::Id) -> Option<Self>;
}

impl Api {
    pub(super) fn shown<R: Resource>(&self, id: R::Id) -> Result<R, Problem> {
        R::of(self, &self.state(), id.clone()).ok_or_else(|| Problem::not_found(R::NOUN, id))
    }

    /// The page that `listing` asks for of those with these ids, which come in order.
    pub(super) fn listed<R: Resource>(
        &self,
        state: &State,
        listing: &Listing,
        ids: impl Iterator<Item = R::Id>,
    ) -> Result<Json<Page<R>>, Problem> {
        let entries = ids.map(|id| (id.clone(), id));
        page(listing, entries, |id| R::of(self, state, id)).map(Json)
    }

    /// Creates one, and answers with it. `made` reads its id from the answer.
    pub(super) async fn add<R: Resource, P>(
        &self,
        caller: &Caller<P>,
        query: &WriteQuery,
        command: Command,
        made: impl Fn(&Answer) -> Option<R::Id>,
    ) -> Result<Response, Problem> {
        let (accepted, id, creation) = self.create(caller, query, command, made).await?;
        let resource = R::of(self, &self.state(), id);
        self.created(&accepted, query, creation, resource).await
    }

    /// Changes one, and answers with it.
    pub(super) async fn set<R: Resource, P>(
        &self,
        caller: &Caller<P>,
        query: &WriteQuery,
        id: R::Id,
        command: Command,
    ) -> Result<Json<Written<R>>, Problem> {
        let accepted = self.change(caller, query, command).await?;
        let resource = self.shown(id)?;
        self.written(&accepted, query, resource).await.map(Json)
    }

    /// Removes something, and answers with its id or name.
    pub(super) async fn remove<P>(
        &self,
        caller: &Caller<P>,
        query: &WriteQuery,
        id: impl Display,
        command: Command,
    ) -> Result<Json<Written<Removed>>, Problem> {
        let accepted = self.change(caller, query, command).await?;
        let removed = id.to_string();
        self.written(&accepted, query, Removed { removed })
            .await
            .map(Json)
    }
}
