//! One client over several servers: a request that gets no answer at all moves everybody on to the next.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use http::{Request, Response, Uri};
use kube::client::Body;
use tracing::warn;

use super::{Addresses, Candidate, Origin};
use crate::metrics::Metrics;

/// How a client for a candidate is made.
pub(super) type Maker = Box<dyn Fn(&Candidate) -> kube::Result<kube::Client> + Send + Sync>;

/// The servers, and which one is used.
pub(super) struct Pool {
    state: RwLock<State>,
    make: Maker,
    metrics: Metrics,
}

struct State {
    servers: Vec<One>,
    current: usize,
}

#[derive(Clone)]
struct One {
    candidate: Candidate,
    client: kube::Client,
}

impl Pool {
    /// Over `candidates`, which must not be empty for anything to be answered.
    pub(super) fn new(
        candidates: Vec<Candidate>,
        make: Maker,
        metrics: Metrics,
    ) -> kube::Result<Self> {
        let one = |candidate: Candidate| {
            Ok(One {
                client: make(&candidate)?,
                candidate,
            })
        };
        let servers = candidates
            .into_iter()
            .map(one)
            .collect::<kube::Result<Vec<_>>>()?;
        let state = RwLock::new(State {
            servers,
            current: 0,
        });
        Ok(Self {
            state,
            make,
            metrics,
        })
    }

    /// Sends to the server that answered last.
    pub(super) async fn send(
        self: Arc<Self>,
        request: Request<Body>,
    ) -> kube::Result<Response<Body>> {
        let Some(one) = self.current() else {
            return Err(kube::Error::Service(
                "no address of an API server is known".into(),
            ));
        };
        let host = host(&one.candidate.url);
        let (method, verb) = (request.method().to_string(), verb(&request));
        let begin = Instant::now();
        let answer = one.client.send(request).await;
        let code = answer.as_ref().map_or_else(
            |_| "<error>".to_owned(),
            |answer| answer.status().as_str().to_owned(),
        );
        let labels = [("code", code), ("host", host.clone()), ("method", method)];
        self.metrics.api_requests.get_or_create(&labels).inc();
        let labels = [("host", host), ("verb", verb.to_owned())];
        let took = begin.elapsed().as_secs_f64();
        self.metrics
            .api_request_duration
            .get_or_create(&labels)
            .observe(took);
        if let Err(error) = &answer {
            self.failed(&one.candidate.url, error);
        }
        answer
    }

    fn current(&self) -> Option<One> {
        // A panic elsewhere ends the process; until then the state is as good as before.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.servers.get(state.current).cloned()
    }

    /// Moves on, unless somebody did already.
    fn failed(&self, url: &Uri, error: &kube::Error) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let count = state.servers.len();
        let used = state
            .servers
            .get(state.current)
            .is_some_and(|one| one.candidate.url == *url);
        if !used || count < 2 {
            return;
        }
        state.current = (state.current + 1) % count;
        if let Some(next) = state.servers.get(state.current) {
            let Candidate { url: next, origin } = &next.candidate;
            warn!(%url, %error, %next, %origin, "the API server does not answer; trying another address");
        }
    }

    /// Replaces the remembered servers. The one in use stays in use.
    pub(super) fn remember(&self, addresses: &Addresses) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let current = state
            .servers
            .get(state.current)
            .map(|one| one.candidate.clone());
        let wanted = addresses.urls();
        state.servers.retain(|One { candidate, .. }| {
            candidate.origin != Origin::Remembered
                || wanted.contains(&candidate.url)
                || Some(candidate) == current.as_ref()
        });
        for url in wanted {
            if state.servers.iter().any(|one| one.candidate.url == url) {
                continue;
            }
            let candidate = Candidate {
                url,
                origin: Origin::Remembered,
            };
            match (self.make)(&candidate) {
                Ok(client) => state.servers.push(One { candidate, client }),
                Err(error) => {
                    warn!(url = %candidate.url, %error, "cannot use a remembered API server");
                }
            }
        }
        let position = state
            .servers
            .iter()
            .position(|one| Some(&one.candidate) == current.as_ref());
        state.current = position.unwrap_or(0);
    }

    /// The addresses in order, and the position of the one in use.
    #[cfg(test)]
    pub(super) fn urls(&self) -> (Vec<String>, usize) {
        let state = self.state.read().unwrap();
        let urls = state
            .servers
            .iter()
            .map(|one| one.candidate.url.to_string());
        (urls.collect(), state.current)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// As client-go writes it.
fn host(url: &Uri) -> String {
    url.authority().map(ToString::to_string).unwrap_or_default()
}

/// client-go's verbs are its methods, but for watches, which last.
fn verb(request: &Request<Body>) -> &'static str {
    let watching = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    match request.method().as_str() {
        "GET" if watching => "WATCH",
        "GET" => "GET",
        "POST" => "POST",
        "PATCH" => "PATCH",
        _ => "OTHER",
    }
}
