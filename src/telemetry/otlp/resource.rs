//! Who sends: the resource and the scope of every request.

use super::attributes::Attributes;
use super::wire::Message;
use crate::telemetry::OtlpSettings;

/// The resource of this process, encoded once.
#[derive(Clone, Debug)]
pub struct Resource(Message);

impl Resource {
    /// The resource that the settings describe; `instance` tells processes apart.
    pub fn new(settings: &OtlpSettings, instance: &str) -> Self {
        let mut all = Attributes::default();
        all.text("service.name", &settings.service_name)
            .text("service.version", env!("CARGO_PKG_VERSION"))
            .text("service.instance.id", instance);
        for (key, value) in &settings.resource {
            all.text(key, value);
        }
        let mut message = Message::default();
        all.write(1, &mut message);
        Self(message)
    }

    pub(super) const fn message(&self) -> &Message {
        &self.0
    }

    #[expect(clippy::unused_self, reason = "the scope goes with the resource")]
    pub(super) fn scope(&self) -> Message {
        let mut scope = Message::default();
        scope
            .bytes(1, b"bedrock-meter")
            .bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
        scope
    }
}
