//! An HTTP request: bounded in time, in redirects and in what is read of the answer.

use std::io::Read;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use ureq::http::Uri;
use ureq::{Agent, Body, Error, Proxy, ProxyProtocol};

use super::deliver::Failure;
use crate::defect;
use crate::version::VERSION;

/// How often it is sent on, within the same host.
const REDIRECTS: u32 = 3;
/// What is read of an answer, in bytes.
const READ: u64 = 64 * 1024;

/// A POST.
pub(super) struct Post {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub timeout: Duration,
    /// When that is over.
    pub deadline: Instant,
    /// Nothing of the address or of what answers may be told.
    pub is_secret: bool,
}

/// Sends it, on a thread of its own that outlives this no longer than the time limit; tells what answered.
pub(super) async fn send(post: Post) -> Result<String, Failure> {
    let (tell, told) = oneshot::channel();
    let defect = || Err(Failure::lasting("the request ended by a defect; see the daemon's log"));
    // What a server answers must end neither this daemon nor the next one, which would be answered the same.
    let sending = move || drop(tell.send(defect::shielded(|| post.send()).unwrap_or_else(defect)));
    let thread = std::thread::Builder::new().name("hook".to_owned());
    thread.spawn(sending).map_err(|error| Failure::passing(format!("no thread could be started: {error}")))?;
    told.await.unwrap_or_else(|_| defect())
}

impl Post {
    fn send(mut self) -> Result<String, Failure> {
        for _ in 0..=REDIRECTS {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.too_late());
            }
            let config = Agent::config_builder()
                .timeout_global(Some(left))
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(format!("batch-executor/{VERSION}"));
            let agent = tls::trusting(config, self.is_secured())?.build().new_agent();
            let mut request = agent.post(&self.url);
            if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.content_type(self.content_type);
            }
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            let mut response = request.send(&self.body).map_err(|error| self.failure(&error))?;
            let status = response.status().as_u16();
            let location = response.headers().get("location").and_then(|location| location.to_str().ok());
            match (status, location) {
                (301 | 302 | 307 | 308, Some(location)) => match self.sent_on(location) {
                    Some(url) => self.url = url,
                    None => return Err(Failure::lasting(format!("answered {status}, to go to another host"))),
                },
                _ => return self.judge(status, response.body_mut()),
            }
        }
        Err(Failure::lasting(format!("was sent on more than {REDIRECTS} times")))
    }

    /// Whether TLS comes up, to the host or to a proxy. A scheme may be written in capitals.
    fn is_secured(&self) -> bool {
        self.url.parse().is_ok_and(|url: Uri| url.scheme_str() == Some("https"))
            || Proxy::try_from_env().is_some_and(|proxy| proxy.protocol() == ProxyProtocol::Https)
    }

    /// What an answer means.
    fn judge(&self, status: u16, body: &mut Body) -> Result<String, Failure> {
        let mut said = format!("answered {status}");
        let mut answer = Vec::new();
        // What fails or is too much says nothing about the status, which has come.
        drop(body.as_reader().take(READ).read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        if let Some(line) = answer.lines().map(str::trim).find(|line| !line.is_empty() && !self.is_secret) {
            said.push_str(": ");
            said.push_str(line);
        }
        match status {
            200..=299 => Ok(said),
            408 | 429 => Err(Failure::passing(said)),
            300..=499 => Err(Failure::lasting(said)),
            _ => Err(Failure::passing(said)),
        }
    }

    /// Where it goes on: within the same host, or from http to https on it.
    fn sent_on(&self, location: &str) -> Option<String> {
        let from: Uri = self.url.parse().ok()?;
        let (scheme, authority) = (from.scheme_str()?, from.authority()?);
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(format!("{scheme}://{authority}{location}"));
        }
        let to: Uri = location.parse().ok()?;
        let is_same = to.scheme_str() == Some(scheme) && to.authority() == Some(authority);
        let is_safer = scheme == "http" && to.scheme_str() == Some("https") && to.host() == from.host();
        (is_same || is_safer).then(|| location.to_owned())
    }

    fn too_late(&self) -> Failure {
        Failure::passing(format!("no answer within {} s", self.timeout.as_secs_f64()))
    }

    /// In words of our own where the client's may tell the address.
    fn failure(&self, error: &Error) -> Failure {
        match error {
            Error::Timeout(_) => self.too_late(),
            Error::HostNotFound => Failure::passing("the host's name is not known"),
            Error::ConnectionFailed => Failure::passing("no connection"),
            Error::BadUri(_) | Error::Http(_) => Failure::lasting("the address or a header is not valid"),
            Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
                Failure::passing("the host's name is not known")
            }
            Error::Io(error) if self.is_secret => Failure::passing(format!("no connection: {}", error.kind())),
            Error::Io(error) => Failure::passing(format!("no connection: {error}")),
            _ if self.is_secret => Failure::passing("no sound answer"),
            other => Failure::passing(other.to_string()),
        }
    }
}

/// TLS, with the certificates that the system trusts (or `SSL_CERT_FILE`).
mod tls {
    use std::sync::{Arc, OnceLock};

    use rustls::crypto::ring::default_provider;
    use ureq::config::ConfigBuilder;
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    use ureq::typestate::AgentScope;

    use super::Failure;

    /// Read when they are first needed, for they are many.
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();

    /// They are read where they are needed; what does the cryptography is always named, for without it the client panics.
    pub(super) fn trusting(
        config: ConfigBuilder<AgentScope>,
        is_secured: bool,
    ) -> Result<ConfigBuilder<AgentScope>, Failure> {
        let roots = if is_secured { roots()? } else { &[] };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots.iter().cloned()))
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .build();
        Ok(config.tls_config(tls))
    }

    fn roots() -> Result<&'static [Certificate<'static>], Failure> {
        if let Some(roots) = ROOTS.get() {
            return Ok(roots);
        }
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(err = %error, "a certificate of the system cannot be read");
        }
        // None is not kept: they may be installed before it is tried again.
        if found.certs.is_empty() {
            return Err(Failure::passing("no certificates are trusted here: install ca-certificates"));
        }
        let read = || found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        Ok(ROOTS.get_or_init(read))
    }
}
