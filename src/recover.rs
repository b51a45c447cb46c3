//! Looking up a create whose answer was lost.

use std::thread;

use crate::api::Api;
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::request::check_client_request_id;
use crate::retry::retry;

/// 100,000 rows, which is much for one key in seven days. A server that always has more would be read for ever.
const MOST_PAGES: usize = 1000;

/// Finds the generation of a create in the logs.
pub(crate) fn recover(api: &Api, client_request_id: &str) -> Result<Option<GenerationId>> {
    check_client_request_id(client_request_id)?;
    let mut failed = false;
    let mut offset = 0;
    for _ in 0..MOST_PAGES {
        let page = retry(api, || api.logs(offset))?;
        for row in page.rows_of(client_request_id) {
            match row.generation_id() {
                _ if row.has_failed() => failed = true,
                Some(id) => return Ok(Some(id.clone())),
                // It was accepted, but the row does not say as what: not the same as no row.
                None => return Err(api.odd_logs("the row of this create has no inference id")),
            }
        }
        if page.is_last() {
            if failed {
                return Err(Error::NotCharged { client_request_id: client_request_id.to_owned() });
            }
            return Ok(None);
        }
        offset += page.len();
        // 200 requests a minute are allowed: one every 300 ms.
        thread::sleep(api.limits().backoff * 3 / 10);
    }
    Err(api.odd_logs("they have no end"))
}
