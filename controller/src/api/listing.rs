//! Lists in pages: a page holds what follows an id, so that a list can be read while it changes. It never skips what was
//! there from the first page to the last.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::problem::Problem;
use crate::refusals::Refusal;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Most items in the answer; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    #[param(max_length = 300)]
    pub(super) after: Option<String>,
}

/// The page of `entries`, which come in the order of their keys, that a query asks for.
pub(super) fn page<K, E, T>(
    listing: &Listing,
    entries: impl Iterator<Item = (K, E)>,
    show: impl Fn(E) -> Option<T>,
) -> Result<Page<T>, Problem>
where
    K: Ord + Display + FromStr,
{
    let after = listing.after.as_deref().map(str::parse::<K>).transpose();
    page_after(
        listing.limit,
        after.map_err(|_| Problem::invalid("after", &Refusal::PageAfter))?,
        entries,
        show,
    )
}

/// The same with a cursor that is already read.
pub(super) fn page_after<K: Ord + Display, E, T>(
    limit: Option<usize>,
    after: Option<K>,
    entries: impl Iterator<Item = (K, E)>,
    show: impl Fn(E) -> Option<T>,
) -> Result<Page<T>, Problem> {
    let limit = checked_limit(limit)?;
    let mut following = entries
        .skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after))
        .peekable();
    let mut items = Vec::new();
    let mut last = None;
    while let Some((key, entry)) = following.next_if(|_| items.len() < limit) {
        items.extend(show(entry));
        last = Some(key);
    }
    let next = following.peek().and(last).map(|key| key.to_string());
    Ok(Page { items, next })
}

/// The size of a page, if it is one that may be asked for.
pub(super) fn checked_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
        Some(given) => {
            let most = MAX_LIMIT;
            Err(Problem::invalid(
                "limit",
                &Refusal::PageSize { most, given },
            ))
        }
    }
}

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(count: u64, limit: usize) -> Vec<Vec<u64>> {
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let listing = Listing {
                limit: Some(limit),
                after,
            };
            let page = page(&listing, (1..=count).map(|key| (key, key)), Some).unwrap();
            pages.push(page.items);
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_cover_the_list_once_and_end() {
        assert_eq!(pages(5, 2), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(pages(4, 2), [vec![1, 2], vec![3, 4]]);
        assert_eq!(pages(0, 2), [Vec::<u64>::new()]);
    }

    #[test]
    fn a_size_out_of_range_and_a_strange_cursor_are_refused() {
        for listing in [
            Listing {
                limit: Some(0),
                after: None,
            },
            Listing {
                limit: Some(MAX_LIMIT + 1),
                after: None,
            },
            Listing {
                limit: None,
                after: Some("..".into()),
            },
        ] {
            assert_eq!(
                page(&listing, [(1, 1)].into_iter(), Some)
                    .unwrap_err()
                    .status,
                422
            );
        }
    }
}
