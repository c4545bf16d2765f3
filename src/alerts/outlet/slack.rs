//! An incoming webhook of Slack: a text for notifications, blocks for the channel.

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::json;

use super::{JSON, Outgoing, headers, web_url};
use crate::alerts::settings::OutletSettings;
use crate::alerts::{InvalidOutlet, Kind, Notice};

pub(super) struct Slack {
    url: Uri,
    headers: HeaderMap,
}

impl Slack {
    pub(super) fn new(settings: &OutletSettings) -> Result<Self, InvalidOutlet> {
        Ok(Self {
            url: web_url(settings)?,
            headers: headers(settings, JSON)?,
        })
    }

    pub(super) fn request(&self, notice: &Notice) -> Outgoing {
        Outgoing {
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: Bytes::from(message(notice).to_string()),
        }
    }
}

fn message(notice: &Notice) -> serde_json::Value {
    let summary = escaped(&notice.summary);
    let mark = match notice.kind {
        Kind::Exhausted | Kind::Store => ":rotating_light:",
        Kind::Threshold | Kind::Forecast | Kind::Sudden | Kind::Unpriced => ":warning:",
        Kind::Test => ":information_source:",
    };
    let mut facts = vec![format!("id `{}`", notice.id), notice.at.to_string()];
    if notice.ends > notice.at {
        facts.push(format!("until {}", notice.ends));
    }
    if let Some(owner) = &notice.owner {
        facts.push(format!("owner {}", escaped(owner)));
    }
    json!({
        "text": summary,
        "blocks": [
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": shortened(&format!("{mark} {summary}"))},
            },
            {
                "type": "context",
                "elements": [{"type": "mrkdwn", "text": shortened(&facts.join(" · "))}],
            },
        ],
    })
}

/// What Slack reads as markup, as the characters that they are.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Slack refuses a block whose text is longer than 3,000 characters.
fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARACTERS_MAX).collect()
}

const TEXT_CHARACTERS_MAX: usize = 2_900;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn names_cannot_ping_a_channel_or_make_a_link() {
        let mut notice = Notice::test(Some("<!channel> & <http://x|y>"), Timestamp::default());
        notice.owner = Some("<@U1>".to_owned());
        let message = message(&notice).to_string();
        assert!(!message.contains('<'), "{message}");
        assert!(message.contains("&lt;!channel&gt; &amp; "), "{message}");
        assert!(message.contains("owner &lt;@U1&gt;"), "{message}");
    }
}
