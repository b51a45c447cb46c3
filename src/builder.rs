//! Building a client: its settings, their validation, and the environment variables that they are read from.

use std::env::{self, VarError};
use std::fmt;
use std::time::Duration;

use crate::api::{Api, Endpoint};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::http::{Http, Settings};
use crate::poll::Poll;
use crate::timeouts::Timeouts;
use crate::url::Url;

/// The origin of the service.
pub(crate) const SERVICE: &str = "https://api.aimlapi.com";

/// The provider's own SDK reads these, in this order.
const KEY_VARIABLES: [&str; 2] = ["AIML_API_KEY", "AIMLAPI_API_KEY"];
const BASE_VARIABLES: [&str; 2] = ["AIML_API_BASE", "AIMLAPI_API_BASE"];

impl Client {
    /// Creates a client with the API key in the environment variable `AIML_API_KEY`, or `AIMLAPI_API_KEY` if the first
    /// is not set.
    ///
    /// `AIML_API_BASE`, or `AIMLAPI_API_BASE`, names another server, such as an emulator. Only its scheme, host and port
    /// count, as in the provider's own SDK. An empty variable counts as not set. Proxies are read from `ALL_PROXY`,
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or their lowercase names; requests to loopback never use a proxy. An
    /// entry of `NO_PROXY`, such as `example.com`, also names the hosts below it.
    ///
    /// # Errors
    ///
    /// [`Error::MissingKey`] if there is no API key, [`Error::InvalidConfig`] if a value cannot be used.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.build()
    }

    /// Creates a client with this API key and default settings.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] if the key cannot be sent in an HTTP header. The message does not contain it.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        Client::builder(key).build()
    }

    /// Returns a builder for a client with this API key. The environment is read for proxies only: see
    /// [`from_env`](Client::from_env).
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use kling::{Client, Endpoint, Poll};
    ///
    /// let client = Client::builder("my-key")
    ///     .base_url("http://127.0.0.1:8080")
    ///     .endpoint(Endpoint::Universal)
    ///     .poll(Poll { interval: Duration::from_secs(5), ..Poll::default() })
    ///     .user_agent("trailer-maker/1.0")
    ///     .build()?;
    /// assert!(!format!("{client:?}").contains("my-key"));
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn builder(key: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            key: key.into(),
            key_name: "API key",
            base_name: "base URL",
            base_url: SERVICE.to_owned(),
            endpoint: Endpoint::default(),
            poll: Poll::default(),
            user_agent: concat!("kling-rs/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retry_delay: RETRY_DELAY,
        }
    }
}

/// The settings of a [`Client`], returned by [`Client::builder`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    key: String,
    /// How errors name the key and the base URL: by the variables that they were read from.
    key_name: &'static str,
    base_name: &'static str,
    base_url: String,
    endpoint: Endpoint,
    poll: Poll,
    user_agent: String,
    timeouts: Timeouts,
    retry_delay: Duration,
}

/// The delay before the first retry of a request. It doubles with each attempt.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl ClientBuilder {
    /// Returns a builder with the API key and the base URL in the environment variables that [`Client::from_env`] reads.
    ///
    /// # Errors
    ///
    /// [`Error::MissingKey`] if there is no API key, [`Error::InvalidConfig`] if a variable is not valid Unicode.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use kling::{ClientBuilder, Poll};
    ///
    /// // `from_env` reads the environment of the process.
    /// let poll = Poll { max_wait: Duration::from_secs(3600), ..Poll::default() };
    /// let client = ClientBuilder::from_env()?.poll(poll).build()?;
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn from_env() -> Result<Self> {
        let (key_name, key) = first_variable(KEY_VARIABLES)?.ok_or(Error::MissingKey)?;
        let builder = ClientBuilder { key_name, ..Client::builder(key) };
        Ok(match first_variable(BASE_VARIABLES)? {
            Some((base_name, base)) => ClientBuilder { base_name, ..builder.base_url(base) },
            None => builder,
        })
    }

    /// Sets the server. Only the scheme, host and port of the URL count. Must use https, or http on loopback, and must
    /// not contain a user name. Defaults to `https://api.aimlapi.com`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets which of the service's two API paths is used. Defaults to [`Endpoint::Vendor`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Sets how often, and for how long, a generation's status is polled. Defaults to every 10 s, for at most 1,000 s.
    pub fn poll(mut self, poll: Poll) -> Self {
        self.poll = poll;
        self
    }

    /// Sets the `User-Agent`. Defaults to `kling-rs/` followed by the version of this library.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets the time limits of single requests. See [`Timeouts`] for the defaults.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    #[cfg(feature = "emulator")]
    pub(crate) fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// Builds the client. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] if a setting cannot be used. The message never contains the API key.
    pub fn build(self) -> Result<Client> {
        let invalid = |what, reason: &str| Error::InvalidConfig { what, reason: reason.to_owned() };
        // A header takes visible ASCII (RFC 9110, 5.5); a key with anything else was copied wrongly.
        let is_visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible(&self.key) {
            return Err(invalid(self.key_name, "must be non-empty visible ASCII without spaces or line breaks"));
        }
        if !self.user_agent.split(' ').all(is_visible) {
            return Err(invalid("user agent", "must be non-empty visible ASCII and single spaces"));
        }
        self.poll.validate().map_err(|(what, reason)| invalid(what, reason))?;
        self.timeouts.validate().map_err(|(what, reason)| invalid(what, reason))?;
        let url = Url::parse(&self.base_url).map_err(|reason| invalid(self.base_name, reason))?;
        let ClientBuilder { key, user_agent, timeouts, retry_delay, .. } = &self;
        let settings = Settings { key, user_agent, timeouts: *timeouts, retry_delay: *retry_delay };
        let http = Http::new(&url, settings);
        let http = http.map_err(|(variable, reason)| invalid(variable, reason))?;
        Ok(Client::from_parts(Api::new(http, &url.origin(), self.endpoint), self.poll, url.origin()))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The base URL has not been validated yet, and may contain a password.
        f.debug_struct("ClientBuilder")
            .field("endpoint", &self.endpoint)
            .field("poll", &self.poll)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// Returns the name and the value of the first variable that is set and not empty.
fn first_variable(names: [&'static str; 2]) -> Result<Option<(&'static str, String)>> {
    for name in names {
        match env::var(name) {
            Ok(value) if !value.is_empty() => return Ok(Some((name, value))),
            Ok(_) | Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(_)) => {
                return Err(Error::InvalidConfig { what: name, reason: "must be valid Unicode".to_owned() });
            }
        }
    }
    Ok(None)
}
