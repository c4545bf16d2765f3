//! `InvokeModel`: the body in the model family's own shape.

use super::answer::{Answer, Finality};
use super::shapes;
use crate::codec::MemberExtractor;

/// Reads a body as it arrives.
#[derive(Debug)]
pub(super) struct InvokeBody(MemberExtractor);

impl InvokeBody {
    pub(super) const fn new() -> Self {
        Self(MemberExtractor::new(shapes::BODY_MEMBERS))
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    pub(super) fn finish(self) -> Answer {
        let members = self.0;
        let stated = shapes::read_body(&members);
        let unreadable = stated.is_err() || members.is_broken();
        let stated = stated.ok().flatten();
        Answer {
            finality: Finality::now_if(stated.is_some(), Finality::Never),
            embeds: stated.as_ref().is_some_and(|stated| stated.embeds),
            places: stated.into_iter().map(|stated| stated.counts).collect(),
            read_from: "body",
            unreadable,
            ended_well: members.is_complete(),
            tier: shapes::read_tier(&members),
            ..Answer::default()
        }
    }
}
