//! Do Bedrock's hosts answer: names, routes, proxies, TLS? Asked without a signature.

use std::io;

use rustls::CertificateError;

use super::clock::Seen;
use super::finding::Finding;
use super::road::{Ask, Road};
use crate::upstream::{Target, UpstreamError};

const CHECK: &str = "reachability";

/// Whether the hosts answer, and which time they showed.
pub(super) async fn check(road: &Road<'_>) -> (Finding, Option<Seen>) {
    let runtime = match road.ask(&road.runtime, &Ask::get("/", "")).await {
        Ok(answer) => answer,
        Err(error) => {
            return (
                Finding::failed(CHECK, error.to_string(), mend(&error)),
                None,
            );
        }
    };
    let seen = Seen::of(&runtime);
    let mut reached = vec![road.runtime.address()];
    let others: [(&Target, &str); 2] = [
        (
            &road.control,
            "doctor's list of models and clients that look up inference profiles",
        ),
        (
            &road.sts,
            "doctor's proof of identity, and web identity roles",
        ),
    ];
    for (target, needed) in others {
        match road.ask(target, &Ask::get("/", "")).await {
            Ok(_any_answer) => reached.push(target.address()),
            Err(error) => {
                let mend = format!("{}. Only {needed} need this host", mend(&error));
                return (Finding::warning(CHECK, error.to_string(), mend), seen);
            }
        }
    }
    reached.dedup();
    let answered = format!("{} answered", reached.join(", "));
    (Finding::ok(CHECK, answered), seen)
}

/// What helps against a way that is closed.
pub(super) fn mend(error: &UpstreamError) -> String {
    match error {
        UpstreamError::Connect { source, .. } => of_connecting(source),
        UpstreamError::ConnectTimeout { .. } => {
            "nothing answers: check routes, security groups and firewalls to port 443, or set \
             upstream.proxy; in a private network make interface endpoints for bedrock-runtime, \
             bedrock and sts"
        }
        UpstreamError::TunnelRefused { .. } => {
            "allow this host in the HTTP proxy, or correct upstream.proxy (HTTPS_PROXY)"
        }
        UpstreamError::NotSent(_) | UpstreamError::Lost(_) => {
            "what listens there speaks no HTTP/1.1: check upstream.endpoints and upstream.proxy"
        }
        UpstreamError::HeadTimeout | UpstreamError::IdleTimeout => {
            "the host accepts connections and does not answer: check what stands in between"
        }
    }
    .to_owned()
}

fn of_connecting(source: &io::Error) -> &'static str {
    let tls = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(certificate)) => of_certificate(certificate),
        Some(_) => {
            "TLS failed: check upstream.endpoints, upstream.proxy and what stands in between"
        }
        None if source.kind() == io::ErrorKind::ConnectionRefused => {
            "nothing listens there: check upstream.endpoints, or upstream.proxy if one is set"
        }
        None if source.to_string().contains("lookup address") => {
            "the name is unknown here: check DNS, the region's name and upstream.endpoints; a \
             private network needs private DNS on its interface endpoints"
        }
        None => "check routes and firewalls, or set upstream.proxy",
    }
}

/// Whoever signed it: the chain of a strange authority fails in several ways.
fn of_certificate(error: &CertificateError) -> &'static str {
    if matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ) {
        return "another host answers there: check DNS and upstream.endpoints";
    }
    if matches!(
        error,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    ) {
        return "its certificate is out of date: check this machine's clock, then renew the certificate";
    }
    "its certificate comes from an authority that is not trusted (a TLS-inspecting proxy?): name \
     that authority's PEM file in upstream.ca_file"
}
